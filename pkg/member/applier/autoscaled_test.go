package applier

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

const autoscaler = `{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: d, namespace: %s}, spec: {minReplicas: 3,
  maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}}}`

// scaled is a Deployment in its own namespace that wants replicas.
func scaled(namespace string, replicas int) []string {
	return []string{`{apiVersion: v1, kind: Namespace, metadata: {name: ` + namespace + `}}`,
		fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: %s}, spec: {replicas: %d, selector: {matchLabels: {app: d}},
  template: {metadata: {labels: {app: d}}, spec: {containers: [{name: c, image: example.com/c}]}}}}`, namespace, replicas)}
}

// scale sets the replicas through the subresource, as an autoscaler does.
func (w *world) scale(namespace string, replicas int32, manager string) {
	w.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "d"}}
	w.must(w.member.SubResource("scale").Update(w.Context(), d, client.FieldOwner(manager),
		client.WithSubResourceBody(&autoscalingv1.Scale{ObjectMeta: d.ObjectMeta, Spec: autoscalingv1.ScaleSpec{Replicas: replicas}})))
}

// Replicas that the member's autoscaler sets are left to it, whatever the binary of its controllers is called, until
// it is gone.
//
// It is the case hpa-on-the-member-fights.
func TestHPAOnTheMemberFights(t *testing.T) {
	for kind, s := range map[string]*v1beta1.ApplyStrategy{
		"client": strategy(),
		"server": strategy(func(s *v1beta1.ApplyStrategy) {
			s.Type, s.ServerSideApplyConfig = v1beta1.ApplyStrategyTypeServerSideApply, &v1beta1.ServerSideApplyConfig{ForceConflicts: true}
		}),
	} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			ns := "hpa-" + kind
			ref := "apps/v1 Deployment " + ns + "/d"
			w.work(ns, s, scaled(ns, 1)...)
			w.present(ref)
			hpa := w.onMember(fmt.Sprintf(autoscaler, ns))
			w.value(ref, "3", "spec", "replicas") // the member's own controller
			w.scale(ns, 4, "k3s")
			w.quiet(time.Second)
			w.value(ref, "4", "spec", "replicas")
			generation := w.mustObject(ref).GetGeneration()
			w.quiet(time.Second)
			if now := w.mustObject(ref).GetGeneration(); now != generation {
				t.Errorf("generation %d, then %d", generation, now)
			}
			w.must(w.member.Delete(t.Context(), hpa))
			w.value(ref, "1", "spec", "replicas")
			w.applied(ns)
		})
	}
}

// Replicas are the hub's where there is no autoscaler (any more), by whatever they were set.
//
// It is the case replicas-ignored-after-hpa-is-gone.
func TestReplicasIgnoredAfterHPAIsGone(t *testing.T) {
	w := newWorld(t)
	const ns = "hpa2"
	ref := "apps/v1 Deployment " + ns + "/d"
	w.work(ns, strategy(), scaled(ns, 1)...)
	w.present(ref)
	w.scale(ns, 4, "kube-controller-manager")
	w.edit(ns, scaled(ns, 2)...)
	w.value(ref, "2", "spec", "replicas")
	w.scale(ns, 4, "kube-controller-manager")
	w.edit(ns, scaled(ns, 0)...)
	w.value(ref, "0", "spec", "replicas")
}

// Replicas that an autoscaler set are no difference while it is there, and one when it is gone.
func TestReplicasDifferOnceTheAutoscalerIsGone(t *testing.T) {
	w := newWorld(t)
	const ns = "hpa-compared"
	ref := "apps/v1 Deployment " + ns + "/d"
	for _, text := range scaled(ns, 1) {
		w.onMember(text)
	}
	hpa := w.onMember(fmt.Sprintf(autoscaler, ns))
	w.value(ref, "3", "spec", "replicas") // the member's own controller
	w.work(ns, strategy(reportDiff), scaled(ns, 1)...)
	w.reads(ns, 1, v1beta1.ConditionDiffReported, v1beta1.ReasonManifestNoDiffFound)
	w.must(w.member.Delete(t.Context(), hpa))
	w.reads(ns, 1, v1beta1.ConditionDiffReported, v1beta1.ReasonManifestFoundDiff, detail("/spec/replicas", "1", "3"))
}
