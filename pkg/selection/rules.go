package selection

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Config is the operator's configuration of what may be placed.
type Config struct {
	// SkippedAPIs are never placed, in addition to the built-in list. AllowedAPIs, if set, are the only APIs that may
	// be placed, and replace both lists. Items are separated by ';': group, group/version, group/version/Kind,Kind;
	// the core group is v1 or v1/Kind,Kind.
	SkippedAPIs, AllowedAPIs string
	// SkippedNamespaces are never placed, in addition to the built-in list. They are separated by ';' or ','.
	SkippedNamespaces string
	// Workloads is true if the hub runs its own workloads: their claims are never placed.
	Workloads bool
}

// Rules define what is never selected. The zero value is not useful: use NewRules.
type Rules struct {
	// apis is a deny-list, or an allow-list if only is set.
	apis       apis
	only       bool
	namespaces map[string]bool
	workloads  bool
}

// NewRules validates a Config and converts it to Rules.
func NewRules(c Config) (Rules, error) {
	if c.SkippedAPIs != "" && c.AllowedAPIs != "" {
		return Rules{}, errors.New("skipped and allowed APIs exclude each other: set one")
	}
	r := Rules{apis: builtIn(), only: c.AllowedAPIs != "", namespaces: map[string]bool{}, workloads: c.Workloads}
	list, text := "skipped", c.SkippedAPIs
	if r.only {
		r.apis, list, text = apis{}, "allowed", c.AllowedAPIs
	}
	if err := r.apis.parse(text); err != nil {
		return Rules{}, fmt.Errorf("%s APIs: %w", list, err)
	}
	if r.only && r.apis.empty() {
		return Rules{}, fmt.Errorf("allowed APIs %q: the list contains no API, so nothing could be placed: add some, or leave the list empty", text)
	}
	for item := range strings.FieldsFuncSeq(c.SkippedNamespaces, func(c rune) bool { return c == ';' || c == ',' }) {
		name := strings.TrimSpace(item)
		if name == "" {
			continue
		}
		if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
			return Rules{}, fmt.Errorf("skipped namespace %q: %s", name, problems[0])
		}
		r.namespaces[name] = true
	}
	return r, nil
}

// apis is a set of groups, versions of groups, and kinds of versions.
type apis struct {
	groups   map[string]bool
	versions map[schema.GroupVersion]bool
	kinds    map[schema.GroupVersionKind]bool
	// anyVersion contains kinds in any version.
	anyVersion map[schema.GroupKind]bool
}

func (a *apis) empty() bool { return len(a.groups)+len(a.versions)+len(a.kinds)+len(a.anyVersion) == 0 }

func (a *apis) has(gvk schema.GroupVersionKind) bool {
	return a.groups[gvk.Group] || a.versions[gvk.GroupVersion()] || a.kinds[gvk] || a.anyVersion[gvk.GroupKind()]
}

// builtIn returns the APIs that are useless on another cluster: the fleet's own, and records about one cluster.
func builtIn() apis {
	a := apis{anyVersion: map[schema.GroupKind]bool{}, groups: map[string]bool{
		"cluster.kubernetes-fleet.io": true,
		"events.k8s.io":               true,
		"coordination.k8s.io":         true,
		"metrics.k8s.io":              true,
	}}
	for group, kinds := range map[string][]string{
		"":                           {"Pod", "Node", "Event"},
		"storage.k8s.io":             {"CSINode", "CSIStorageCapacity", "VolumeAttachment"},
		"networking.k8s.io":          {"IPAddress"},
		"resource.k8s.io":            {"ResourceSlice"},
		"certificates.k8s.io":        {"CertificateSigningRequest", "PodCertificateRequest"},
		"internal.apiserver.k8s.io":  {"StorageVersion"},
		"networking.fleet.azure.com": {"ServiceImport", "TrafficManagerProfile", "TrafficManagerBackend"},
		// All kinds of this group except the two envelopes, which exist to be placed.
		v1beta1.GroupVersion.Group: {
			"ClusterResourcePlacement", "ResourcePlacement", "ClusterResourcePlacementStatus",
			"ClusterResourceBinding", "ResourceBinding", "Work", "AppliedWork",
			"ClusterResourceSnapshot", "ResourceSnapshot", "ClusterSchedulingPolicySnapshot", "SchedulingPolicySnapshot",
			"ClusterStagedUpdateRun", "StagedUpdateRun", "ClusterStagedUpdateStrategy", "StagedUpdateStrategy",
			"ClusterApprovalRequest", "ApprovalRequest",
			"ClusterResourcePlacementEviction", "ClusterResourcePlacementDisruptionBudget",
			"ResourcePlacementEviction", "ResourcePlacementDisruptionBudget",
			"ClusterResourceOverride", "ResourceOverride", "ClusterResourceOverrideSnapshot", "ResourceOverrideSnapshot",
		},
	} {
		for _, kind := range kinds {
			a.anyVersion[schema.GroupKind{Group: group, Kind: kind}] = true
		}
	}
	return a
}

