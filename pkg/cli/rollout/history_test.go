package rollout

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// revisionOf is a resource snapshot of the placement web.
func revisionOf(index int, objects ...string) *v1beta1.ClusterResourceSnapshot {
	out := &v1beta1.ClusterResourceSnapshot{ObjectMeta: metav1.ObjectMeta{
		Name: contract.MasterSnapshotName("web", index), CreationTimestamp: metav1.NewTime(now.Add(time.Duration(index) * time.Minute)),
		Labels:      map[string]string{contract.LabelPlacement: "web", contract.LabelResourceIndex: strconv.Itoa(index)},
		Annotations: map[string]string{contract.AnnotationResourceHash: "h", contract.AnnotationSnapshotCount: "1"},
	}}
	for _, o := range objects {
		name, value, _ := strings.Cut(o, "=")
		raw := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"shop","name":%q},"data":{"v":%q}}`, name, value)
		out.Spec.SelectedResources = append(out.Spec.SelectedResources,
			v1beta1.ResourceContent{RawExtension: runtime.RawExtension{Raw: []byte(raw)}})
	}
	return out
}

func TestHistory(t *testing.T) {
	b := &v1beta1.ClusterResourceBinding{Spec: v1beta1.ResourceBindingSpec{TargetCluster: "c1", ResourceSnapshotName: contract.MasterSnapshotName("web", 3)}}
	torn := revisionOf(6, "a=1")
	torn.Annotations[contract.AnnotationSnapshotCount] = "2"
	revisions := history([]v1beta1.ResourceSnapshotObject{
		revisionOf(3, "b=2", "c=1", "d=1"), revisionOf(2, "a=1", "b=1", "c=1"), revisionOf(5, "d=1", "c=1", "b=2"), torn,
	}, []v1beta1.BindingObject{b})
	var out strings.Builder
	if err := printHistory(&out, revisions, now.Add(10*time.Minute)); err != nil {
		t.Fatal(err)
	}
	const want = `REVISION     AGE   CLUSTERS   CHANGES
2            8m    -          objects: 3
3            7m    c1         - ConfigMap shop/a
                              ~ ConfigMap shop/b
                              + ConfigMap shop/d
5            5m    -          compared with 3:
                              only the order changed
6 (latest)   4m    -          unknown: resource snapshot web-6-snapshot: the group of 2 is not complete
`
	if out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", out.String(), want)
	}
}

func TestChangesIgnoreVersions(t *testing.T) {
	id := v1beta1.ResourceIdentifier{Group: "apps", Version: "v1", Kind: "Deployment", Name: "web"}
	later := id
	later.Version = "v2"
	got := changes([]snapshot.Item{{ID: id, Raw: []byte(`{"a":1}`)}}, []snapshot.Item{{ID: later, Raw: []byte(`{"a": 2}`)}})
	if !slices.Equal(got, []string{"~ Deployment.apps web"}) {
		t.Errorf("changes %q", got)
	}
}
