package removal

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

var start = time.Date(2030, 1, 2, 3, 4, 5, 600_000_000, time.UTC)

func limitTo(t interface{ Fatal(...any) }, most, protect string) Policy {
	p, err := Parse(most, protect)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func configMaps(n int) []Object {
	var out []Object
	for i := range n {
		out = append(out, Object{Kind: "ConfigMap", Namespace: "shop", Name: fmt.Sprintf("c%02d", i)})
	}
	return out
}

func TestWhatIsHeld(t *testing.T) {
	namespace := Object{Kind: "Namespace", Name: "shop"}
	other := Object{Group: "example.org", Kind: "Namespace", Name: "shop"}
	unreadable := Identify([]byte(`{"kind":`))
	for name, tc := range map[string]struct {
		most, protect string
		subject       Subject
		leaving       []Object
		total         int
		held          bool
	}{
		"no policy":                            {leaving: configMaps(9), total: 9},
		"nothing leaves":                       {most: "0", protect: "ConfigMap", total: 9},
		"a number is reached":                  {most: "2", leaving: configMaps(2), total: 2},
		"a number is exceeded":                 {most: "2", leaving: configMaps(3), total: 100, held: true},
		"zero allows nothing":                  {most: "0", leaving: configMaps(1), total: 100, held: true},
		"zero percent allows nothing":          {most: "0%", leaving: configMaps(1), total: 1000, held: true},
		"a share is reached":                   {most: "20%", leaving: configMaps(2), total: 10},
		"one of three is beyond 20%":           {most: "20%", leaving: configMaps(1), total: 3, held: true},
		"one of three is beyond 33%":           {most: "33%", leaving: configMaps(1), total: 3, held: true},
		"one of three is within 34%":           {most: "34%", leaving: configMaps(1), total: 3},
		"all of one is beyond 99%":             {most: "99%", leaving: configMaps(1), total: 1, held: true},
		"a share of 100% limits nothing":       {most: "100%", leaving: configMaps(5), total: 5},
		"a protected kind":                     {protect: "Namespace", leaving: []Object{namespace}, total: 100, held: true},
		"a kind of another group":              {protect: "Namespace", leaving: []Object{other}, total: 100},
		"a protected kind of a group":          {protect: "Namespace.example.org", leaving: []Object{other}, total: 100, held: true},
		"a protected kind within the number":   {most: "5", protect: "Namespace", leaving: []Object{namespace}, total: 100, held: true},
		"what cannot be read":                  {most: "100%", leaving: []Object{unreadable}, total: 100, held: true},
		"clusters may have protected kinds":    {most: "50%", protect: "Namespace", subject: Clusters, leaving: []Object{{Name: "east"}}, total: 9, held: true},
		"clusters count like objects":          {most: "20%", subject: Clusters, leaving: []Object{{Name: "east"}}, total: 4, held: true},
		"the deletion of a placement is whole": {most: "99%", subject: Placement, leaving: configMaps(3), total: 3, held: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := Change{Subject: tc.subject, Of: "uid", Leaving: tc.leaving, Total: tc.total}
			held := Decide(limitTo(t, tc.most, tc.protect), c, nil, nil, start)
			if (held != nil) != tc.held {
				t.Fatalf("held: %+v", held)
			}
			if held != nil && (int(held.Removed) != len(tc.leaving) || int(held.Total) != tc.total || held.First[0] != tc.leaving[0].String()) {
				t.Errorf("held %+v", held)
			}
			if tc.subject != Content && tc.subject != "" || !tc.held {
				return
			}
			if deleted := Deleted(limitTo(t, tc.most, tc.protect), deleted("uid"), DeletedFrom{tc.leaving, 1}); deleted == nil {
				t.Error("the deletion is not held")
			}
		})
	}
}

func TestALimitThatCannotBeReadAllowsNothing(t *testing.T) {
	for _, most := range []intstr.IntOrString{intstr.FromInt32(-1), intstr.FromString("many"), intstr.FromString("101%"), intstr.FromString("")} {
		if Decide(Policy{Max: &most}, Change{Leaving: configMaps(1), Total: 1000}, nil, nil, start) == nil {
			t.Errorf("%v lets a removal through", most.String())
		}
	}
}

