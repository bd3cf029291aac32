package validate

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// check compares mistakes with what they should say.
func check(t *testing.T, got field.ErrorList, want ...string) {
	t.Helper()
	var texts []string
	for _, mistake := range got {
		texts = append(texts, mistake.Error())
	}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Errorf("mistakes (-want +got):\n%s", diff)
	}
}

// Texts of Kubernetes.
var (
	badKey   = validation.IsQualifiedName("key@1234:")[0]
	badValue = validation.IsValidLabelValue("a b")[0]
	badName  = validation.IsDNS1123Subdomain("A")[0]
)

const termPath = "spec.policy.affinity.clusterAffinity.requiredDuringSchedulingIgnoredDuringExecution.clusterSelectorTerms[0]"
const preferencePath = "spec.policy.affinity.clusterAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference"

var long = strings.Repeat("n", 64)

// hub serves some kinds.
func hub(kind schema.GroupVersionKind) (namespaced bool, err error) {
	switch kind.Kind {
	case "Namespace", "ClusterRole":
		return false, nil
	case "ConfigMap", "Deployment":
		return true, nil
	}
	return false, errors.New("the hub does not serve this kind")
}

func wide(spec v1beta1.PlacementSpec) *v1beta1.ClusterResourcePlacement {
	return &v1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: spec}
}

func narrow(spec v1beta1.PlacementSpec) *v1beta1.ResourcePlacement {
	return &v1beta1.ResourcePlacement{ObjectMeta: metav1.ObjectMeta{Namespace: "app", Name: "p"}, Spec: spec}
}

func selecting(kinds ...string) v1beta1.PlacementSpec {
	var spec v1beta1.PlacementSpec
	for _, kind := range kinds {
		spec.ResourceSelectors = append(spec.ResourceSelectors, v1beta1.ResourceSelectorTerm{Version: "v1", Kind: kind, Name: "o"})
	}
	return spec
}

func picking(p v1beta1.PlacementPolicy) v1beta1.PlacementSpec {
	return v1beta1.PlacementSpec{Policy: &p}
}

func requiring(term v1beta1.ClusterSelectorTerm) v1beta1.PlacementSpec {
	return picking(v1beta1.PlacementPolicy{Affinity: &v1beta1.Affinity{ClusterAffinity: &v1beta1.ClusterAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &v1beta1.ClusterSelector{ClusterSelectorTerms: []v1beta1.ClusterSelectorTerm{term}},
	}}})
}

func preferring(kind v1beta1.PlacementType, term v1beta1.ClusterSelectorTerm) v1beta1.PlacementSpec {
	return picking(v1beta1.PlacementPolicy{PlacementType: kind, Affinity: &v1beta1.Affinity{ClusterAffinity: &v1beta1.ClusterAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []v1beta1.PreferredClusterSelector{{Weight: 1, Preference: term}},
	}}})
}

func tolerating(list ...v1beta1.Toleration) v1beta1.PlacementSpec {
	return picking(v1beta1.PlacementPolicy{Tolerations: list})
}

func rolling(config v1beta1.RollingUpdateConfig) v1beta1.PlacementSpec {
	return v1beta1.PlacementSpec{Strategy: v1beta1.RolloutStrategy{RollingUpdate: &config}}
}

func byExpression(e metav1.LabelSelectorRequirement) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{e}}
}

var inNothing = byExpression(metav1.LabelSelectorRequirement{Key: "region", Operator: metav1.LabelSelectorOpIn})

