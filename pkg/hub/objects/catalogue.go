package objects

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/version"

	"github.com/flagship-fleet/flagship/pkg/selection"
)

// catalogue has the kinds that the hub serves. It is immutable: changes make a new one.
type catalogue struct {
	kinds map[schema.GroupVersionKind]selection.Kind
	// preferred is the version in which objects of a kind are watched. Their metadata is the same in every version.
	preferred map[schema.GroupKind]selection.Kind
	// contents are the kinds that make up the contents of a namespace.
	contents []selection.Kind
	// unread are kinds whose objects are unknown: groups whose API server did not answer, without the name of a kind,
	// and kinds whose CRD serves no version, so that their objects exist but cannot be read. cause is the last error.
	unread []schema.GroupKind
	cause  error
	// custom are the kinds that CRDs define, each with its CRD's uid.
	custom map[schema.GroupKind]types.UID
	// number is incremented with each catalogue.
	number int
}

// resource has the kinds of one resource according to discovery or its CRD, one for each version, the preferred
// version first.
type resource []selection.Kind

// discovered is one response of the discovery API.
type discovered struct {
	resources map[schema.GroupResource]resource
	failed    map[string]error
}

// needed are the verbs that a kind must support to be watched and read.
var needed = []string{"get", "list", "watch"}

// newDiscovered sorts the lists of the discovery API. failed are groups that did not answer.
func newDiscovered(groups []*metav1.APIGroup, lists []*metav1.APIResourceList, failed map[schema.GroupVersion]error) discovered {
	d := discovered{resources: map[schema.GroupResource]resource{}, failed: map[string]error{}}
	for version, err := range failed {
		d.failed[version.Group] = err
	}
	byVersion := make(map[string]*metav1.APIResourceList, len(lists))
	for _, list := range lists {
		byVersion[list.GroupVersion] = list
	}
	for _, group := range groups {
		for _, groupVersion := range preferredFirst(group) {
			if list := byVersion[groupVersion]; list != nil {
				d.add(list)
			}
		}
	}
	return d
}

func preferredFirst(group *metav1.APIGroup) []string {
	out := []string{group.PreferredVersion.GroupVersion}
	for _, v := range group.Versions {
		if v.GroupVersion != group.PreferredVersion.GroupVersion {
			out = append(out, v.GroupVersion)
		}
	}
	return out
}

func (d discovered) add(list *metav1.APIResourceList) {
	groupVersion, err := schema.ParseGroupVersion(list.GroupVersion)
	if err != nil {
		return // invalid; no client can use it
	}
	for i := range list.APIResources {
		r := &list.APIResources[i]
		if !listable(r) {
			continue
		}
		key := schema.GroupResource{Group: groupVersion.Group, Resource: r.Name}
		d.resources[key] = append(d.resources[key], selection.Kind{
			GroupVersionKind: groupVersion.WithKind(r.Kind), Resource: r.Name, Namespaced: r.Namespaced,
		})
	}
}

// listable reports whether objects of a resource can be watched and read. Subresources lack some of the verbs.
func listable(r *metav1.APIResource) bool {
	for _, verb := range needed {
		if !slices.Contains(r.Verbs, verb) {
			return false
		}
	}
	return true
}

// keepFailed copies the resources of groups that did not answer this time from before.
func (d discovered) keepFailed(before discovered) {
	for key, r := range before.resources {
		if _, failed := d.failed[key.Group]; failed && d.resources[key] == nil {
			d.resources[key] = r
		}
	}
}

// definition is the used part of a CustomResourceDefinition.
type definition struct {
	name     string
	uid      types.UID
	key      schema.GroupResource
	kind     string
	resource resource
	// established is whether the API server serves it. It keeps serving it until the CRD is deleted.
	established bool
}