// The status has a bounded list of names of bounded length, and the protected kinds are among them.
func TestNamesAreBounded(t *testing.T) {
	leaving := append(configMaps(40), Object{Kind: "Namespace", Name: strings.Repeat("ü", 4000)})
	held := Decide(limitTo(t, "10%", "Namespace"), Change{Leaving: leaving, Total: 50}, nil, nil, start)
	if len(held.First) != mostFirst || !strings.HasPrefix(held.First[0], "Namespace ü") || len(held.First[0]) > mostName || held.Protected != 1 || held.Removed != 41 {
		t.Errorf("held %+v", held)
	}
}

func TestTheSameHoldStaysTheSame(t *testing.T) {
	p := limitTo(t, "0", "")
	c := Change{Subject: Content, Of: "uid", Leaving: configMaps(3), Total: 7}
	first := Decide(p, c, nil, nil, start)
	slices.Reverse(c.Leaving)
	again := Decide(p, c, first, nil, start.Add(time.Hour))
	if again.Digest != first.Digest || !again.Since.Equal(&first.Since) {
		t.Errorf("the order of objects, or time, changes %+v to %+v", first, again)
	}
	if first.Since.Nanosecond() != 0 {
		t.Error("the API server stores whole seconds")
	}
}

// A release lets exactly one change through: not a larger or a smaller one, not that of another binding, and not the
// same one that is made again after it was reverted.
func TestAReleaseIsForOneChange(t *testing.T) {
	p := limitTo(t, "0", "")
	change := func(n int) Change {
		return Change{Subject: Content, Of: "uid-x", Leaving: configMaps(n), Total: 9}
	}
	shown := Decide(p, change(3), nil, nil, start)
	released := []string{"another", shown.Digest}
	if Decide(p, change(3), shown, released, start.Add(time.Hour)) != nil {
		t.Error("a released change is held")
	}
	for name, held := range map[string]*v1beta1.HeldRemoval{
		"one more object":      Decide(p, change(4), shown, released, start.Add(time.Hour)),
		"one object less":      Decide(p, change(2), shown, released, start.Add(time.Hour)),
		"made again later":     Decide(p, change(3), nil, released, start.Add(time.Hour)),
		"another binding":      Decide(p, Change{Subject: Content, Of: "uid-y", Leaving: configMaps(3), Total: 9}, shown, released, start),
		"clusters, not object": Decide(p, Change{Subject: Clusters, Of: "uid-x", Leaving: configMaps(3), Total: 9}, shown, released, start),
	} {
		if held == nil || slices.Contains(released, held.Digest) {
			t.Errorf("%s: %+v", name, held)
		}
	}
}

// deleted is a placement that is being deleted since start.
func deleted(uid types.UID, released ...string) *v1beta1.ClusterResourcePlacement {
	return &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{
		UID: uid, DeletionTimestamp: ptr.To(metav1.NewTime(start.Truncate(time.Second))), Finalizers: []string{contract.FinalizerPlacement},
		Annotations: map[string]string{contract.AnnotationReleaseRemoval: strings.Join(released, ",")},
	}}
}

