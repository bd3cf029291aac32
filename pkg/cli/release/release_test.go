package release

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

var noon = metav1.NewTime(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))

var keys = []types.NamespacedName{{Name: "web"}, {Namespace: "shop", Name: "web"}}

func held(digest string, removed int32) *v1beta1.HeldRemoval {
	h := &v1beta1.HeldRemoval{Digest: digest, Since: noon, Removed: removed, Total: 9}
	for i := range removed {
		h.First = append(h.First, fmt.Sprintf("ConfigMap shop/c%d\x1b[31m", i))
	}
	return h
}

func placement(key types.NamespacedName) v1beta1.PlacementObject {
	p := scope.Placements.New(key)
	p.SetNamespace(key.Namespace)
	p.SetName(key.Name)
	p.SetUID("uid-of-web")
	return p
}

func binding(key types.NamespacedName, cluster string, h *v1beta1.HeldRemoval) client.Object {
	b := scope.Bindings.New(key)
	b.SetNamespace(key.Namespace)
	b.SetName("web-" + cluster)
	b.SetLabels(map[string]string{contract.LabelPlacement: "web"})
	b.SetAnnotations(map[string]string{contract.AnnotationPlacementUID: "uid-of-web"})
	b.GetSpec().TargetCluster, b.GetStatus().HeldRemoval = cluster, h
	return b
}

func policy(key types.NamespacedName, h *v1beta1.HeldRemoval) client.Object {
	p := scope.PolicySnapshots.New(key)
	p.SetNamespace(key.Namespace)
	p.SetName("web-0")
	p.SetLabels(map[string]string{contract.LabelPlacement: "web", contract.LabelPolicyIndex: "0", contract.LabelLatest: "true"})
	testworld.Owned(p, placement(key))
	p.GetStatus().HeldRemoval = h
	return p
}

// run runs the command for a user who answers; "" if there is none.
func run(t *testing.T, c client.Client, key types.NamespacedName, answer string, flags ...func(*Options)) (string, error) {
	t.Helper()
	streams, in, out, _ := genericiooptions.NewTestIOStreams()
	in.WriteString(answer)
	o := &Options{key: key, IOStreams: streams, asks: func() bool { return answer != "" }}
	for _, set := range flags {
		set(o)
	}
	err := o.release(t.Context(), c)
	return out.String(), err
}

func yes(o *Options) { o.yes = true }

func released(t *testing.T, c client.Client, key types.NamespacedName) string {
	t.Helper()
	p, err := scope.Placements.Get(t.Context(), c, key)
	if err != nil {
		t.Fatal(err)
	}
	return p.GetAnnotations()[contract.AnnotationReleaseRemoval]
}

func hub(objects ...client.Object) *fake.ClientBuilder {
	return fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(objects...)
}

func TestReleasesWhatIsShown(t *testing.T) {
	for _, key := range keys {
		c := hub(placement(key), policy(key, held("dc", 3)), binding(key, "east", held("da", 7)), binding(key, "west", nil), binding(key, "north", held("db", 1))).Build()
		out, err := run(t, c, key, "y\n")
		if err != nil {
			t.Fatal(err)
		}
		want := `The policy leaves 3 of 9 clusters, held since 2026-01-01T12:00:00Z: ConfigMap shop/c0[31m, ConfigMap shop/c1[31m, ConfigMap shop/c2[31m
CLUSTER   REMOVED   OF    PROTECTED   HELD SINCE             OBJECTS
east      7         9     0           2026-01-01T12:00:00Z   ConfigMap shop/c0[31m, ConfigMap shop/c1[31m, ConfigMap shop/c2[31m, ConfigMap shop/c3[31m, ConfigMap shop/c4[31m and 2 more
north     1         9     0           2026-01-01T12:00:00Z   ConfigMap shop/c0[31m
`
		if !strings.HasPrefix(out, want) || !strings.HasSuffix(out, ": released\n") {
			t.Errorf("prints\n%s\nwant\n%s", out, want)
		}
		if got := released(t, c, key); got != "da,db,dc" {
			t.Errorf("releases %q", got)
		}
		if out, err := run(t, c, key, ""); err != nil || !strings.Contains(out, "already released") {
			t.Errorf("prints %s, %v", out, err)
		}
	}
}

