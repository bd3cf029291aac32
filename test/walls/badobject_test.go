package walls

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// One bad object stops only itself: what a member and a tenant write that no Go type decodes is refused, or read
// around.
func TestOneBadObjectStopsOnlyItself(t *testing.T) {
	t.Parallel()
	t.Run("member-bad-times-and-quantities", func(t *testing.T) {
		who, cluster := letIn(t, "rg-badtimes")
		namespace := contract.MemberNamespace(cluster.Name)
		work := aWork(t, namespace)
		for _, time := range []string{"2026-01-01t00:00:00z", "2026-01-01T00:00:00z", "2026-01-01T00:00:00,5Z", "0000-01-01T00:00:00+01:00"} {
			statusRefused(t, who, work, fmt.Sprintf(`{"conditions":[{"type":"Applied","status":"True","reason":"r","message":"","lastTransitionTime":%q}]}`, time))
			statusRefused(t, who, cluster.DeepCopy(), fmt.Sprintf(`{"agentStatus":[{"type":"MemberAgent","lastReceivedHeartbeat":%q}]}`, time))
		}
		for _, quantity := range []string{"1e1.5", "1e2147483647"} {
			statusRefused(t, who, cluster.DeepCopy(), fmt.Sprintf(`{"resourceUsage":{"capacity":{"cpu":%q}}}`, quantity))
		}
		arrives(t, "rg-badtimes-after")
	})
	t.Run("tenant-deep-json", func(t *testing.T) {
		who := tenantOf(t, "rg-deep")
		for _, kind := range deepKinds(who) {
			taken := 0
			const least, most = 9_985, 10_000
			for levels := least; levels <= most; levels++ {
				if kind.takes(t, levels) {
					taken++
				}
			}
			if taken == 0 || taken > most-least {
				t.Errorf("%s: the API server took %d depths of %d to %d; the limit must be among them", kind.name, taken, least, most)
			}
			kind.list(t)
		}
		arrives(t, "rg-deep-after")
	})
}

// deepKind is a kind that takes JSON of any shape from its author.
type deepKind struct {
	name   string
	author actor
	// path is where the kind is written; namespace is empty for a cluster-scoped kind.
	path, namespace string
	// around is what is written around the JSON.
	around string
}

func deepKinds(who tenant) []deepKind {
	const group = "/apis/placement.kubernetes-fleet.io/v1beta1/"
	mine, envelope := group+"namespaces/"+who.namespace+"/", `"data":{"x":%s}`
	return []deepKind{
		{name: "ResourceEnvelope", author: who.actor, path: mine + "resourceenvelopes", namespace: who.namespace, around: envelope},
		{name: "ClusterResourceEnvelope", author: theHub, path: group + "clusterresourceenvelopes", around: envelope},
		{name: "ResourceOverride", author: who.actor, path: mine + "resourceoverrides", namespace: who.namespace, around: `"spec":{
			"resourceSelectors":[{"group":"","version":"v1","kind":"ConfigMap","name":"a"}],
			"policy":{"overrideRules":[{"jsonPatchOverrides":[{"op":"add","path":"/data","value":%s}]}]}}`},
	}
}

// takes creates an object whose JSON has these levels and returns whether the API server stored it. The API server
// must be able to read the kind afterwards: one stored object that it cannot decode keeps the kind from every client,
// and namespaces from being deleted.
func (k deepKind) takes(t *testing.T, levels int) bool {
	t.Helper()
	obj := &metav1.PartialObjectMetadata{}
	obj.SetGroupVersionKind(v1beta1.GroupVersion.WithKind(k.name))
	obj.Namespace, obj.Name = k.namespace, fmt.Sprintf("deep-%d", levels)
	t.Cleanup(func() { remove(t, obj) })
	nested := strings.Repeat(`{"a":`, levels) + `1` + strings.Repeat(`}`, levels)
	posted := testworld.Post(t, k.author.config, k.path, fmt.Sprintf(
		`{"apiVersion":%q,"kind":%q,"metadata":{"name":%q},%s}`, v1beta1.GroupVersion, k.name, obj.Name, fmt.Sprintf(k.around, nested)))
	// The API server can store an object and still answer with an error.
	read := theHub.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)
	if client.IgnoreNotFound(read) != nil || (posted == nil) != (read == nil) {
		t.Fatalf("%s of %d levels: create: %v; get: %v", k.name, levels, posted, read)
	}
	k.list(t)
	return read == nil
}

// list lists the kind without a limit, which the API server answers from its watch cache. The list has metadata only:
// Go clients cannot decode a whole list of objects that nest as deep as one object may.
func (k deepKind) list(t *testing.T) {
	t.Helper()
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(v1beta1.GroupVersion.WithKind(k.name + "List"))
	if err := theHub.List(t.Context(), list); err != nil {
		t.Fatalf("list %s: %v", k.name, err)
	}
}