func TestPlacement(t *testing.T) {
	fine := &metav1.LabelSelector{MatchLabels: map[string]string{"region": "east"}}
	narrowed := selecting("Namespace", "ConfigMap")
	narrowed.ResourceSelectors[0].SelectionScope = v1beta1.SelectionScopeNamespaceWithResourceSelectors
	labelled := selecting("Namespace")
	labelled.ResourceSelectors[0] = v1beta1.ResourceSelectorTerm{Version: "v1", Kind: "Namespace",
		LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"z/z/z": "a b", "a": "a b"}}}
	named := wide(selecting("Namespace"))
	named.Name = long
	external := rolling(v1beta1.RollingUpdateConfig{})
	external.Strategy.Type = v1beta1.RolloutStrategyTypeExternal
	clientSide := v1beta1.PlacementSpec{Strategy: v1beta1.RolloutStrategy{ApplyStrategy: &v1beta1.ApplyStrategy{
		Type: v1beta1.ApplyStrategyTypeClientSideApply, ServerSideApplyConfig: &v1beta1.ServerSideApplyConfig{}}}}
	serverSide := v1beta1.PlacementSpec{Strategy: v1beta1.RolloutStrategy{ApplyStrategy: &v1beta1.ApplyStrategy{
		Type: v1beta1.ApplyStrategyTypeServerSideApply, ServerSideApplyConfig: &v1beta1.ServerSideApplyConfig{}}}}
	for name, tc := range map[string]struct {
		placement v1beta1.PlacementObject
		want      []string
	}{
		"a namespace":             {wide(selecting("Namespace")), nil},
		"an object beside others": {narrow(selecting("ConfigMap", "Deployment")), nil},
		"a name that no label holds": {named, []string{"metadata.name: Too long: the placement's own name is longer than the 63 characters " +
			"that labels can hold; recreate it with a shorter name"}},
		"label selectors, in the order of their text": {wide(labelled), []string{
			fmt.Sprintf("spec.resourceSelectors[0].labelSelector.matchLabels: Invalid value: %q: %s", "a b", badValue),
			fmt.Sprintf("spec.resourceSelectors[0].labelSelector.matchLabels: Invalid value: %q: %s", "a b", badValue),
			fmt.Sprintf("spec.resourceSelectors[0].labelSelector.matchLabels: Invalid value: %q: %s", "z/z/z", validation.IsQualifiedName("z/z/z")[0]),
		}},
		"a kind that is not served": {wide(selecting("Widget")), []string{`spec.resourceSelectors[0]: Invalid value: "/v1, Kind=Widget": failed to get GVR of the selector: ` +
			"the hub does not serve this kind; name a group, version and kind that the hub serves"}},
		"a namespaced kind": {wide(selecting("ConfigMap")), []string{`spec.resourceSelectors[0]: Invalid value: "/v1, Kind=ConfigMap": ` +
			"the resource is not found in schema (please retry) or it is not a cluster scoped resource: the kind is namespaced; " +
			"a ClusterResourcePlacement selects such objects with their namespace, or with a namespace selector of scope NamespaceWithResourceSelectors"}},
		"a namespaced kind of a named namespace": {wide(narrowed), nil},
		"a cluster-scoped kind in a namespace": {narrow(selecting("ClusterRole")), []string{`spec.resourceSelectors[0]: Invalid value: "/v1, Kind=ClusterRole": ` +
			"the kind is cluster-scoped; a ResourcePlacement carries objects of its own namespace only"}},

		"PickFixed": {wide(picking(v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: []string{"a", "b.c"}})), nil},
		"PickFixed of clusters that are not known yet": {wide(picking(v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed})), nil},
		"PickFixed of bad, long and repeated names": {wide(picking(v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: []string{"A", long, "b", "b"}})), []string{
			`spec.policy.clusterNames[0]: Invalid value: "A": ` + badName,
			"spec.policy.clusterNames[1]: Too long: may not be more than 63 bytes",
			`spec.policy.clusterNames[3]: Duplicate value: "b"`,
		}},
		"PickAll with preferences": {wide(preferring(v1beta1.PlacementTypePickAll, v1beta1.ClusterSelectorTerm{LabelSelector: fine})), []string{
			"spec.policy.affinity.clusterAffinity.preferredDuringSchedulingIgnoredDuringExecution: Forbidden: placement type PickAll chooses every " +
				"cluster that matches and prefers none; remove the preferences, or use PickN"}},
		"PickN with preferences": {wide(preferring(v1beta1.PlacementTypePickN, v1beta1.ClusterSelectorTerm{LabelSelector: fine,
			PropertySorter: &v1beta1.PropertySorter{Name: "kubernetes-fleet.io/node-count"}})), nil},
		"a required label selector": {wide(requiring(v1beta1.ClusterSelectorTerm{LabelSelector: inNothing})), []string{
			termPath + ".labelSelector: Invalid value: the labelSelector in cluster selector " + termPath + " is invalid: " +
				"matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"}},
		"a preferred label selector": {wide(preferring(v1beta1.PlacementTypePickN, v1beta1.ClusterSelectorTerm{LabelSelector: inNothing})), []string{
			preferencePath + ".labelSelector: Invalid value: the labelSelector in preferred cluster selector " + preferencePath + " is invalid: " +
				"matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"}},
		"a sorter that is required": {wide(requiring(v1beta1.ClusterSelectorTerm{PropertySorter: &v1beta1.PropertySorter{Name: "a"}})), []string{
			termPath + ".propertySorter: Forbidden: a sorter ranks clusters, and a required term does not; use it in a preferred term"}},
		"a property selector that is preferred, and a sorter's name": {wide(preferring(v1beta1.PlacementTypePickN,
			v1beta1.ClusterSelectorTerm{PropertySelector: &v1beta1.PropertySelector{}, PropertySorter: &v1beta1.PropertySorter{Name: "resources.kubernetes-fleet.io/spare-cpu"}})), []string{
			preferencePath + ".propertySelector: Forbidden: a preferred term selects by labels and ranks by a propertySorter; use a propertySelector in a required term",
			preferencePath + `.propertySorter.name: Invalid value: "resources.kubernetes-fleet.io/spare-cpu": resources.kubernetes-fleet.io/spare-cpu is none of total-, allocatable- and available-`,
		}},

		"tolerations": {wide(tolerating(v1beta1.Toleration{Key: "a", Value: "b"}, v1beta1.Toleration{Key: "a", Operator: corev1.TolerationOpExists},
			v1beta1.Toleration{Operator: corev1.TolerationOpExists})), nil},
		"the key and the value of a toleration": {wide(tolerating(v1beta1.Toleration{Key: "key@1234:", Value: "a b"})), []string{
			`spec.policy.tolerations[0].key: Invalid value: "key@1234:": ` + badKey,
			`spec.policy.tolerations[0].value: Invalid value: "a b": ` + badValue,
		}},
		"tolerations that are the same": {wide(tolerating(v1beta1.Toleration{Key: "a"}, v1beta1.Toleration{Key: "a", Operator: corev1.TolerationOpEqual})), []string{
			`spec.policy.tolerations[1]: Duplicate value: {"key":"a","operator":"Equal"}`}},
		"tolerations that are the same for another time": {
			wide(tolerating(v1beta1.Toleration{Key: "a", TolerationSeconds: ptr.To(int64(1))}, v1beta1.Toleration{Key: "a", TolerationSeconds: ptr.To(int64(2))})),
			[]string{`spec.policy.tolerations[1]: Duplicate value: {"key":"a","tolerationSeconds":2}`},
		},

		"limits": {wide(rolling(v1beta1.RollingUpdateConfig{MaxUnavailable: ptr.To(intstr.FromString("99999999999")), MaxSurge: ptr.To(intstr.FromString("10%")),
			FailurePolicy: &v1beta1.FailurePolicy{FailureBudget: ptr.To(intstr.FromInt32(1))}})), nil},
		"limits that cannot be read": {wide(rolling(v1beta1.RollingUpdateConfig{MaxUnavailable: ptr.To(intstr.FromString("many")), MaxSurge: ptr.To(intstr.FromString("%")),
			FailurePolicy: &v1beta1.FailurePolicy{FailureBudget: ptr.To(intstr.FromString("1"))}})), []string{
			`spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "many": "many" is neither a number nor a percentage; set it to one, such as 2 or 25%`,
			`spec.strategy.rollingUpdate.maxSurge: Invalid value: "%": "%" is neither a number nor a percentage; set it to one, such as 2 or 25%`,
			`spec.strategy.rollingUpdate.failurePolicy.failureBudget: Invalid value: "1": "1" is neither a number nor a percentage; set it to one, such as 2 or 25%`,
		}},
		"limits of a placement that is moved by update runs": {wide(external), []string{"spec.strategy.rollingUpdate: Forbidden: update runs move the clusters of " +
			"a placement of strategy type External; remove it, and set limits in the update strategy"}},
		"server-side apply": {wide(serverSide), nil},
		"the configuration of server-side apply without it": {wide(clientSide), []string{"spec.strategy.applyStrategy.serverSideApplyConfig: Forbidden: " +
			"it is for apply strategy type ServerSideApply only; remove it, or set the type"}},
	} {
		t.Run(name, func(t *testing.T) { check(t, Placement(tc.placement, hub), tc.want...) })
	}
}