func TestDeletionOfAPlacement(t *testing.T) {
	for name, tc := range map[string]struct {
		most, protect     string
		objects, clusters int
		held              bool
	}{
		"no policy":                         {objects: 3, clusters: 9},
		"a share":                           {most: "99%", objects: 3, clusters: 1, held: true},
		"all":                               {most: "100%", objects: 3, clusters: 9},
		"a number of objects":               {most: "2", objects: 3, clusters: 1, held: true},
		"a number of clusters":              {most: "3", objects: 3, clusters: 4, held: true},
		"within the number":                 {most: "3", objects: 3, clusters: 3},
		"a protected kind":                  {protect: "ConfigMap", objects: 1, clusters: 1, held: true},
		"nothing on any cluster":            {most: "0", protect: "ConfigMap"},
		"a kind that is not protected":      {protect: "Namespace", objects: 1, clusters: 1},
		"a protected kind, and all allowed": {most: "100%", protect: "ConfigMap", objects: 1, clusters: 1, held: true},
	} {
		t.Run(name, func(t *testing.T) {
			p, all := limitTo(t, tc.most, tc.protect), DeletedFrom{configMaps(tc.objects), tc.clusters}
			held := Deleted(p, deleted("uid"), all)
			if (held != nil) != tc.held {
				t.Fatalf("held %+v", held)
			}
			if held == nil {
				return
			}
			if !MayHold(deleted("uid"), p) || !Waits(deleted("uid"), p) {
				t.Error("other agents do not wait")
			}
			again := Deleted(p, deleted("uid"), all)
			if again.Digest != held.Digest || int(held.Removed) != tc.objects || !held.Since.Time.Equal(start.Truncate(time.Second)) {
				t.Errorf("held %+v, then %+v", held, again)
			}
			released := deleted("uid", held.Digest)
			if Deleted(p, released, all) != nil || MayHold(released, p) {
				t.Error("a released deletion is held")
			}
			if other := deleted("another", held.Digest); Deleted(p, other, all) == nil {
				t.Error("the release of a deletion releases that of another placement")
			}
			abandons := deleted("uid")
			abandons.Spec.Strategy.DeleteStrategy = &v1beta1.DeleteStrategy{PropagationPolicy: v1beta1.DeletePropagationPolicyAbandon}
			if MayHold(abandons, p) {
				t.Error("a deletion that removes nothing is held")
			}
			decided := deleted("uid")
			decided.Finalizers = nil
			if Waits(decided, p) {
				t.Error("agents wait for a decision that was made")
			}
			living := deleted("uid")
			living.DeletionTimestamp = nil
			if MayHold(living, p) {
				t.Error("a placement that is not deleted is held")
			}
		})
	}
}

func TestHoldsAll(t *testing.T) {
	for _, tc := range []struct {
		most, protect string
		holds, known  bool
	}{
		{"", "", false, true}, {"100%", "", false, true}, {"99%", "", true, true}, {"0", "", true, true}, {"0%", "Namespace", true, true},
		{"3", "", false, false}, {"", "Namespace", false, false}, {"100%", "Namespace", false, false},
	} {
		if holds, known := limitTo(t, tc.most, tc.protect).HoldsAll(); holds != tc.holds || known != tc.known {
			t.Errorf("max %q, protect %q: %v, %v", tc.most, tc.protect, holds, known)
		}
	}
}

func TestParse(t *testing.T) {
	p := limitTo(t, "20%", " Namespace, CustomResourceDefinition.apiextensions.k8s.io,")
	want := []schema.GroupKind{{Kind: "Namespace"}, {Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}}
	if p.Max.StrVal != "20%" || !slices.Equal(p.Protect, want) {
		t.Errorf("%+v", p)
	}
	if limitTo(t, "7", "").Max.IntVal != 7 || !limitTo(t, "", "").None() {
		t.Error("a number, or nothing, is not understood")
	}
	for _, wrong := range [][2]string{{"-1", ""}, {"101%", ""}, {"x", ""}, {"5 %", ""}, {"+5%", ""}, {"", ".group"}, {"", strings.Repeat("Kind,", 33)}} {
		if p, err := Parse(wrong[0], wrong[1]); err == nil {
			t.Errorf("%q is %+v", wrong, p)
		}
	}
}

func TestPolicyOf(t *testing.T) {
	defaults := limitTo(t, "20%", "Namespace")
	placement := &v1beta1.ClusterResourcePlacement{}
	if PolicyOf(placement, defaults).None() {
		t.Error("a placement without a policy does not get the defaults")
	}
	placement.Spec.Strategy.Removal = &v1beta1.RemovalPolicy{}
	if !PolicyOf(placement, defaults).None() {
		t.Error("an empty policy does not replace the defaults")
	}
	placement.Spec.Strategy.Removal.Protect = []v1beta1.ProtectedKind{{Group: "g", Kind: "K"}}
	if got := PolicyOf(placement, defaults); got.Max != nil || !slices.Equal(got.Protect, []schema.GroupKind{{Group: "g", Kind: "K"}}) {
		t.Errorf("%+v", got)
	}
}

