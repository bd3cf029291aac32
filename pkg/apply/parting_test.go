package apply

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

func TestStrangersInANamespace(t *testing.T) {
	thing := func(kind, name, owner string) Content {
		gk := schema.ParseGroupKind(kind)
		c := Content{Kind: gk, Name: name, UID: types.UID(gk.Kind + name)}
		if owner != "" {
			c.Owners = []metav1.OwnerReference{{UID: types.UID(owner)}}
		}
		return c
	}
	deleting := thing("Secret", "goes", "")
	deleting.Deleting = true
	token := thing("Secret", "default-token", "")
	token.Annotations = map[string]string{"kubernetes.io/service-account.name": "default"}
	contents := []Content{
		thing("Pod", "web-1-a", "ReplicaSetweb-1"), thing("ReplicaSet.apps", "web-1", "Deploymentweb"), thing("Deployment.apps", "web", "ledger"),
		thing("ConfigMap", "kube-root-ca.crt", ""), thing("ServiceAccount", "default", ""), token, deleting, thing("Lease.coordination.k8s.io", "lock", ""),
		thing("Service", "web", "ledger"), thing("Endpoints", "web", ""), thing("EndpointSlice.discovery.k8s.io", "web-x", "Endpointsweb"),
		thing("StatefulSet.apps", "db", "ledger"), thing("PersistentVolumeClaim", "data-db-0", ""), thing("Job.batch", "child", "cluster-scoped"),

		thing("ConfigMap", "local", ""), thing("Pod", "by-hand", "ReplicaSetother"), thing("Endpoints", "manual", ""),
		thing("PersistentVolumeClaim", "data-other-0", ""), thing("ServiceAccount", "builder", ""), thing("ConfigMap", "of-another-fleet", "their-ledger"),
	}
	want := []string{"ConfigMap local", "ConfigMap of-another-fleet", "Endpoints manual", "PersistentVolumeClaim data-other-0", "Pod by-hand", "ServiceAccount builder"}
	placed := Placed{All: sets.New[types.UID]("ledger", "cluster-scoped"), Held: sets.New[types.UID]()}
	if got := InsideOf(contents, placed).Strangers; !reflect.DeepEqual(got, want) {
		t.Errorf("strangers %q; want %q", got, want)
	}
}