func TestPlacementUpdate(t *testing.T) {
	one, two := v1beta1.Toleration{Key: "a", Value: "1"}, v1beta1.Toleration{Key: "a", Value: "2"}
	spelled, brief, briefer := one, one, one
	spelled.Operator = corev1.TolerationOpEqual
	brief.TolerationSeconds, briefer.TolerationSeconds = ptr.To(int64(600)), ptr.To(int64(60))
	wrong := wide(selecting("Widget"))
	leaving := wide(requiring(v1beta1.ClusterSelectorTerm{LabelSelector: inNothing}))
	leaving.DeletionTimestamp = ptr.To(metav1.Unix(1, 0))
	finalized := wide(selecting("Widget"))
	finalized.Finalizers = []string{"kubernetes-fleet.io/x"}
	const fewer = "spec.policy.tolerations: Forbidden: tolerations have been updated/deleted, only additions to tolerations are allowed; restore those there were"
	for name, tc := range map[string]struct {
		old, new v1beta1.PlacementObject
		want     []string
	}{
		"another selector": {wide(selecting("Namespace")), wide(selecting("ClusterRole")), nil},
		"what is wrong in a new one is wrong in a changed one": {wide(selecting("Namespace")), wide(requiring(v1beta1.ClusterSelectorTerm{PropertySorter: &v1beta1.PropertySorter{}})),
			[]string{termPath + ".propertySorter: Forbidden: a sorter ranks clusters, and a required term does not; use it in a preferred term"}},
		"a wrong one is put right":                        {wrong, wide(selecting("Namespace")), nil},
		"metadata of a wrong one":                         {wrong, finalized, nil},
		"one that is being deleted":                       {wide(selecting("Namespace")), leaving, nil},
		"a policy of the default type comes":              {wide(selecting("Namespace")), wide(tolerating(one)), nil},
		"tolerations come":                                {wide(tolerating(one)), wide(tolerating(two, one)), nil},
		"a toleration is written with its default":        {wide(tolerating(one)), wide(tolerating(spelled)), nil},
		"a toleration lasts for a time":                   {wide(tolerating(one)), wide(tolerating(brief)), nil},
		"a toleration lasts for another time":             {wide(tolerating(brief)), wide(tolerating(briefer)), nil},
		"a toleration lasts for ever":                     {wide(tolerating(brief)), wide(tolerating(spelled)), nil},
		"a toleration for a time goes":                    {wide(tolerating(brief, two)), wide(tolerating(two)), []string{fewer}},
		"a toleration goes":                               {wide(tolerating(one, two)), wide(tolerating(two)), []string{fewer}},
		"a toleration is changed":                         {wide(tolerating(one)), wide(tolerating(two)), []string{fewer}},
		"tolerations go with the policy":                  {narrow(tolerating(one)), narrow(v1beta1.PlacementSpec{}), []string{fewer}},
		"a policy of another type than the default comes": {wide(selecting("Namespace")), wide(picking(v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN})), []string{`spec.policy.placementType: Invalid value: "PickN": placement type is immutable; keep PickAll, or create another placement`}},
		"another placement type": {wide(picking(v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed})), wide(picking(v1beta1.PlacementPolicy{})),
			[]string{`spec.policy.placementType: Invalid value: "PickAll": placement type is immutable; keep PickFixed, or create another placement`}},
	} {
		t.Run(name, func(t *testing.T) { check(t, PlacementUpdate(tc.old, tc.new, hub), tc.want...) })
	}
}