// grammar is the part of an error that explains the format of an item.
const grammar = "items are separated by ';' and are group, group/version, group/version/Kind,Kind, or for the core group v1 or v1/Kind,Kind"

// core is the name of the core group in items.
const core = "v1"

// parse adds the items of text.
func (a *apis) parse(text string) error {
	if a.groups == nil {
		a.groups = map[string]bool{}
	}
	a.versions, a.kinds = map[schema.GroupVersion]bool{}, map[schema.GroupVersionKind]bool{}
	for item := range strings.SplitSeq(text, ";") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		if err := a.add(strings.Split(item, "/")); err != nil {
			return fmt.Errorf("%q: %w; %s", item, err, grammar)
		}
	}
	return nil
}

func (a *apis) add(parts []string) error {
	switch {
	case len(parts) == 1 && parts[0] == core:
		a.versions[schema.GroupVersion{Version: core}] = true
		return nil
	case len(parts) == 2 && parts[0] == core:
		return a.addKinds(schema.GroupVersion{Version: core}, parts[1])
	case len(parts) > 3:
		return errors.New("too many slashes")
	}
	if problems := validation.IsDNS1123Subdomain(parts[0]); len(problems) > 0 {
		return fmt.Errorf("group %q: %s", parts[0], problems[0])
	}
	if len(parts) == 1 {
		a.groups[parts[0]] = true
		return nil
	}
	version := schema.GroupVersion{Group: parts[0], Version: parts[1]}
	if problems := validation.IsDNS1035Label(version.Version); len(problems) > 0 {
		return fmt.Errorf("version %q: %s", version.Version, problems[0])
	}
	if len(parts) == 2 {
		a.versions[version] = true
		return nil
	}
	return a.addKinds(version, parts[2])
}

func (a *apis) addKinds(version schema.GroupVersion, list string) error {
	for kind := range strings.SplitSeq(list, ",") {
		kind = strings.TrimSpace(kind)
		if problems := validation.IsDNS1035Label(strings.ToLower(kind)); len(problems) > 0 {
			return fmt.Errorf("kind %q: %s", kind, problems[0])
		}
		a.kinds[version.WithKind(kind)] = true
	}
	return nil
}

// disabled reports whether a kind is never selected. A selector of such a kind is valid and selects nothing.
func (r Rules) disabled(gvk schema.GroupVersionKind) bool { return r.apis.has(gvk) != r.only }

// why returns why a kind is disabled.
func (r Rules) why(gvk schema.GroupVersionKind) string {
	switch always := builtIn(); {
	case r.only:
		return "--allowed-propagating-apis of the hub agent does not list it"
	case always.has(gvk):
		return "every cluster has its own objects of this kind"
	}
	return "the hub agent skips it (--skipped-propagating-apis)"
}

// Selectable reports whether objects of a kind may be selected at all.
func (r Rules) Selectable(gvk schema.GroupVersionKind) bool { return !r.disabled(gvk) }

// SelectableGroup reports whether objects of any kind of a group may be selected.
func (r Rules) SelectableGroup(group string) bool {
	if !r.only {
		return !r.apis.groups[group]
	}
	for version := range r.apis.versions {
		if version.Group == group {
			return true
		}
	}
	for kind := range r.apis.kinds {
		if kind.Group == group {
			return true
		}
	}
	return r.apis.groups[group]
}

// ReservedNamespace reports whether a namespace is never placed.
func (r Rules) ReservedNamespace(name string) bool { return r.reserved(name) != "" }

// reserved returns why a namespace is never placed, or an empty string if it may be placed.
func (r Rules) reserved(name string) string {
	switch {
	case contract.ReservedNamespace(name):
		return fmt.Sprintf("namespace %s is never placed: names that begin with kube- or fleet- are reserved; "+
			"select another namespace", name)
	case name == metav1.NamespaceDefault:
		return fmt.Sprintf("namespace %s is never placed: every cluster has its own; move the objects to another namespace", name)
	case r.namespaces[name]:
		return fmt.Sprintf("namespace %s is never placed: the hub agent skips it (--skipped-propagating-namespaces)", name)
	}
	return ""
}

// Unreads reports whether an object of a kind may be missing from the selection only because its kind could not be
// read.
func (s Selection) Unreads(kind schema.GroupKind) bool {
	return slices.Contains(s.Unread, kind) || slices.Contains(s.Unread, schema.GroupKind{Group: kind.Group})
}
