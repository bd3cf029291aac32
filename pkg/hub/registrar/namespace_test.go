package registrar

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// A namespace that was not created for the cluster is not used until an administrator hands it over.
func TestForeignNamespaceIsAdopted(t *testing.T) {
	h := onHub(t)
	there := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fleet-member-old", Labels: map[string]string{contract.LabelFleetResource: "true"}}}
	h.Must(h.Client.Create(t.Context(), there))
	a := h.startAgent(time.Hour)
	h.Must(h.Client.Create(t.Context(), testworld.NewMemberCluster("old")))
	cluster := h.await("old", v1beta1.ConditionReadyToJoin, metav1.ConditionFalse)
	message := meta.FindStatusCondition(cluster.Status.Conditions, v1beta1.ConditionReadyToJoin).Message
	if !strings.Contains(message, "kubectl annotate namespace fleet-member-old kubernetes-fleet.io/adopt-for="+string(cluster.UID)) {
		t.Errorf("%q does not name what to do", message)
	}
	if err := h.get(&rbacv1.RoleBinding{}, "fleet-member-old", contract.RoleBindingName("old")); !apierrors.IsNotFound(err) {
		t.Errorf("the member is let into a namespace that is not its own: %v", err)
	}
	there.Annotations = map[string]string{contract.AnnotationAdoptFor: string(cluster.UID)}
	h.Must(h.Client.Update(t.Context(), there))
	h.await("old", v1beta1.ConditionReadyToJoin, metav1.ConditionTrue)
	a.events.Await(t, "NamespacePatched")
}

// A cluster that never had its namespace leaves it when it goes.
func TestForeignNamespaceStays(t *testing.T) {
	h := onHub(t)
	there := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fleet-member-theirs"}}
	h.Must(h.Client.Create(t.Context(), there))
	h.startAgent(time.Hour)
	h.Must(h.Client.Create(t.Context(), testworld.NewMemberCluster("theirs")))
	cluster := h.await("theirs", v1beta1.ConditionReadyToJoin, metav1.ConditionFalse)
	h.Must(h.Client.Delete(t.Context(), cluster))
	h.awaitAbsent("theirs")
	if err := h.get(there, "", there.Name); err != nil || !there.DeletionTimestamp.IsZero() {
		t.Fatalf("the namespace went with it: %v", err)
	}
}
