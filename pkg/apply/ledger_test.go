package apply

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// id parses "group/version Kind namespace/name".
func id(text string) v1beta1.WorkResourceIdentifier {
	words := strings.Split(text, " ")
	gv, err := schema.ParseGroupVersion(words[0])
	if err != nil {
		panic(err)
	}
	namespace, name, _ := strings.Cut(words[2], "/")
	return v1beta1.WorkResourceIdentifier{Group: gv.Group, Version: gv.Version, Kind: words[1], Namespace: namespace, Name: name}
}

func TestLeftOver(t *testing.T) {
	const a, b, c = "v1 ConfigMap n/a", "v1 ConfigMap n/b", "example.test/v1 Widget n/c"
	opaque := Manifest{Problem: Finding{Reason: v1beta1.ReasonManifestDecodingErred}}
	for name, tc := range map[string]struct {
		ledger  []string // "… uid" optional fourth word
		wanted  []string
		extra   []Manifest
		applied map[string]types.UID
		want    []string
	}{
		"nothing left the Work":                         {ledger: []string{a, b}, wanted: []string{b, a}},
		"what left the Work goes":                       {ledger: []string{a, b}, wanted: []string{a}, want: []string{b}},
		"an empty Work wants nothing":                   {ledger: []string{a, b}, want: []string{a, b}},
		"an unreadable manifest may mean any object":    {ledger: []string{a, b}, wanted: []string{a}, extra: []Manifest{opaque}},
		"another version is the same object":            {ledger: []string{"apps/v1beta1 Deployment n/d"}, wanted: []string{"apps/v1 Deployment n/d"}},
		"a kind nobody serves is wanted all the same":   {ledger: []string{c}, wanted: []string{c}},
		"another namespace is another object":           {ledger: []string{a}, wanted: []string{"v1 ConfigMap m/a"}, want: []string{a}},
		"another group waits until that one is applied": {ledger: []string{"extensions/v1beta1 Ingress n/i 1"}, wanted: []string{"networking.k8s.io/v1 Ingress n/i"}},
		"another group of Kubernetes, looked for and not there": {ledger: []string{"extensions/v1beta1 Ingress n/i 1"}, wanted: []string{"networking.k8s.io/v1 Ingress n/i"},
			applied: map[string]types.UID{"networking.k8s.io/v1 Ingress n/i": Absent}, want: []string{"extensions/v1beta1 Ingress n/i"}},
		"another group of others that the member does not serve": {ledger: []string{"v1 Service n/i 1"}, wanted: []string{"serving.example.test/v1 Service n/i"},
			want: []string{"v1 Service n/i"}},
		"another group of others, looked for and the same": {ledger: []string{"a.test/v1 Widget n/i 1"}, wanted: []string{"b.test/v1 Widget n/i"},
			applied: map[string]types.UID{"b.test/v1 Widget n/i": "1"}},
		"another group turned out to be the same": {ledger: []string{"extensions/v1beta1 Ingress n/i 1"}, wanted: []string{"networking.k8s.io/v1 Ingress n/i"},
			applied: map[string]types.UID{"networking.k8s.io/v1 Ingress n/i": "1"}},
		"another group turned out to be another": {ledger: []string{"a.test/v1 Widget n/i 1"}, wanted: []string{"b.test/v1 Widget n/i"},
			applied: map[string]types.UID{"b.test/v1 Widget n/i": "2"}, want: []string{"a.test/v1 Widget n/i"}},
	} {
		t.Run(name, func(t *testing.T) {
			var ledger []Entry
			for _, text := range tc.ledger {
				e := Entry{WorkResourceIdentifier: id(text)}
				if words := strings.Split(text, " "); len(words) == 4 {
					e.UID = types.UID(words[3])
				}
				ledger = append(ledger, e)
			}
			manifests := slices.Clone(tc.extra)
			for _, text := range tc.wanted {
				manifests = append(manifests, Manifest{Identifier: id(text)})
			}
			applied := map[Key]types.UID{}
			for text, uid := range tc.applied {
				applied[KeyOf(id(text))] = uid
			}
			var got, want []Key
			for _, e := range LeftOver(ledger, manifests, applied) {
				got = append(got, KeyOf(e.WorkResourceIdentifier))
			}
			for _, text := range tc.want {
				want = append(want, KeyOf(id(text)))
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("left over %v; want %v", got, want)
			}
		})
	}
}

func TestTwins(t *testing.T) {
	service, knative, other := id("v1 Service n/web"), id("serving.example.test/v1 Service n/web"), id("v1 Service n/other")
	ledger := []Entry{{WorkResourceIdentifier: service}, {WorkResourceIdentifier: knative}, {WorkResourceIdentifier: other}}
	manifests := []Manifest{{Identifier: knative}}
	if got := Twins(ledger, manifests, nil); !reflect.DeepEqual(got, []Key{KeyOf(knative)}) {
		t.Errorf("to look for: %v; want the one of the same name in another group", got)
	}
	if got := Twins(ledger, manifests, map[Key]types.UID{KeyOf(knative): "1"}); len(got) > 0 {
		t.Errorf("to look for: %v; what is applied is known", got)
	}
	if got := Twins(ledger, append(manifests, Manifest{Identifier: service}), nil); len(got) > 0 {
		t.Errorf("to look for: %v; both are wanted", got)
	}
}