// statusRefused tries to write a status as a member.
func statusRefused(t *testing.T, who actor, obj client.Object, status string) {
	t.Helper()
	target := obj
	if cluster, ok := obj.(*clusterv1beta1.MemberCluster); ok {
		internal := &clusterv1beta1.InternalMemberCluster{}
		internal.Namespace, internal.Name = contract.MemberNamespace(cluster.Name), cluster.Name
		target = internal
	}
	if err := patchStatus(t, who, target, status); !apierrors.IsInvalid(err) {
		t.Errorf("%T with status %s: got %v; want it refused as invalid", target, status, err)
	}
}

func patchStatus(t *testing.T, who actor, obj client.Object, status string) error {
	t.Helper()
	gvk, err := who.GroupVersionKindFor(obj)
	if err != nil {
		t.Fatal(err)
	}
	// The answer may be what no type decodes.
	target := &unstructured.Unstructured{}
	target.SetGroupVersionKind(gvk)
	target.SetNamespace(obj.GetNamespace())
	target.SetName(obj.GetName())
	return who.Status().Patch(t.Context(), target, client.RawPatch(types.MergePatchType, []byte(`{"status":`+status+`}`)))
}

// aWork is a Work in a member's namespace.
func aWork(t *testing.T, namespace string) *v1beta1.Work {
	t.Helper()
	work := &v1beta1.Work{}
	work.Namespace, work.Name = namespace, "rg-work"
	create(t, theHub, work)
	return work
}

// A member and a tenant write what they like, as far as the schemas let them; what another author places arrives all
// the same.
func TestRandomObjectsStopOnlyThemselves(t *testing.T) {
	t.Parallel()
	seed := testworld.Seed(t)
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0))}
	who, cluster := letIn(t, "rg-random")
	namespace := contract.MemberNamespace(cluster.Name)
	internal := &clusterv1beta1.InternalMemberCluster{}
	internal.Namespace, internal.Name = namespace, cluster.Name
	statuses := []client.Object{aWork(t, namespace), internal}
	mallory := tenantOf(t, "rg-random-tenant")
	specs := []client.Object{&v1beta1.ResourcePlacement{}, &v1beta1.ResourceOverride{}, &v1beta1.ResourceEnvelope{}}

	arrives(t, "rg-random-other")
	const rounds, edits = 40, 4
	taken := map[string]int{}
	for edit := range edits {
		for round := range rounds {
			status := statuses[round%len(statuses)]
			content, err := json.Marshal(g.value(schemaOf(t, status, "status"), 0))
			if err != nil {
				t.Fatal(err)
			}
			if patchStatus(t, who, status, string(content)) == nil {
				taken[fmt.Sprintf("%T", status)]++
			}
			spec := specs[round%len(specs)]
			if g.create(t, mallory, spec, fmt.Sprintf("random-%d-%d", edit, round)) == nil {
				taken[fmt.Sprintf("%T", spec)]++
			}
		}
		text := fmt.Sprintf("edit %d", edit)
		if err := theHub.Patch(t.Context(), testworld.ConfigMap("rg-random-other", ""), client.RawPatch(types.MergePatchType,
			fmt.Appendf(nil, `{"data":{"edited":%q}}`, text))); err != nil {
			t.Fatal(err)
		}
		for _, m := range members {
			testworld.Await(t, testworld.Soon, "an edit of another placement to reach "+m.name, func(ctx context.Context) error {
				found := &corev1.ConfigMap{}
				if err := m.Get(ctx, client.ObjectKey{Namespace: "rg-random-other", Name: "cm"}, found); err != nil {
					return err
				}
				if found.Data["edited"] != text {
					return fmt.Errorf("seed %d: it has %q, want %q", seed, found.Data["edited"], text)
				}
				return nil
			})
		}
	}
	t.Logf("the API server took %v", taken)
	for _, obj := range slices.Concat(statuses, specs) {
		if taken[fmt.Sprintf("%T", obj)] == 0 {
			t.Errorf("seed %d: no random %T was taken; the test tests nothing of it", seed, obj)
		}
	}
}

// schemaOf is the schema of a top-level field of a kind.
func schemaOf(t *testing.T, obj client.Object, field string) *apiextensionsv1.JSONSchemaProps {
	t.Helper()
	version := crdVersion(t, obj)
	s, ok := version.Schema.OpenAPIV3Schema.Properties[field]
	if !ok {
		t.Fatalf("%T has no %s", obj, field)
	}
	return &s
}