func newDefinition(crd *unstructured.Unstructured) *definition {
	dropSchemas(crd)
	spec, _, _ := unstructured.NestedMap(crd.Object, "spec")
	group, _, _ := unstructured.NestedString(spec, "group")
	plural, _, _ := unstructured.NestedString(spec, "names", "plural")
	kind, _, _ := unstructured.NestedString(spec, "names", "kind")
	scope, _, _ := unstructured.NestedString(spec, "scope")
	versions, _, _ := unstructured.NestedSlice(spec, "versions")
	d := &definition{name: crd.GetName(), uid: crd.GetUID(), kind: kind, key: schema.GroupResource{Group: group, Resource: plural}}
	for _, v := range versions {
		v, _ := v.(map[string]any)
		if v["served"] == true {
			name, _ := v["name"].(string)
			d.resource = append(d.resource, selection.Kind{
				GroupVersionKind: schema.GroupVersionKind{Group: group, Version: name, Kind: kind}, Resource: plural, Namespaced: scope == "Namespaced",
			})
		}
	}
	// The same order as in discovery.
	slices.SortFunc(d.resource, func(a, b selection.Kind) int { return version.CompareKubeAwareVersionStrings(b.Version, a.Version) })
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	for _, c := range conditions {
		c, _ := c.(map[string]any)
		d.established = d.established || c["type"] == "Established" && c["status"] == "True"
	}
	return d
}

// equal reports whether two states of a CRD define the same kinds.
func (d *definition) equal(other *definition) bool {
	return other != nil && d.uid == other.uid && d.key == other.key && d.established == other.established &&
		slices.Equal(d.resource, other.resource)
}

// newCatalogue merges discovery and CRDs. CRDs take precedence for their kinds: they are watched, while discovery,
// which lists their kinds too, is read only occasionally.
func newCatalogue(d discovered, definitions map[string]*definition, rules selection.Rules, number int) *catalogue {
	c := &catalogue{
		kinds:     map[schema.GroupVersionKind]selection.Kind{},
		preferred: map[schema.GroupKind]selection.Kind{},
		custom:    map[schema.GroupKind]types.UID{},
		number:    number,
	}
	defined := map[schema.GroupResource]bool{}
	for _, def := range definitions {
		defined[def.key] = true
		kind := schema.GroupKind{Group: def.key.Group, Kind: def.kind}
		switch {
		case !def.established:
		case len(def.resource) > 0:
			c.add(def.resource)
			c.custom[kind] = def.uid
		default:
			c.unread = append(c.unread, kind)
			c.cause = fmt.Errorf("CustomResourceDefinition %s serves no version", def.name)
		}
	}
	for key, r := range d.resources {
		if !defined[key] {
			c.add(r)
		}
	}
	for _, kind := range c.preferred {
		if kind.Namespaced && rules.Selectable(kind.GroupVersionKind) {
			c.contents = append(c.contents, kind)
		}
	}
	slices.SortFunc(c.contents, func(a, b selection.Kind) int { return cmp.Compare(a.String(), b.String()) })
	for group, err := range d.failed {
		if rules.SelectableGroup(group) {
			c.unread = append(c.unread, schema.GroupKind{Group: group})
			c.cause = err
		}
	}
	slices.SortFunc(c.unread, func(a, b schema.GroupKind) int { return cmp.Compare(a.String(), b.String()) })
	return c
}

// unknown returns the error for a kind that the hub does not serve. It names similar kinds.
func (c *catalogue) unknown(gvk schema.GroupVersionKind) error {
	var versions, groups []string
	for served := range c.kinds {
		switch {
		case served.Kind != gvk.Kind:
		case served.Group == gvk.Group:
			versions = append(versions, served.Version)
		case served.Version == gvk.Version:
			groups = append(groups, strconv.Quote(served.Group))
		}
	}
	slices.Sort(versions)
	slices.Sort(groups)
	switch {
	case len(versions) > 0:
		return fmt.Errorf("%w; it serves the kind in version %s", selection.ErrUnknownKind, strings.Join(versions, ", "))
	case len(groups) > 0:
		return fmt.Errorf("%w; it serves a kind of this name in group %s", selection.ErrUnknownKind, strings.Join(groups, ", "))
	}
	return selection.ErrUnknownKind
}

func (c *catalogue) add(r resource) {
	for _, kind := range r {
		c.kinds[kind.GroupVersionKind] = kind
	}
	if _, taken := c.preferred[r[0].GroupKind()]; !taken {
		c.preferred[r[0].GroupKind()] = r[0]
	}
}
