package contract

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"
)

func TestNamesOnTheWire(t *testing.T) {
	got := map[string]string{
		"namespace of a member":           MemberNamespace("east"),
		"Role of a member":                RoleName("east"),
		"RoleBinding of a member":         RoleBindingName("east"),
		"ResourceQuota of a member":       QuotaName("east"),
		"policy snapshot":                 PolicySnapshotName("web", 3),
		"first resource snapshot":         MasterSnapshotName("web", 3),
		"another resource snapshot":       SubSnapshotName("web", 3, 0),
		"override snapshot":               OverrideSnapshotName("patch", 3),
		"approval before a stage":         BeforeStageApproval("run", "canary"),
		"approval after a stage":          AfterStageApproval("run", "canary"),
		"cluster-wide first Work":         WorkName(WorkBase("", "web"), -1),
		"cluster-wide second Work":        WorkName(WorkBase("", "web"), 0),
		"namespaced first Work":           WorkName(WorkBase("app", "web"), -1),
		"namespaced second Work":          WorkName(WorkBase("app", "web"), 0),
		"cluster-wide Work, name taken":   OtherWorkName("web-work", ""),
		"namespaced Work, name taken":     OtherWorkName("app.web-work", "app"),
		"Work of an envelope":             EnvelopeWorkName("web-work", "ResourceEnvelope", "app", "e"),
		"binding":                         BindingName("web", "east", "seed"),
		"binding with dots":               BindingName("web.example.com", "east.example.com", "seed"),
		"binding with long names":         BindingName(strings.Repeat("p", 40), strings.Repeat("c", 40), "seed"),
		"binding whose names end in dots": BindingName(strings.Repeat("p", 25)+".p", strings.Repeat("c", 26)+".c", "seed"),
	}
	want := map[string]string{
		"namespace of a member":           "fleet-member-east",
		"Role of a member":                "fleet-role-east",
		"RoleBinding of a member":         "fleet-rolebinding-east",
		"ResourceQuota of a member":       "fleet-quota-east",
		"policy snapshot":                 "web-3",
		"first resource snapshot":         "web-3-snapshot",
		"another resource snapshot":       "web-3-0",
		"override snapshot":               "patch-3",
		"approval before a stage":         "run-before-canary",
		"approval after a stage":          "run-after-canary",
		"cluster-wide first Work":         "web-work",
		"cluster-wide second Work":        "web-0",
		"namespaced first Work":           "app.web-work",
		"namespaced second Work":          "app.web-0",
		"cluster-wide Work, name taken":   "web-work-cluster-scoped",
		"namespaced Work, name taken":     "app.web-work-namespaced",
		"Work of an envelope":             "web-work-envelope-ca50077631b5b443",
		"binding":                         "web-east-19b25856",
		"binding with dots":               "web-example-com-east-example-com-19b25856",
		"binding with long names":         strings.Repeat("p", 26) + "-" + strings.Repeat("c", 27) + "-19b25856",
		"binding whose names end in dots": strings.Repeat("p", 25) + "-" + strings.Repeat("c", 26) + "-19b25856",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

// names are DNS-1123 subdomains, as those of placements, overrides and clusters.
var names = rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?){0,2}`)

// namespaces are empty or DNS-1123 labels.
var namespaces = rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?`))

func TestMemberOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		member := names.Draw(t, "member")
		if got, ok := MemberOf(MemberNamespace(member)); got != member || !ok {
			t.Errorf("member of %s is %q, %v; want %q", MemberNamespace(member), got, ok, member)
		}
		namespace := rapid.OneOf(names, rapid.StringMatching(`fleet-[a-z-]{0,12}`)).Draw(t, "namespace")
		if got, ok := MemberOf(namespace); ok && MemberNamespace(got) != namespace {
			t.Errorf("%s is the namespace of member %q, whose namespace is %s", namespace, got, MemberNamespace(got))
		}
	})
	for _, namespace := range []string{"", "app", "fleet-member-", "fleet-member", "fleet-system", "a-fleet-member-east"} {
		if member, ok := MemberOf(namespace); ok {
			t.Errorf("%q is the namespace of member %q", namespace, member)
		}
	}
}

func TestMasterIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		placement, index := names.Draw(t, "placement"), rapid.IntRange(0, math.MaxInt32).Draw(t, "index")
		if got, ok := MasterIndex(placement, MasterSnapshotName(placement, index)); got != index || !ok {
			t.Errorf("index of %s is %d, %v", MasterSnapshotName(placement, index), got, ok)
		}
	})
	for _, name := range []string{
		"", "web", "web-0", "web-0-0", "web--snapshot", "web-snapshot", "web--1-snapshot", "web-+1-snapshot", "web-01-snapshot", "web- 1-snapshot",
		"web-1-snapshot-", "other-1-snapshot", "web-x-snapshot", "web-2147483648-snapshot", "a-web-1-snapshot", "web-1-1-snapshot",
	} {
		if index, ok := MasterIndex("web", name); ok {
			t.Errorf("%q has index %d", name, index)
		}
	}
}

func TestOverrideOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		override, index := names.Draw(t, "override"), rapid.IntRange(0, math.MaxInt32).Draw(t, "index")
		if got, ok := OverrideOf(OverrideSnapshotName(override, index)); got != override || !ok {
			t.Errorf("override of %s is %q, %v", OverrideSnapshotName(override, index), got, ok)
		}
	})
	for _, name := range []string{"", "patch", "-1", "patch-", "patch-x", "patch-+1", "patch-01", "patch- 1", "patch-4294967296"} {
		if override, ok := OverrideOf(name); ok {
			t.Errorf("%q is a snapshot of %q", name, override)
		}
	}
}

func TestBindingName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		placement, cluster := names.Draw(t, "placement"), names.Draw(t, "cluster")
		seed, other := rapid.String().Draw(t, "seed"), rapid.String().Draw(t, "other seed")
		name := BindingName(placement, cluster, seed)
		if faults := validation.IsDNS1123Label(name); len(faults) > 0 {
			t.Errorf("%q is no label: %v", name, faults)
		}
		if again := BindingName(placement, cluster, seed); again != name {
			t.Errorf("the same seed makes %s and %s", name, again)
		}
		if seed != other && BindingName(placement, cluster, other) == name {
			t.Errorf("seeds %q and %q make %s", seed, other, name)
		}
	})
}

// The dispatcher gives a placement's Work another name if the usual one is taken.
func TestWorkNamesOfTwoPlacements(t *testing.T) {
	parts := rapid.IntRange(-1, 3)
	rapid.Check(t, func(t *rapid.T) {
		oneSpace, one := namespaces.Draw(t, "namespace"), names.Draw(t, "placement")
		twoSpace, two := namespaces.Draw(t, "other namespace"), names.Draw(t, "other placement")
		if oneSpace == twoSpace {
			two = one + "2"
		}
		usualOne, usualTwo := WorkName(WorkBase(oneSpace, one), parts.Draw(t, "part")), WorkName(WorkBase(twoSpace, two), parts.Draw(t, "other part"))
		otherOne, otherTwo := OtherWorkName(usualOne, oneSpace), OtherWorkName(usualTwo, twoSpace)
		if otherOne == usualTwo || usualOne == otherTwo || otherOne == otherTwo {
			t.Errorf("the Works of %s/%s are %s or %s, those of %s/%s %s or %s", oneSpace, one, usualOne, otherOne, twoSpace, two, usualTwo, otherTwo)
		}
	})
	wide, narrow := WorkName(WorkBase("", "a.b"), -1), WorkName(WorkBase("a", "b"), -1)
	if wide != narrow || OtherWorkName(wide, "") == OtherWorkName(narrow, "a") {
		t.Errorf("cluster-wide a.b has Work %s, b in namespace a %s", wide, narrow)
	}
}

func TestReservedNamespace(t *testing.T) {
	for namespace, want := range map[string]bool{
		"fleet-system": true, "fleet-member-east": true, "fleet-": true, "kube-system": true, "kube-public": true, "kube-": true,
		"": false, "default": false, "app": false, "fleet": false, "kube": false, "my-fleet-system": false, "kubernetes-dashboard": false,
	} {
		if got := ReservedNamespace(namespace); got != want {
			t.Errorf("%q is reserved: %v, want %v", namespace, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		if namespace := MemberNamespace(names.Draw(t, "member")); !ReservedNamespace(namespace) {
			t.Errorf("%s is not reserved", namespace)
		}
	})
}

func TestHash(t *testing.T) {
	type object struct {
		Name  string            `json:"name"`
		Items map[string]string `json:"items,omitempty"`
	}
	for name, tc := range map[string]struct {
		v    any
		want string
	}{
		"nil is null":        {nil, "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b"},
		"nil pointer":        {(*object)(nil), "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b"},
		"empty object":       {struct{}{}, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
		"omitted is no key":  {object{Name: "a"}, "d9d719b27480b55cd4918020e7473e716ed3569c8adafe926cf9b10b4f8ef064"},
		"keys have an order": {map[string]int{"b": 2, "a": 1}, "43258cff783fe7036d8a43033f830adfc60ec037382473548ac742b888292777"},
	} {
		got, err := Hash(tc.v)
		if got != tc.want || err != nil {
			t.Errorf("%s: %s, error %v; want %s", name, got, err, tc.want)
		}
	}
	for name, v := range map[string]any{"no number": math.NaN(), "channel": make(chan int)} {
		if got, err := Hash(v); err == nil {
			t.Errorf("%s: %s; want an error", name, got)
		}
	}
}
