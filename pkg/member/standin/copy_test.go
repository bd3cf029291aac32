package standin

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

func work(name, version string, generation int64, change ...func(*placementv1beta1.Work)) *placementv1beta1.Work {
	w := &placementv1beta1.Work{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: types.UID(name), ResourceVersion: version, Generation: generation, Finalizers: []string{contract.FinalizerWork},
	}}
	w.Spec.Workload.Manifests = []placementv1beta1.Manifest{{RawExtension: runtime.RawExtension{Raw: []byte(`{"kind":"ConfigMap"}`)}}}
	for _, f := range change {
		f(w)
	}
	return w
}

// names of what an agent of a later epoch may go on with.
func names(t *testing.T, dir string, epoch Epoch) []string {
	t.Helper()
	works, err := In(dir, "https://hub", "m", epoch).Adopt()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, w := range works {
		out = append(out, w.Name+"/"+w.ResourceVersion)
	}
	slices.Sort(out)
	return out
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestCopyIsUsedOnlyIfCurrent(t *testing.T) {
	first := Epoch{Leader: 3, Boot: "b"}
	next := Epoch{Leader: 4, Boot: "b"}
	for name, tc := range map[string]struct {
		play  func(*testing.T, *Copy)
		epoch Epoch
		want  []string
	}{
		"the next leader goes on with it":              {nil, next, []string{"a/1"}},
		"one after another leader does not":            {nil, Epoch{Leader: 5, Boot: "b"}, nil},
		"nor a leader of the same number":              {nil, first, nil},
		"nor one without election":                     {nil, Epoch{Boot: "b"}, nil},
		"nor one after a restart of the machine":       {nil, Epoch{Leader: 4, Boot: "c"}, nil},
		"a member that is to leave has nothing to do":  {func(t *testing.T, c *Copy) { must(t, c.keepState(false)) }, next, nil},
		"one that is to join again has":                {func(t *testing.T, c *Copy) { must(t, c.keepState(false), c.keepState(true)) }, next, []string{"a/1"}},
		"a copy that was dropped is none":              {func(_ *testing.T, c *Copy) { c.Drop() }, next, nil},
		"one that was begun again holds nothing":       {func(t *testing.T, c *Copy) { must(t, c.Begin(), c.keepState(true)) }, next, nil},
		"one that was begun again is no word to go by": {func(t *testing.T, c *Copy) { must(t, c.Begin(), c.keepWork(work("a", "1", 1))) }, next, nil},
		"the newest Work counts":                       {func(t *testing.T, c *Copy) { must(t, c.keepWork(work("a", "2", 2))) }, next, []string{"a/2"}},
		"a late reader does not put back an older one": {func(t *testing.T, c *Copy) {
			must(t, c.keepWork(work("a", "2", 2)), c.keepWork(work("a", "1", 1)))
		}, next, []string{"a/2"}},
		"a Work of the same name starts anew": {func(t *testing.T, c *Copy) {
			must(t, c.keepWork(work("a", "2", 5)), c.keepWork(work("a", "9", 1, func(w *placementv1beta1.Work) { w.UID = "other" })))
		}, next, []string{"a/9"}},
		"a Work that is gone is gone": {func(t *testing.T, c *Copy) { must(t, c.dropWork("a")) }, next, nil},
		"one that goes is not removed without the hub": {func(t *testing.T, c *Copy) {
			now := metav1.Now()
			must(t, c.keepWork(work("a", "2", 2, func(w *placementv1beta1.Work) { w.DeletionTimestamp = &now })))
		}, next, nil},
		"one that was never begun waits": {func(t *testing.T, c *Copy) {
			must(t, c.keepWork(work("b", "1", 1, func(w *placementv1beta1.Work) { w.Finalizers = nil })))
		}, next, []string{"a/1"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := In(dir, "https://hub", "m", first)
			must(t, c.Begin(), c.keepState(true), c.keepWork(work("a", "1", 1)))
			if tc.play != nil {
				tc.play(t, c)
			}
			if got := names(t, dir, tc.epoch); !slices.Equal(got, tc.want) {
				t.Errorf("%v; want %v", got, tc.want)
			}
		})
	}
}

func TestACopyIsPassedOn(t *testing.T) {
	dir := t.TempDir()
	c := In(dir, "https://hub", "m", Epoch{Leader: 1})
	must(t, c.Begin(), c.keepState(true), c.keepWork(work("a", "1", 1)))
	for leader := 2; leader < 5; leader++ { // the hub stays away over several restarts
		if got := names(t, dir, Epoch{Leader: leader}); !slices.Equal(got, []string{"a/1"}) {
			t.Errorf("leader %d goes on with %v", leader, got)
		}
	}
	for what, other := range map[string]*Copy{
		"another hub's":    In(dir, "https://other", "m", Epoch{Leader: 5}),
		"another member's": In(dir, "https://hub", "n", Epoch{Leader: 5}),
		"no folder's":      In("", "https://hub", "m", Epoch{Leader: 5}),
	} {
		if works, err := other.Adopt(); err != nil || len(works) != 0 {
			t.Errorf("%s: %v, %v", what, works, err)
		}
	}
}

// A copy that cannot be trusted whole is not used at all.
func TestADamagedCopyIsNotUsed(t *testing.T) {
	for _, file := range []string{labelFile, "*" + workSuffix} {
		dir := t.TempDir()
		c := In(dir, "https://hub", "m", Epoch{})
		must(t, c.Begin(), c.keepState(true), c.keepWork(work("a", "1", 1)))
		found, err := filepath.Glob(filepath.Join(c.dir, file))
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		must(t, os.WriteFile(found[0], []byte(`{"kind"`), 0o600))
		if works, err := In(dir, "https://hub", "m", Epoch{}).Adopt(); err == nil || len(works) != 0 {
			t.Errorf("%s: %v, %v", file, works, err)
		}
	}
}

// A disk that does not take something newer must not go on holding what is older.
func TestAFullDiskEndsTheCopy(t *testing.T) {
	dir := t.TempDir()
	c := In(dir, "https://hub", "m", Epoch{})
	must(t, c.Begin(), c.keepState(true), c.keepWork(work("a", "1", 1)))
	must(t, os.Mkdir(c.fileOf("a")+".new", 0o700)) // the next write fails
	if err := c.keepWork(work("a", "2", 2)); err == nil {
		t.Fatal("the write did not fail")
	}
	if got := names(t, dir, Epoch{}); got != nil {
		t.Errorf("%v", got)
	}
	must(t, c.keepWork(work("a", "3", 3)), c.keepState(false), c.dropWork("a")) // it stays dropped, and prevents nothing
}

func TestWorksThatDoNotFitAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	c := In(dir, "https://hub", "m", Epoch{})
	must(t, c.Begin(), c.keepState(true), c.keepWork(work("a", "1", 1)))
	c.total = mostBytes
	must(t, c.keepWork(work("b", "1", 1)))
	c.total -= mostBytes
	must(t, c.keepWork(work("a", "2", 2)))
	if got := names(t, dir, Epoch{}); !slices.Equal(got, []string{"a/2"}) {
		t.Errorf("%v", got)
	}
}

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	must(t, clusterv1beta1.AddToScheme(s), placementv1beta1.AddToScheme(s))
	return s
}