func TestProperties(t *testing.T) {
	type requirement struct{ name, operator, value string }
	at := func(i int, field string) string {
		return fmt.Sprintf("%s.propertySelector.matchExpressions[%d]%s", termPath, i, field)
	}
	no := func(i int, what string) string {
		return at(i, "") + `: Invalid value: "` + what + `": no value meets this and the requirements on the same property before it; change or remove one of them`
	}
	for name, tc := range map[string]struct {
		selector []requirement
		want     []string
	}{
		"a range": {[]requirement{{"a", "Ge", "1"}, {"a", "Le", "1000m"}, {"a", "Ne", "2"}, {"b", "Gt", "5"}}, nil},
		"names": {[]requirement{{"kubernetes-fleet.io/node-count", "Ge", "1"}, {"kubernetes-fleet.io/sku/price/hour", "Ge", "1"},
			{"resources.kubernetes-fleet.io/total-ephemeral-storage", "Ge", "1"}, {"resources.kubernetes-fleet.io/allocatable-cpu", "Ge", "1"},
			{"resources.kubernetes-fleet.io/available-nvidia.com", "Ge", "1"}}, nil},
		"a usage without a resource": {[]requirement{{"resources.kubernetes-fleet.io/total", "Ge", "1"}}, []string{
			at(0, ".name") + `: Invalid value: "resources.kubernetes-fleet.io/total": resources.kubernetes-fleet.io/total names no resource`}},
		"a usage that is no name": {[]requirement{{"resources.kubernetes-fleet.io/total-", "Ge", "1"}}, []string{
			at(0, ".name") + `: Invalid value: "resources.kubernetes-fleet.io/total-": ` + validation.IsQualifiedName("resources.kubernetes-fleet.io/total-")[0]}},
		"a segment":          {[]requirement{{"a/key@1234:/c", "Ge", "1"}}, []string{at(0, ".name") + `: Invalid value: "a/key@1234:/c": ` + badKey}},
		"no value":           {[]requirement{{"a", "Ge", ""}}, []string{at(0, ".values") + ": Invalid value: null: the policy compares property a with 0 values instead of one"}},
		"no quantity":        {[]requirement{{"a", "Ge", "many"}}, []string{at(0, ".values[0]") + `: Invalid value: "many": the policy compares property a with "many", which is not a quantity`}},
		"an operator":        {[]requirement{{"a", "Like", "1"}}, []string{at(0, ".operator") + `: Invalid value: "Like": the policy compares property a with the unknown operator "Like": use Eq, Ne, Gt, Ge, Lt or Le`}},
		"two values":         {[]requirement{{"a", "Eq", "1"}, {"a", "Eq", "2"}}, []string{no(1, "a Eq 2")}},
		"one value, twice":   {[]requirement{{"a", "Eq", "1"}, {"a", "Eq", "1000m"}}, nil},
		"it and all but it":  {[]requirement{{"a", "Ne", "1"}, {"a", "Eq", "1"}}, []string{no(1, "a Eq 1")}},
		"the other way":      {[]requirement{{"a", "Eq", "1"}, {"a", "Ne", "1"}}, []string{no(1, "a Ne 1")}},
		"an empty range":     {[]requirement{{"a", "Gt", "2"}, {"a", "Lt", "1"}}, []string{no(1, "a Lt 1")}},
		"ends that meet":     {[]requirement{{"a", "Gt", "2"}, {"a", "Le", "2"}}, []string{no(1, "a Le 2")}},
		"an end that closes": {[]requirement{{"a", "Ge", "2"}, {"a", "Gt", "2"}, {"a", "Le", "2"}}, []string{no(2, "a Le 2")}},
		"a value outside":    {[]requirement{{"a", "Ge", "3"}, {"a", "Eq", "2"}}, []string{no(1, "a Eq 2")}},
		"only the first":     {[]requirement{{"a", "Eq", "1"}, {"a", "Eq", "2"}, {"a", "Eq", "3"}}, []string{no(1, "a Eq 2")}},
	} {
		t.Run(name, func(t *testing.T) {
			var s v1beta1.PropertySelector
			for _, r := range tc.selector {
				e := v1beta1.PropertySelectorRequirement{Name: r.name, Operator: v1beta1.PropertySelectorOperator(r.operator)}
				if r.value != "" {
					e.Values = []string{r.value}
				}
				s.MatchExpressions = append(s.MatchExpressions, e)
			}
			check(t, Placement(wide(requiring(v1beta1.ClusterSelectorTerm{PropertySelector: &s})), nil), tc.want...)
		})
	}
}