// The ledger lists an object until all of a pass is done, so what it lists is not all that goes.
func TestInsideOfANamespace(t *testing.T) {
	object := func(name, owner string, annotations ...string) Content {
		c := Content{Kind: schema.GroupKind{Kind: "ConfigMap"}, Name: name, UID: types.UID(name)}
		if owner != "" {
			c.Owners = []metav1.OwnerReference{{UID: types.UID(owner)}}
		}
		for i := 0; i < len(annotations); i += 2 {
			c.Annotations = map[string]string{annotations[i]: annotations[i+1]}
		}
		return c
	}
	held := object("released", "ledger", contract.AnnotationHeld, contract.HeldRelease)
	for name, tc := range map[string]struct {
		object Content
		want   Inside
	}{
		"placed":                         {object("placed", "ledger"), Inside{}},
		"let go, still listed":           {object("placed", ""), Inside{Strangers: []string{"ConfigMap placed"}}},
		"left to another owner":          {object("placed", "theirs"), Inside{Strangers: []string{"ConfigMap placed"}}},
		"made for what is placed":        {object("child", "placed"), Inside{}},
		"held in the ledger":             {object("held", "ledger"), Inside{Held: []string{"ConfigMap held"}}},
		"made for what is held":          {object("child", "held"), Inside{Strangers: []string{"ConfigMap child"}}},
		"held, not yet in the ledger":    {object("placed", "ledger", contract.AnnotationHeld, contract.HeldYes), Inside{Held: []string{"ConfigMap placed"}}},
		"held in the ledger, released":   {held, Inside{}},
		"kept":                           {object("placed", "ledger", contract.AnnotationKeep, "true"), Inside{Kept: []string{"ConfigMap placed"}}},
		"not placed":                     {object("local", ""), Inside{Strangers: []string{"ConfigMap local"}}},
		"of a ledger that is not listed": {object("local", "lost-ledger"), Inside{Strangers: []string{"ConfigMap local"}}},
	} {
		placed := Placed{All: sets.New[types.UID]("ledger", "placed"), Held: sets.New[types.UID]("held", "released")}
		if diff := cmp.Diff(&tc.want, InsideOf([]Content{tc.object}, placed)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		tc.want.Strangers = nil
		if diff := cmp.Diff(&tc.want, InsideOfKind([]Content{tc.object}, placed)); diff != "" {
			t.Errorf("%s, as one of a kind: %s", name, diff)
		}
	}
}

// part is what Part decides about an object of a Work, with the parts of the patch that do not depend on what was
// decided.
func part(t *testing.T, p Parting) Departure {
	t.Helper()
	p.Owner = owner
	got, err := Part(p)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// The rows of docs/deletion.md, and what comes before them. The order of the questions is a rule, too: each row has
// only what it needs, and what a later row would decide otherwise.
func TestPart(t *testing.T) {
	const (
		us, them   = "AppliedWork w u1", "ConfigMap x u9"
		namespace  = "{apiVersion: v1, kind: Namespace, metadata: {name: c}}"
		definition = "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: c}}"
		claim      = "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {namespace: ns, name: c}, spec: {storageClassName: a}}"
	)
	type edits = []func(*unstructured.Unstructured)
	note := func(key, value string) func(*unstructured.Unstructured) {
		return set(value, "metadata", "annotations", key)
	}
	taken := note(contract.AnnotationTakenOver, "true")
	keep := note(contract.AnnotationKeep, "true")
	going := set("2026-01-01T00:00:00Z", "metadata", "deletionTimestamp")
	abandon := &v1beta1.DeleteStrategy{PropagationPolicy: v1beta1.DeletePropagationPolicyAbandon}
	all := &v1beta1.DeleteStrategy{ForeignContent: v1beta1.ForeignContentPolicyDelete}
	others, empty := &Inside{Strangers: []string{"Pod p"}}, &Inside{}
	both := []bool{false, true}
	stays, goes := both[:1], both[1:]
	for name, tc := range map[string]struct {
		text   string
		absent bool
		edits  edits
		with   Parting
		ends   []bool
		want   Fate
	}{
		"created by the agent":                                         {want: Delete},
		"not there":                                                    {absent: true, want: Forget},
		"being deleted":                                                {edits: edits{going}, want: Going},
		"of others":                                                    {edits: edits{owners(them)}, want: Forget},
		"of an earlier AppliedWork":                                    {edits: edits{owners("AppliedWork w u0")}, want: Forget},
		"wanted under another name":                                    {with: Parting{Wanted: sets.New[types.UID]("live")}, want: Forget},
		"another object being wanted is no harm":                       {with: Parting{Wanted: sets.New[types.UID]("other")}, want: Delete},
		"wanted by another Work":                                       {with: Parting{Elsewhere: true, Strategy: abandon}, want: Disown},
		"owned by others, too":                                         {edits: edits{owners(us, them)}, want: Disown},
		"any, with Abandon":                                            {with: Parting{Strategy: abandon}, ends: goes, want: LetGo},
		"owned by others, too, with Abandon":                           {edits: edits{owners(us, them)}, with: Parting{Strategy: abandon}, ends: goes, want: LetGo},
		"leaves a Work that has Abandon":                               {with: Parting{Strategy: abandon}, ends: stays, want: Delete},
		"held, an earlier Work placed it":                              {with: Parting{Entry: Entry{Held: true}}, ends: goes, want: Stay},
		"held, the Work stays":                                         {with: Parting{Entry: Entry{Held: true}}, ends: stays, want: Hold},
		"marked as held":                                               {edits: edits{note(contract.AnnotationHeld, contract.HeldYes)}, ends: goes, want: Stay},
		"held and released":                                            {edits: edits{note(contract.AnnotationHeld, contract.HeldRelease)}, with: Parting{Entry: Entry{Held: true}}, want: Delete},
		"held, with Abandon":                                           {with: Parting{Entry: Entry{Held: true}, Strategy: abandon}, ends: goes, want: LetGo},
		"the Work lacks manifests":                                     {with: Parting{Stamp: Stamp{Incomplete: true}}, ends: stays, want: Hold},
		"the Work lacks manifests, and goes":                           {with: Parting{Stamp: Stamp{Incomplete: true}}, ends: goes, want: Delete},
		"a Namespace, not looked into":                                 {text: namespace, with: Parting{Strategy: all}, want: Look},
		"a Namespace that is empty":                                    {text: namespace, with: Parting{Inside: empty}, want: Delete},
		"a Namespace with objects of others":                           {text: namespace, with: Parting{Inside: others}, want: Stay},
		"a Namespace with objects of others, all to go":                {text: namespace, with: Parting{Inside: others, Strategy: all}, want: Delete},
		"a Namespace with objects of others, taken over":               {text: namespace, edits: edits{taken}, with: Parting{Inside: others, Strategy: all}, want: LetGo},
		"a Namespace that is empty, taken over":                        {text: namespace, edits: edits{taken}, with: Parting{Inside: empty}, want: Delete},
		"a Namespace with objects of others, with Abandon":             {text: namespace, with: Parting{Inside: others, Strategy: abandon}, ends: goes, want: LetGo},
		"a Namespace with a kept object":                               {text: namespace, with: Parting{Inside: &Inside{Strangers: []string{"Pod p"}, Kept: []string{"Pod p"}}}, want: LetGo},
		"a Namespace with a kept object, all to go":                    {text: namespace, with: Parting{Inside: &Inside{Kept: []string{"Pod p"}}, Strategy: all}, want: LetGo},
		"a Namespace with a held object, all to go":                    {text: namespace, with: Parting{Inside: &Inside{Held: []string{"Pod p"}}, Strategy: all}, want: Stay},
		"a Namespace with a held object, taken over":                   {text: namespace, edits: edits{taken}, with: Parting{Inside: &Inside{Held: []string{"Pod p"}}}, want: LetGo},
		"a definition with a held object of its kind":                  {text: definition, with: Parting{Inside: &Inside{Held: []string{"Widget ns/w"}}, Strategy: all}, want: Stay},
		"a definition, not looked into":                                {text: definition, want: Look},
		"a definition, nothing of its kind is kept":                    {text: definition, with: Parting{Inside: empty}, want: Delete},
		"a definition with a kept object of its kind":                  {text: definition, with: Parting{Inside: &Inside{Kept: []string{"Widget ns/w"}}, Strategy: all}, want: LetGo},
		"a definition of what the agent may not list":                  {text: definition, with: Parting{Inside: others}, want: Stay},
		"kept by its annotation":                                       {edits: edits{keep}, want: LetGo},
		"kept by the manifest":                                         {with: Parting{Manifest: placed(t, cm, v1beta1.ApplyStrategy{}, keep)}, want: LetGo},
		"kept, and owned by others, too":                               {edits: edits{keep, owners(us, them)}, want: LetGo},
		"kept, and wanted by another Work":                             {edits: edits{keep}, with: Parting{Elsewhere: true}, want: Disown},
		"kept, and held":                                               {edits: edits{keep}, with: Parting{Entry: Entry{Held: true}}, ends: stays, want: Hold},
		"kept, and released":                                           {edits: edits{keep, note(contract.AnnotationHeld, contract.HeldRelease)}, want: LetGo},
		"kept, and of others":                                          {edits: edits{keep, owners(them)}, want: Forget},
		"a kept Namespace":                                             {text: namespace, edits: edits{keep}, with: Parting{Strategy: all}, want: LetGo},
		"a claim that was created":                                     {text: claim, want: Delete},
		"a claim that was taken over":                                  {text: claim, edits: edits{taken}, want: LetGo},
		"a claim that the ledger has as taken over":                    {text: claim, with: Parting{Entry: Entry{TakenOver: true}}, want: LetGo},
		"taken over, nothing beside what was placed":                   {edits: edits{taken}, want: Delete},
		"taken over, nothing beside the manifest":                      {edits: edits{taken, note(contract.AnnotationLastApplied, "")}, with: Parting{Manifest: object(t, cm)}, want: Delete},
		"taken over, what was placed is not known":                     {edits: edits{taken, note(contract.AnnotationLastApplied, "")}, want: LetGo},
		"taken over, with more, perhaps filled in":                     {edits: edits{taken, set(true, "immutable")}, want: Fill},
		"taken over, with more, filled in":                             {edits: edits{taken, set(true, "immutable")}, with: Parting{Filled: &Filled{object(t, strings.Replace(cm, "}, data:", "}, immutable: true, data:", 1))}}, want: Delete},
		"taken over, with more":                                        {edits: edits{taken, set(true, "immutable")}, with: Parting{Filled: &Filled{object(t, cm)}}, want: LetGo},
		"taken over, with more, and the API server refuses to fill in": {edits: edits{taken, set(true, "immutable")}, with: Parting{Filled: &Filled{}}, want: LetGo},
	} {
		if tc.text == "" {
			tc.text = cm
		}
		if tc.ends == nil {
			tc.ends = both
		}
		for _, ends := range tc.ends {
			if tc.with.Ends = ends; !tc.absent {
				tc.with.Live = placed(t, tc.text, v1beta1.ApplyStrategy{}, tc.edits...)
			}
			got := part(t, tc.with)
			if patches := got.Fate == LetGo || got.Fate == Disown || got.Fate == Hold; got.Fate != tc.want || (got.Body != nil) != patches {
				t.Errorf("%s (the Work goes: %v): %s with patch %q; want %s", name, ends, got.Fate, got.Body, tc.want)
			}
			if got.Fate == Stay && got.Why == "" {
				t.Errorf("%s: it stays for no reason", name)
			}
		}
	}
}

func TestPatchesOfParting(t *testing.T) {
	live := placed(t, cm, v1beta1.ApplyStrategy{}, owners("AppliedWork w u1", "ConfigMap x u9"), set("true", "metadata", "annotations", contract.AnnotationTakenOver))
	abandon := &v1beta1.DeleteStrategy{PropagationPolicy: v1beta1.DeletePropagationPolicyAbandon}
	letGo := string(part(t, Parting{Live: live, Ends: true, Strategy: abandon}).Body)
	disown := string(part(t, Parting{Live: live}).Body)
	for _, text := range []string{letGo, disown} {
		if !strings.Contains(text, "u9") || !strings.Contains(text, `"value":"7"`) || strings.Contains(text, `"u1"`) {
			t.Errorf("patch %s; want the other owner alone, for the object as it was read", text)
		}
	}
	for _, stamp := range []string{"/metadata/annotations/kubernetes-fleet.io~1taken-over", "/metadata/annotations/kubernetes-fleet.io~1spec-hash"} {
		if !strings.Contains(letGo, stamp) || strings.Contains(disown, stamp) {
			t.Errorf("%s: let go %s, disowned %s; want it off in the first alone", stamp, letGo, disown)
		}
	}
}

// An object released because of the annotation keep has it, even if it had not reached the cluster.
func TestKeepStaysWithTheObject(t *testing.T) {
	manifest := object(t, cm)
	manifest.SetAnnotations(map[string]string{contract.AnnotationKeep: "yes"})
	const path = `"path":"/metadata/annotations/kubernetes-fleet.io~1keep","value":"yes"`
	live := placed(t, cm, v1beta1.ApplyStrategy{}, owners("AppliedWork w u1"))
	if got := string(part(t, Parting{Live: live, Manifest: manifest, Ends: true}).Body); !strings.Contains(got, path) {
		t.Errorf("patch %s; want it to set the annotation", got)
	}
	bare := live.DeepCopy()
	bare.SetAnnotations(nil)
	if got := string(part(t, Parting{Live: bare, Manifest: manifest, Ends: true}).Body); !strings.Contains(got, `"path":"/metadata/annotations","value":{}`) || !strings.Contains(got, path) {
		t.Errorf("patch %s; want it to make the annotations, and to set this one", got)
	}
	live.SetAnnotations(map[string]string{contract.AnnotationKeep: "on the member"})
	if got := string(part(t, Parting{Live: live, Manifest: manifest, Ends: true}).Body); strings.Contains(got, "io~1keep") {
		t.Errorf("patch %s; want the annotation as it is", got)
	}
}

func TestExtraContent(t *testing.T) {
	for name, tc := range map[string]struct {
		placed, live map[string]any
		want         bool
	}{
		"the same":                   {map[string]any{"data": map[string]any{"a": "1"}}, map[string]any{"data": map[string]any{"a": "1"}}, false},
		"another value":              {map[string]any{"data": map[string]any{"a": "1"}}, map[string]any{"data": map[string]any{"a": "2"}}, false},
		"a key more":                 {map[string]any{"data": map[string]any{"a": "1"}}, map[string]any{"data": map[string]any{"a": "1", "b": "1"}}, true},
		"an element more":            {map[string]any{"rules": []any{"a"}}, map[string]any{"rules": []any{"a", "b"}}, true},
		"labels and status only":     {map[string]any{}, map[string]any{"metadata": map[string]any{"labels": map[string]any{"a": "b"}}, "status": map[string]any{"x": "y"}}, false},
		"an empty map is no content": {map[string]any{}, map[string]any{"spec": map[string]any{}}, false},
	} {
		live, want := object(t, cm), object(t, cm)
		live.Object, want.Object = tc.live, tc.placed
		if got := extra(want, live); got != tc.want {
			t.Errorf("%s: %v; want %v", name, got, tc.want)
		}
	}
}

func TestKeeps(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "True": true, "yes": true, "no": true, "": true, "falsch": true, "false": false, "False": false, "0": false} {
		if got := Keeps(map[string]string{contract.AnnotationKeep: value}); got != want {
			t.Errorf("%q: %v; want %v", value, got, want)
		}
	}
	if Keeps(map[string]string{"example.test/keep": "true"}) || Keeps(nil) {
		t.Error("objects without the annotation are kept")
	}
}
