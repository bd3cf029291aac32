package rollout

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

func TestUndo(t *testing.T) {
	c, o, _ := steered(t, atProd(), revisionOf(3), revisionOf(4))
	u := &UndoOptions{target: *o, to: 3}
	if err := u.run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	runs, err := o.runs(t.Context(), c)
	if err != nil || len(runs) != 2 {
		t.Fatalf("runs %v, error %v", runs, err)
	}
	for _, run := range runs {
		want := v1beta1.UpdateRunSpec{PlacementName: "web", StagedUpdateStrategyName: "careful", State: v1beta1.UpdateRunStop}
		if run.GetName() != "web-1" {
			want.ResourceSnapshotIndex, want.State = "3", v1beta1.UpdateRunRun
		}
		if *run.GetSpec() != want {
			t.Errorf("%s is %+v, want %+v", run.GetName(), *run.GetSpec(), want)
		}
	}
	u.key.Name = strings.Repeat("long-", 20)
	if name := u.back().GetName(); len(name) > 63 || !strings.HasPrefix(name, "long-") {
		t.Errorf("name %s", name)
	}
}

// Undo deletes objects that were added since, which may hold data.
func TestUndoListsObjectsThatItDeletes(t *testing.T) {
	c, o, out := steered(t, atProd(), revisionOf(2, "z=1"), revisionOf(3, "a=1", "b=1"), revisionOf(4, "a=2", "c=1"), revisionOf(5, "a=2", "c=2", "b=1", "d=1"))
	for to, want := range map[int]string{
		3: "these objects are not in revision 3 and will be deleted from the clusters:\n  ConfigMap shop/c\n  ConfigMap shop/d\n",
		5: "with strategy careful\n",
	} {
		out.Reset()
		if err := (&UndoOptions{target: *o, to: to}).run(t.Context(), c); err != nil || !strings.HasSuffix(out.String(), want) {
			t.Errorf("to %d: printed %q, error %v; want %q at the end", to, out, err, want)
		}
	}
}

func TestUndoRefuses(t *testing.T) {
	rolling := testworld.ClusterPlacement("rolling", "app")
	for want, u := range map[string]*UndoOptions{
		"--to is required": {to: -1}, "has no such revision; it has: 3": {to: 2, strategy: "careful"}, "--strategy is required": {to: 3},
		"update strategy not found": {to: 3, strategy: "none"}, "rolling has no such revision": {to: 3, target: target{key: types.NamespacedName{Name: "rolling"}}},
		"there is no ResourcePlacement": {to: 3, target: target{key: types.NamespacedName{Namespace: "shop", Name: "web"}}},
	} {
		c, o, _ := steered(t, revisionOf(3), rolling)
		if u.key.Name == "" {
			u.key = o.key
		}
		err := u.Validate()
		if err == nil {
			err = u.run(t.Context(), c)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		if runs, err := o.runs(t.Context(), c); err != nil || len(runs) > 0 {
			t.Errorf("%s: runs %v, error %v", want, runs, err)
		}
	}
}

func TestUndoOfARollingUpdate(t *testing.T) {
	rolling := testworld.ClusterPlacement("web", "app")
	c := fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(rolling, revisionOf(2, "a=1", "b=1", "c=1"), revisionOf(3, "b=2", "c=1", "d=1")).Build()
	u := &UndoOptions{target: target{key: types.NamespacedName{Name: "web"}}, to: 2}
	const want = `ClusterResourcePlacement web has a rolling update: it follows its resources immediately, and there is no update run to control. ` +
		`Revert its objects on the hub, and it rolls them out:
  kubectl get clusterresourcesnapshots -l kubernetes-fleet.io/parent-CRP=web,kubernetes-fleet.io/resource-index=2 ` +
		`-o jsonpath='{range .items[*].spec.selectedResources[*]}{@}{"\n"}{end}' | kubectl replace -f -
Also revert their source, such as a GitOps repository. From revision 3 to 2:
  + ConfigMap shop/a  (deleted since: use kubectl create -f - instead of replace)
  ~ ConfigMap shop/b
  - ConfigMap shop/d  (created since: stays until you delete it)`
	if err := u.run(t.Context(), c); err == nil || err.Error() != want {
		t.Errorf("error\n%v\nwant\n%s", err, want)
	}
	u.to = 3
	if err := u.run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "it is the latest") {
		t.Errorf("error %v", err)
	}
}