func TestLedgerUnitesStatusAndIntents(t *testing.T) {
	text, ok := Intended([]v1beta1.WorkResourceIdentifier{id("v1 ConfigMap n/a"), id("v1 ConfigMap n/b")})
	if !ok {
		t.Fatal("two identifiers do not fit")
	}
	w := &v1beta1.AppliedWork{}
	w.Annotations = map[string]string{contract.AnnotationIntended: text}
	w.Status.AppliedResources = []Entry{{WorkResourceIdentifier: id("v1 ConfigMap n/b"), UID: "1"}}
	want := []Entry{{WorkResourceIdentifier: id("v1 ConfigMap n/b"), UID: "1"}, {WorkResourceIdentifier: id("v1 ConfigMap n/a")}}
	if got := Ledger(w); !reflect.DeepEqual(got, want) {
		t.Errorf("ledger %+v; want %+v", got, want)
	}
	w.Annotations[contract.AnnotationIntended] = "spoiled"
	if got := Ledger(w); !reflect.DeepEqual(got, want[:1]) {
		t.Errorf("ledger with a spoiled annotation %+v; want %+v", got, want[:1])
	}
	var many []v1beta1.WorkResourceIdentifier
	for range 3000 {
		many = append(many, id("v1 ConfigMap some-namespace/some-name"))
	}
	if _, ok := Intended(many); ok {
		t.Error("3000 identifiers fit")
	}
}

// Only a reference to the very AppliedWork is ours: neither one of another kind in its group, nor of its kind in
// another group.
func TestReferencesThatLookLikeOurs(t *testing.T) {
	live := placed(t, cm, v1beta1.ApplyStrategy{})
	ours := live.GetOwnerReferences()
	alike := map[string]metav1.OwnerReference{
		"another kind":    {APIVersion: v1beta1.GroupVersion.String(), Kind: "Work", Name: ours[0].Name, UID: "u7"},
		"another group":   {APIVersion: "example.test/v1beta1", Kind: ours[0].Kind, Name: ours[0].Name, UID: "u8"},
		"another version": {APIVersion: v1beta1.GroupVersion.Group + "/v9", Kind: "Work", Name: ours[0].Name, UID: "u9"},
	}
	for name, ref := range alike {
		live.SetOwnerReferences([]metav1.OwnerReference{ref})
		if owner.Owns(live) || len(OtherAppliedWorks(live, Owner{})) > 0 {
			t.Errorf("%s is taken for an AppliedWork", name)
		}
		live.SetOwnerReferences(append(ours, ref))
		how := with(v1beta1.ApplyStrategy{AllowCoOwnership: true})
		if got := claimed(Input{Live: live, Owner: owner, Strategy: how}); got.changed() || len(got.owners) != 2 || got.refusal.Reason != "" {
			t.Errorf("%s beside ours: %+v; want both to stay", name, got)
		}
		if got := part(t, Parting{Live: live}); got.Fate != Disown || !strings.Contains(string(got.Body), string(ref.UID)) {
			t.Errorf("%s beside ours: %s, %s; want it to keep the object", name, got.Fate, got.Body)
		}
	}
}

func TestUnblock(t *testing.T) {
	alone := placed(t, cm, v1beta1.ApplyStrategy{})
	if body, err := Unblock(alone, owner); err != nil || body != nil {
		t.Errorf("alone: %s, %v; want nothing", body, err)
	}
	body, err := Unblock(placed(t, cm, v1beta1.ApplyStrategy{}, owners("AppliedWork w u1", "ConfigMap x u9")), owner)
	if err != nil {
		t.Fatal(err)
	}
	var ops []struct {
		Path  string
		Value json.RawMessage
	}
	if err := json.Unmarshal(body, &ops); err != nil {
		t.Fatal(err)
	}
	var refs []struct {
		UID                string
		BlockOwnerDeletion bool
	}
	if err := json.Unmarshal(ops[1].Value, &refs); err != nil {
		t.Fatal(err)
	}
	if len(refs) != 2 || refs[0].BlockOwnerDeletion || !refs[1].BlockOwnerDeletion {
		t.Errorf("references %+v; want only ours unblocked", refs)
	}
}

func TestWave(t *testing.T) {
	order := []schema.GroupResource{
		{Resource: "namespaces"}, {Resource: "secrets"}, {Group: "rbac.authorization.k8s.io", Resource: "roles"},
		{Group: "rbac.authorization.k8s.io", Resource: "rolebindings"}, {Group: "apps", Resource: "deployments"},
		{Group: "admissionregistration.k8s.io", Resource: "validatingwebhookconfigurations"}, {Group: "example.test", Resource: "deployments"},
	}
	for i := 1; i < len(order); i++ {
		if Wave(order[i-1]) >= Wave(order[i]) {
			t.Errorf("%s is in wave %d, %s in %d", order[i-1], Wave(order[i-1]), order[i], Wave(order[i]))
		}
	}
	if Wave(order[6]) != LastWave {
		t.Errorf("a custom resource is in wave %d; want the last", Wave(order[6]))
	}
}