func crdVersion(t *testing.T, obj client.Object) apiextensionsv1.CustomResourceDefinitionVersion {
	t.Helper()
	gvk, err := theHub.GroupVersionKindFor(obj)
	if err != nil {
		t.Fatal(err)
	}
	mapping, err := theHub.RESTMapper().RESTMapping(schema.GroupKind{Group: gvk.Group, Kind: gvk.Kind}, gvk.Version)
	if err != nil {
		t.Fatal(err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := theHub.Get(t.Context(), types.NamespacedName{Name: mapping.Resource.GroupResource().String()}, crd); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == gvk.Version })
	return crd.Spec.Versions[i]
}

// generator makes values that a schema takes, nasty where it can.
type generator struct{ *rand.Rand }

// create makes an object of a kind with random content.
func (g *generator) create(t *testing.T, who tenant, kind client.Object, name string) error {
	t.Helper()
	obj := map[string]any{}
	for field, s := range crdVersion(t, kind).Schema.OpenAPIV3Schema.Properties {
		if field != "metadata" && field != "status" && field != "apiVersion" && field != "kind" {
			obj[field] = g.value(&s, 0)
		}
	}
	u := &unstructured.Unstructured{Object: obj}
	gvk, err := theHub.GroupVersionKindFor(kind)
	if err != nil {
		t.Fatal(err)
	}
	u.SetGroupVersionKind(gvk)
	u.SetNamespace(who.namespace)
	u.SetName(name)
	if err := who.Create(t.Context(), u); err != nil {
		return err
	}
	t.Cleanup(func() { remove(t, u) })
	return nil
}

var (
	nastyTexts = []string{"", "a", "rg-m1", "ConfigMap", "v1", "nameſpace", "\u0000", "../..", "${MEMBER-CLUSTER-NAME}", "🦆", "/data/a", "-1", "null", "100%", "1h"}
	nastyTimes = []string{
		"2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9998-12-31T23:59:59.999999999-23:59", "2026-01-01T00:00:00+14:00", "2026-01-01t00:00:00z",
	}
	nastyQuantities = []any{int64(1), "1", "-1", "1e99", "1e-99", "9E", ".5", "1e1.5", strings.Repeat("9", 64), int64(math.MaxInt64), "1n"}
)

func pick[T any](g *generator, of []T) T { return of[g.IntN(len(of))] }

func (g *generator) value(s *apiextensionsv1.JSONSchemaProps, depth int) any {
	switch {
	case len(s.Enum) > 0:
		var value any
		if json.Unmarshal(pick(g, s.Enum).Raw, &value) != nil {
			return nil
		}
		return value
	case s.XIntOrString:
		return pick(g, nastyQuantities)
	case s.XPreserveUnknownFields != nil && *s.XPreserveUnknownFields, s.XEmbeddedResource:
		return g.unknown(0)
	}
	switch s.Type {
	case "string":
		if s.Format == "date-time" {
			return pick(g, nastyTimes)
		}
		return pick(g, nastyTexts)
	case "boolean":
		return g.IntN(2) == 0
	case "integer", "number":
		return g.whole(s)
	case "array":
		least := 0
		if s.MinItems != nil {
			least = int(*s.MinItems)
		}
		items := []any{}
		for range least + g.IntN(3) {
			items = append(items, g.value(s.Items.Schema, depth+1))
		}
		return items
	}
	return g.object(s, depth)
}

func (g *generator) whole(s *apiextensionsv1.JSONSchemaProps) any {
	choices := []int64{0, 1, 2, math.MaxInt32}
	if s.Minimum != nil && *s.Minimum > math.MinInt64 {
		choices = append(choices, int64(*s.Minimum))
	}
	if s.Maximum != nil && *s.Maximum < math.MaxInt64 {
		choices = append(choices, int64(*s.Maximum))
	}
	return pick(g, choices)
}

func (g *generator) object(s *apiextensionsv1.JSONSchemaProps, depth int) any {
	out := map[string]any{}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		for range 1 + g.IntN(2) {
			out[pick(g, nastyTexts)] = g.value(s.AdditionalProperties.Schema, depth+1)
		}
	}
	for name, field := range s.Properties {
		if slices.Contains(s.Required, name) || depth < 6 && g.IntN(3) == 0 {
			out[name] = g.value(&field, depth+1)
		}
	}
	return out
}

// unknown is any JSON object.
func (g *generator) unknown(depth int) any {
	out := map[string]any{"apiVersion": "v1", "kind": pick(g, []string{"ConfigMap", "Secret", "Namespace", "Nothing"}), "metadata": map[string]any{"name": pick(g, nastyTexts)}}
	for range g.IntN(3) {
		if depth < 4 {
			out[pick(g, nastyTexts)] = g.unknown(depth + 1)
		}
	}
	return out
}