// What users may store and the status of the placement refuses.
func TestWhatOnlyAgentsRefuse(t *testing.T) {
	for name, tc := range map[string]struct {
		spec   v1beta1.PlacementSpec
		placed string
		wanted string
		want   []string
	}{
		"a namespace": {selecting("ConfigMap", "Namespace"), "", "o", nil},
		"the same":    {selecting("Namespace"), "o", "o", nil},
		"none": {v1beta1.PlacementSpec{}, "", "", []string{"spec.resourceSelectors: Required value: statusReportingScope NamespaceAccessible copies the status into the " +
			"selected namespace; its selector of kind Namespace must give the namespace's name"}},
		"another": {selecting("Namespace"), "was", "o", []string{`spec.resourceSelectors[0].name: Invalid value: "o": statusReportingScope NamespaceAccessible binds the ` +
			"placement to namespace was, which it has placed; it cannot select namespace o instead: restore the name, or make another placement for that namespace"}},
	} {
		t.Run("the namespace of a copied status: "+name, func(t *testing.T) {
			wanted, wrong := StatusNamespace(&tc.spec, tc.placed)
			if wanted != tc.wanted {
				t.Errorf("namespace %q; want %q", wanted, tc.wanted)
			}
			check(t, wrong, tc.want...)
		})
	}
	fixed := func(names ...string) v1beta1.PlacementSpec {
		return picking(v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickFixed, ClusterNames: names})
	}
	best := func(n int32) v1beta1.PlacementSpec {
		return picking(v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, NumberOfClusters: &n})
	}
	many := []string{`spec.strategy.reportBackStrategy.destination: Invalid value: "OriginalResource": status can be carried back from one cluster only: the policy ` +
		"must be of type PickFixed with one name, or PickN with numberOfClusters 1; or set strategy.reportBackStrategy.destination to WorkAPI"}
	for name, tc := range map[string]struct {
		spec v1beta1.PlacementSpec
		want []string
	}{
		"one name": {fixed("a"), nil}, "two names": {fixed("a", "b"), many}, "one": {best(1), nil}, "two": {best(2), many}, "all": {v1beta1.PlacementSpec{}, many},
	} {
		t.Run("the status of "+name, func(t *testing.T) { check(t, ReportBack(&tc.spec), tc.want...) })
	}
}

