package lenient_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/loop/lenient"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

const namespace = "fleet-member-rg-m1"

// scene is a hub whose schemas take everything, as an older release's may have.
type scene struct {
	*testing.T
	*testworld.Cluster
}

func newScene(t *testing.T) *scene {
	t.Helper()
	ctrl.SetLogger(klog.Background())
	s := &scene{t, testworld.StartHub(t).Cluster}
	testworld.Unbound(t, s.Client, "works.placement.kubernetes-fleet.io", "memberclusters.cluster.kubernetes-fleet.io")
	s.must(s.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	return s
}

func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// view is a cache of its own, as an agent begins with one.
type view struct {
	cache.Cache
	faults  lenient.Faults
	watches lenient.Watches
}

func (s *scene) look() *view {
	s.Helper()
	v := &view{}
	settings := lenient.Settings{
		FailList: []client.Object{&v1beta1.Work{}}, StandIn: []client.Object{&clusterv1beta1.MemberCluster{}}, Reports: []client.Object{&v1beta1.Work{}},
		Component: "test", Faults: &v.faults, Watches: &v.watches,
	}
	options := testworld.ManagerOptions()
	options.NewCache = settings.NewCache
	mgr, err := ctrl.NewManager(s.Config, options)
	s.must(err)
	v.Cache = mgr.GetCache()
	for _, obj := range []client.Object{&v1beta1.Work{}, &v1beta1.ResourceEnvelope{}, &clusterv1beta1.MemberCluster{}} {
		_, err := v.GetInformer(s.Context(), obj, cache.BlockUntilSynced(false))
		s.must(err)
	}
	testworld.Run(s.T, mgr)
	if !v.WaitForCacheSync(s.Context()) {
		s.Fatal("the cache does not fill")
	}
	return v
}

// put stores a manifest as it is.
func (s *scene) put(manifest string) *unstructured.Unstructured {
	s.Helper()
	obj := &unstructured.Unstructured{}
	s.must(json.Unmarshal([]byte(manifest), &obj.Object))
	s.must(s.Client.Create(s.Context(), obj))
	return obj
}

func work(name, data string) string {
	return fmt.Sprintf(`{"apiVersion":"placement.kubernetes-fleet.io/v1beta1","kind":"Work","metadata":{"name":%q,"namespace":%q,"labels":{"of":%q}},
		"spec":{"workload":{"manifests":[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":%q}}]}}}`, name, namespace, name, data)
}

func (s *scene) report(name, time string) {
	s.Helper()
	obj := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"Applied","status":"True","reason":"r","message":"","lastTransitionTime":%q}]}}`, time)
	// The answer to the patch cannot be decoded either.
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1beta1.GroupVersion.WithKind("Work"))
	u.SetNamespace(obj.Namespace)
	u.SetName(obj.Name)
	s.must(s.Client.Status().Patch(s.Context(), u, client.RawPatch(types.MergePatchType, []byte(patch))))
}

func (v *view) work(ctx context.Context, name string) (*v1beta1.Work, error) {
	w := &v1beta1.Work{}
	return w, v.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, w)
}

func (v *view) awaitUnreadable(s *scene, name string, get func(context.Context) error) {
	s.Helper()
	testworld.Await(s, testworld.Soon, name+" is unreadable", func(ctx context.Context) error {
		var unreadable *lenient.Unreadable
		if err := get(ctx); !errors.As(err, &unreadable) {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
}

func (v *view) awaitNotes(s *scene, parts ...string) {
	s.Helper()
	testworld.Await(s, testworld.Soon, "what cannot be read", func(context.Context) error {
		notes := v.faults.Notes()
		if len(notes) != len(parts) {
			return fmt.Errorf("got %q, want %q", notes, parts)
		}
		for i, part := range parts {
			if !strings.Contains(notes[i], part) {
				return fmt.Errorf("got %q, want %q", notes, parts)
			}
		}
		return nil
	})
}

// The file-less case member-bad-times-and-quantities: a member writes times that the API server takes and Go does not,
// before and after the hub agent starts.
func TestMemberBadTimesAndQuantities(t *testing.T) {
	s := newScene(t)
	s.put(work("bad", "1"))
	s.put(work("other", "1"))
	running := s.look()
	s.report("bad", "2026-01-01t00:00:00z")
	running.awaitNotes(s, "Work "+namespace+"/bad cannot be read: status: ")
	for _, v := range []*view{running, s.look()} {
		v.awaitNotes(s, "Work "+namespace+"/bad cannot be read: status: ")
		w, err := v.work(t.Context(), "bad")
		if err != nil || len(w.Spec.Workload.Manifests) != 1 || len(w.Status.Conditions) != 0 {
			t.Errorf("got %v, %v; want the Work without its status", w, err)
		}
		// The rest goes on.
		s.report("other", "2026-01-01T00:00:00Z")
		testworld.Await(s, testworld.Soon, "another Work's status", func(ctx context.Context) error {
			w, err := v.work(ctx, "other")
			if err == nil && len(w.Status.Conditions) == 0 {
				err = errors.New("no status yet")
			}
			return err
		})
	}
	s.report("bad", "2026-01-01T00:00:00+01:00")
	running.awaitNotes(s)
	// The note goes when the object is decoded; the cache has it after that.
	testworld.Await(s, testworld.Soon, "the Work with its status", func(ctx context.Context) error {
		w, err := running.work(ctx, "bad")
		if err == nil && len(w.Status.Conditions) != 1 {
			err = fmt.Errorf("got %v", w.Status)
		}
		return err
	})
	testworld.Await(s, testworld.Soon, "one event", func(ctx context.Context) error {
		var events corev1.EventList
		err := s.Client.List(ctx, &events, client.InNamespace(namespace))
		if err == nil && (len(events.Items) != 1 || events.Items[0].InvolvedObject.Name != "bad" || events.Items[0].Reason != lenient.ReasonUnreadable) {
			err = fmt.Errorf("got %v", events.Items)
		}
		return err
	})
}

// What cannot be read is not gone: neither when it turns bad, nor after a restart, nor while it turns good again.
func TestUnreadableIsNotAbsent(t *testing.T) {
	s := newScene(t)
	s.put(work("bad", "1"))
	s.put(work("other", "1"))
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1beta1.GroupVersion.WithKind("Work"))
	u.SetNamespace(namespace)
	u.SetName("bad")
	running := s.look()
	s.must(s.Client.Patch(t.Context(), u, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"applyStrategy":7}}`))))
	var views []*view
	for _, v := range []*view{running, s.look()} {
		views = append(views, v)
		v.awaitUnreadable(s, "the Work", func(ctx context.Context) error { _, err := v.work(ctx, "bad"); return err })
		var list v1beta1.WorkList
		v.awaitUnreadable(s, "the list", func(ctx context.Context) error { return v.List(ctx, &list, client.InNamespace(namespace)) })
		v.awaitUnreadable(s, "the list by label", func(ctx context.Context) error { return v.List(ctx, &list, client.MatchingLabels{"of": "bad"}) })
		if err := v.List(t.Context(), &list, client.MatchingLabels{"of": "other"}); err != nil || len(list.Items) != 1 {
			t.Errorf("the list without it: %v, %v", list.Items, err)
		}
		if err := v.List(t.Context(), &list, client.InNamespace("elsewhere")); err != nil {
			t.Errorf("the list of another namespace: %v", err)
		}
	}
	s.must(s.Client.Patch(t.Context(), u, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"applyStrategy":null}}`))))
	for _, v := range views {
		testworld.Await(s, testworld.Soon, "the Work again", func(ctx context.Context) error {
			_, err := v.work(ctx, "bad")
			if apierrors.IsNotFound(err) {
				t.Fatal("the Work counts as gone while it turns readable")
			}
			return err
		})
		v.awaitNotes(s)
	}
	// An unreadable object that is deleted is gone.
	s.must(s.Client.Patch(t.Context(), u, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"applyStrategy":7}}`))))
	running.awaitNotes(s, "Work")
	s.must(s.Client.Delete(t.Context(), u))
	testworld.Await(s, testworld.Soon, "the Work to be gone", func(ctx context.Context) error {
		if _, err := running.work(ctx, "bad"); !apierrors.IsNotFound(err) {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
	running.awaitNotes(s)
}

func TestStandInsOfMemberClusters(t *testing.T) {
	s := newScene(t)
	s.put(`{"apiVersion":"cluster.kubernetes-fleet.io/v1beta1","kind":"MemberCluster","metadata":{"name":"a"},"spec":{"heartbeatPeriodSeconds":"x"}}`)
	s.put(`{"apiVersion":"cluster.kubernetes-fleet.io/v1beta1","kind":"MemberCluster","metadata":{"name":"b"},"spec":{}}`)
	v := s.look()
	v.awaitNotes(s, "MemberCluster /a")
	var list clusterv1beta1.MemberClusterList
	if err := v.List(t.Context(), &list); err != nil || len(list.Items) != 2 {
		t.Fatalf("got %v, %v", list.Items, err)
	}
	v.awaitUnreadable(s, "the cluster", func(ctx context.Context) error {
		return v.Get(ctx, types.NamespacedName{Name: "a"}, &clusterv1beta1.MemberCluster{})
	})
}

// What is nested as deep as an API server stores makes a list deeper than Go decodes: the file-less case
// tenant-deep-json.
func TestTenantDeepJSON(t *testing.T) {
	s := newScene(t)
	post := func(name string, levels int) error {
		nested := strings.Repeat(`{"a":`, levels) + `1` + strings.Repeat(`}`, levels)
		manifest := fmt.Sprintf(`{"apiVersion":"placement.kubernetes-fleet.io/v1beta1","kind":"ResourceEnvelope",
			"metadata":{"name":%q,"namespace":"default"},"data":{"x":%s}}`, name, nested)
		return testworld.Post(t, s.Config, "/apis/placement.kubernetes-fleet.io/v1beta1/namespaces/default/resourceenvelopes", manifest)
	}
	s.must(post("flat", 1))
	levels := 10_000
	for post("deep", levels) != nil {
		if levels--; levels < 9_900 {
			t.Fatalf("the API server refuses %d levels: %v", levels, post("deep", levels))
		}
	}
	if err := s.Client.List(t.Context(), &v1beta1.ResourceEnvelopeList{}); err == nil {
		t.Errorf("a usual list with %d levels can be decoded; this test tests nothing", levels)
	}
	v := s.look()
	get := func(name string) error {
		return v.Get(t.Context(), types.NamespacedName{Namespace: "default", Name: name}, &v1beta1.ResourceEnvelope{})
	}
	var unreadable *lenient.Unreadable
	if err := get("deep"); err != nil && !errors.As(err, &unreadable) {
		t.Errorf("%d levels: %v", levels, err)
	}
	if err := get("flat"); err != nil {
		t.Errorf("an envelope beside it: %v", err)
	}
}