func TestReadsAreRecordedBeforeTheyAreActedOn(t *testing.T) {
	dir := t.TempDir()
	c := In(dir, "https://hub", "m", Epoch{})
	must(t, c.Begin())
	imc := &clusterv1beta1.InternalMemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "m"}, Spec: clusterv1beta1.InternalMemberClusterSpec{State: "Join"}}
	given := work("a", "", 1)
	inner := fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(imc, given).Build()
	hub := Recording(inner, c)
	must(t, hub.Get(t.Context(), client.ObjectKey{Name: "m"}, &clusterv1beta1.InternalMemberCluster{}))
	must(t, hub.Get(t.Context(), client.ObjectKey{Name: "a"}, &placementv1beta1.Work{}))
	if got := names(t, dir, Epoch{}); len(got) != 1 {
		t.Errorf("%v; want the Work that was read", got)
	}
	given.Finalizers = nil
	must(t, inner.Update(t.Context(), given), inner.Delete(t.Context(), given))
	if err := hub.Get(t.Context(), client.ObjectKey{Name: "a"}, &placementv1beta1.Work{}); !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	if got := names(t, dir, Epoch{}); got != nil {
		t.Errorf("%v; want nothing", got)
	}
}

func mapper(t *testing.T) meta.RESTMapper {
	t.Helper()
	m := meta.NewDefaultRESTMapper(nil)
	m.Add(placementv1beta1.GroupVersion.WithKind("Work"), meta.RESTScopeNamespace)
	m.Add(placementv1beta1.GroupVersion.WithKind("WorkList"), meta.RESTScopeNamespace)
	return m
}

func TestTheStandInTakesNoWritesAndKnowsNoAbsence(t *testing.T) {
	hub, err := client.New(Server([]placementv1beta1.Work{*work("a", "7", 1)}), client.Options{Scheme: scheme(t), Mapper: mapper(t)})
	must(t, err)
	var list placementv1beta1.WorkList
	must(t, hub.List(t.Context(), &list, client.InNamespace("fleet-member-m")))
	if len(list.Items) != 1 || list.Items[0].ResourceVersion != "7" || len(list.Items[0].Spec.Workload.Manifests) != 1 {
		t.Errorf("%+v", list)
	}
	list.Items[0].Namespace = "fleet-member-m"
	if err := hub.Status().Update(t.Context(), &list.Items[0]); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a write is answered %v", err)
	}
	empty := fake.NewClientBuilder().WithScheme(scheme(t)).Build()
	if err := Holding(empty).Get(t.Context(), client.ObjectKey{Name: "b"}, &placementv1beta1.Work{}); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a Work that is not in the copy is answered %v", err)
	}
	cfg := Undeleting(Server(nil))
	transport := cfg.WrapTransport(roundTripper(func(*http.Request) (*http.Response, error) { t.Error("it was sent"); return nil, nil }))
	request, err := http.NewRequestWithContext(context.Background(), http.MethodDelete, "http://member", strings.NewReader(""))
	must(t, err)
	if _, err := transport.RoundTrip(request); err == nil || !strings.Contains(err.Error(), "refused until the hub is reachable") { //nolint:bodyclose // there is none
		t.Errorf("a deletion is answered %v", err)
	}
}