func TestTheAnnotationIsBounded(t *testing.T) {
	var all []v1beta1.HeldRemoval
	for i := range 5000 {
		all = append(all, v1beta1.HeldRemoval{Digest: fmt.Sprintf("%020d", i)})
	}
	text, of := Release(append(all[:3:3], all[0]))
	if of != 3 || text != all[0].Digest+","+all[1].Digest+","+all[2].Digest {
		t.Errorf("%d in %q", of, text)
	}
	text, of = Release(all)
	placement := &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{contract.AnnotationReleaseRemoval: text}}}
	if len(text) > mostReleased || of != len(Released(placement)) || of < 1000 {
		t.Errorf("%d bytes with %d digests; %d are read", len(text), of, len(Released(placement)))
	}
	placement.Annotations[contract.AnnotationReleaseRemoval] = text + "," + text
	if Released(placement) != nil {
		t.Error("an annotation of any length is read")
	}
}

func TestIdentify(t *testing.T) {
	for raw, want := range map[string]Object{
		`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a","namespace":"b"}}`:      {Group: "apps", Kind: "Deployment", Namespace: "b", Name: "a"},
		`{"apiVersion":"apps/v1beta2","kind":"Deployment","metadata":{"name":"a","namespace":"b"}}`: {Group: "apps", Kind: "Deployment", Namespace: "b", Name: "a"},
		`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}`:                            {Kind: "Namespace", Name: "a"},
	} {
		if got := Identify([]byte(raw)); got != want {
			t.Errorf("%s is %+v", raw, got)
		}
	}
	for _, raw := range []string{`{`, `{"apiVersion":"v1","kind":"Namespace","metadata":{}}`, `{"kind":"a","kind":"b","metadata":{"name":"x"}}`, ``} {
		if got := Identify([]byte(raw)); !got.Unreadable || got != Identify([]byte(raw)) || got == Identify([]byte(raw+" ")) {
			t.Errorf("%s is %+v", raw, got)
		}
	}
}

// Over any course of changes, reverts, restarts and releases: what is beyond the policy and was not shown and released
// as it is, is not removed.
func TestNothingIsRemovedThatNobodyReleased(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := limitTo(t, rapid.SampledFrom([]string{"", "0", "1", "2", "10%", "50%", "100%"}).Draw(t, "max"), rapid.SampledFrom([]string{"", "Namespace"}).Draw(t, "protect"))
		all := append(configMaps(5), Object{Kind: "Namespace", Name: "shop"}, Identify([]byte("?")))
		on, wanted := slices.Clone(all), slices.Clone(all)
		var was *v1beta1.HeldRemoval
		var released []string
		shown := map[string][]Object{} // what the user saw when a digest was released
		now := start
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 100).Draw(t, "seconds")) * time.Second)
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0: // a change
				wanted = slices.DeleteFunc(slices.Clone(all), func(Object) bool { return rapid.Bool().Draw(t, "leaves") })
			case 1: // a revert
				wanted = slices.Clone(all)
			case 2: // a user releases what is held
				if was != nil {
					released = append(released, was.Digest)
					shown[was.Digest] = slices.DeleteFunc(slices.Clone(on), func(o Object) bool { return slices.Contains(wanted, o) })
				}
			case 3: // the status is lost, as by a restore of a backup without statuses
				was = nil
			}
			leaving := slices.DeleteFunc(slices.Clone(on), func(o Object) bool { return slices.Contains(wanted, o) })
			held := Decide(p, Change{Subject: Content, Of: "uid", Leaving: leaving, Total: len(on)}, was, released, now)
			beyond := p.beyond(Change{Subject: Content, Leaving: leaving, Total: len(on)})
			switch {
			case held != nil && !beyond:
				t.Fatalf("holds %v", leaving)
			case held == nil && beyond:
				if was == nil || !slices.Contains(released, was.Digest) || !slices.Equal(shown[was.Digest], leaving) {
					t.Fatalf("removes %v, and %v was released", leaving, shown)
				}
			case held != nil && was != nil && held.Digest == was.Digest && slices.Contains(released, was.Digest):
				t.Fatalf("holds %v, which is released", leaving)
			}
			if held == nil {
				on = slices.Clone(wanted)
			} else {
				for _, o := range wanted {
					if !slices.Contains(on, o) {
						on = append(on, o)
					}
				}
			}
			was = held
		}
	})
}