func TestPlacementAffinity(t *testing.T) {
	const at = "spec.policy.affinity.placementAffinity."
	const required, preferred = at + "requiredDuringSchedulingIgnoredDuringExecution[0]", at + "preferredDuringSchedulingIgnoredDuringExecution[0].preference"
	type term = v1beta1.PlacementAffinityTerm
	with := v1beta1.PlacementWith
	tier := &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "back"}}
	for name, tc := range map[string]struct {
		term term
		want []string // after the path of the term
	}{
		"a name":           {term: term{Relation: with, Name: "db"}},
		"labels, a region": {term: term{Relation: v1beta1.PlacementApart, Selector: tier, TopologyKey: "region"}},
		"all":              {term: term{Relation: with, Selector: &metav1.LabelSelector{}}},
		"no relation":      {term: term{Name: "db"}, want: []string{`.relation: Unsupported value: "": supported values: "With", "Apart"`}},
		"neither":          {term: term{Relation: with}, want: []string{": Invalid value: set either name or selector"}},
		"both":             {term: term{Relation: with, Name: "db", Selector: tier}, want: []string{": Invalid value: set either name or selector"}},
		"no name of an object": {
			term: term{Relation: with, Name: "A"}, want: []string{`.name: Invalid value: "A": no placement can have this name; ` + badName},
		},
		"its own name": {
			term: term{Relation: with, Name: "p"},
			want: []string{`.name: Invalid value: "p": this is the placement itself, which never counts for its own terms; name another placement`},
		},
		"a wrong selector": {
			term: term{Relation: with, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "a b"}}},
			want: []string{`.selector.matchLabels: Invalid value: "a b": ` + badValue},
		},
		"a wrong label": {
			term: term{Relation: with, Name: "db", TopologyKey: "key@1234:"}, want: []string{`.topologyKey: Invalid value: "key@1234:": ` + badKey},
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := v1beta1.PlacementSpec{Policy: &v1beta1.PlacementPolicy{PlacementType: v1beta1.PlacementTypePickN, Affinity: &v1beta1.Affinity{
				PlacementAffinity: &v1beta1.PlacementAffinity{
					RequiredDuringSchedulingIgnoredDuringExecution:  []term{tc.term},
					PreferredDuringSchedulingIgnoredDuringExecution: []v1beta1.PreferredPlacementAffinityTerm{{Weight: 1, Preference: tc.term}},
				},
			}}}
			var want []string
			for _, path := range []string{required, preferred} {
				for _, text := range tc.want {
					want = append(want, path+text)
				}
			}
			check(t, Placement(wide(spec), nil), want...)
			check(t, Placement(narrow(spec), nil), want...)
		})
	}
}