func TestAsks(t *testing.T) {
	key := keys[0]
	for answer, want := range map[string]string{"y\n": "d", "YES\n": "d", "n\n": "", "\n": "", "yep\n": ""} {
		c := hub(placement(key), binding(key, "east", held("d", 1))).Build()
		if _, err := run(t, c, key, answer); err != nil {
			t.Errorf("%q: %v", answer, err)
		}
		if got := released(t, c, key); got != want {
			t.Errorf("%q releases %q", answer, got)
		}
	}
	c := hub(placement(key), binding(key, "east", held("d", 1))).Build()
	if out, err := run(t, c, key, ""); err == nil || !strings.Contains(err.Error(), "--yes") || !strings.Contains(out, "east") || released(t, c, key) != "" {
		t.Errorf("without a terminal: %s, %v", out, err)
	}
	if _, err := run(t, c, key, "", yes); err != nil || released(t, c, key) != "d" {
		t.Errorf("with --yes: %v, releases %q", err, released(t, c, key))
	}
}

func TestNothingIsHeld(t *testing.T) {
	for _, key := range keys {
		c := hub(placement(key), binding(key, "east", nil), policy(key, nil)).Build()
		if out, err := run(t, c, key, ""); err != nil || !strings.HasPrefix(out, "nothing of ") {
			t.Errorf("%s, %v", out, err)
		}
		if _, err := run(t, hub().Build(), key, ""); err == nil || !strings.Contains(err.Error(), "there is no") {
			t.Errorf("a placement that does not exist: %v", err)
		}
	}
}

// Bindings of an earlier placement of the name are not shown, nor released.
func TestAnEarlierPlacement(t *testing.T) {
	earlier := binding(keys[0], "east", held("d", 1))
	earlier.SetAnnotations(map[string]string{contract.AnnotationPlacementUID: "earlier"})
	if out, err := run(t, hub(placement(keys[0]), earlier).Build(), keys[0], ""); err != nil || !strings.HasPrefix(out, "nothing of ") {
		t.Errorf("%s, %v", out, err)
	}
}

// If another removal is held by the time of the answer, nothing is released; a conflict alone is retried.
func TestWhatIsHeldChangesMeanwhile(t *testing.T) {
	key := keys[0]
	for name, tc := range map[string]struct {
		change func(context.Context, client.Client) error
		want   string
	}{
		"another digest": {change: func(ctx context.Context, c client.Client) error {
			if err := c.Delete(ctx, binding(key, "east", nil)); err != nil {
				return err
			}
			return c.Create(ctx, binding(key, "east", held("other", 2)))
		}},
		"one more": {change: func(ctx context.Context, c client.Client) error {
			return c.Create(ctx, binding(key, "west", held("more", 2)))
		}},
		"a label": {want: "d", change: func(ctx context.Context, c client.Client) error {
			p := placement(key)
			p.SetLabels(map[string]string{"a": "b"})
			return c.Update(ctx, p)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			once := false
			c := hub(placement(key), binding(key, "east", held("d", 1))).WithInterceptorFuncs(interceptor.Funcs{
				Patch: func(ctx context.Context, c client.WithWatch, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
					if !once && name == "a label" { // between the second read and the write
						once = true
						if err := tc.change(ctx, c); err != nil {
							return err
						}
					}
					return c.Patch(ctx, o, patch, opts...)
				},
			}).Build()
			answered := func(o *Options) {
				o.asks = func() bool {
					if name != "a label" {
						if err := tc.change(t.Context(), c); err != nil {
							t.Fatal(err)
						}
					}
					return true
				}
			}
			_, err := run(t, c, key, "y\n", answered)
			if (err != nil) != (tc.want == "") {
				t.Errorf("error %v", err)
			}
			if got := released(t, c, key); got != tc.want {
				t.Errorf("releases %q", got)
			}
		})
	}
}

func TestADeletion(t *testing.T) {
	for _, key := range keys {
		p := placement(key)
		p.SetDeletionTimestamp(ptr.To(noon))
		p.SetFinalizers([]string{contract.FinalizerPlacement})
		c := hub(p).Build()
		if out, err := run(t, c, key, "", yes); err != nil || !strings.HasPrefix(out, "nothing of ") {
			t.Errorf("%s, %v", out, err)
		}
		p.GetStatus().Conditions = []metav1.Condition{{
			Type: p.ConditionType(v1beta1.ConditionRemovalHeld), Status: metav1.ConditionTrue, Reason: "R", Message: "It would remove 7 objects", LastTransitionTime: noon,
		}}
		c = hub(p).Build()
		out, err := run(t, c, key, "", yes)
		if err != nil || !strings.Contains(out, "is being deleted since 2026-01-01T12:00:00Z. It would remove 7 objects") {
			t.Errorf("%s, %v", out, err)
		}
		now, err := scope.Placements.Get(t.Context(), c, key)
		if err != nil {
			t.Fatal(err)
		}
		if removal.MayHold(now, removal.Policy{Max: ptr.To(intstr.FromInt32(0))}) {
			t.Error("the deletion is not released")
		}
	}
}
