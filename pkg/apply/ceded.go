package apply

import (
	"encoding/base64"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/flagship-fleet/flagship/pkg/contract"
)

// cede removes from a manifest the fields that a controller of the member writes by design, whatever their value in
// the manifest: the rules of an aggregated ClusterRole, certificates that an injector writes, and fields that the
// manifest leaves blank for the cluster to set.
func cede(obj *unstructured.Unstructured) {
	kind := obj.GroupVersionKind().GroupKind()
	for _, path := range filledIn[kind] {
		dropBlank(obj.Object, path...)
	}
	switch {
	case kind == aggregated && obj.Object["aggregationRule"] != nil:
		delete(obj.Object, "rules")
	case kind.Group == "admissionregistration.k8s.io":
		webhooks, _ := obj.Object["webhooks"].([]any)
		for _, item := range webhooks {
			if webhook, ok := item.(map[string]any); ok {
				cedeBundle(obj, webhook, "clientConfig")
			}
		}
	case kind == apiService:
		cedeBundle(obj, obj.Object, "spec")
	case kind == DefinitionKind:
		cedeBundle(obj, obj.Object, "spec", "conversion", "webhook", "clientConfig")
	}
}

var (
	aggregated = schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}
	apiService = schema.GroupKind{Group: "apiregistration.k8s.io", Kind: "APIService"}
)

// filledIn are fields in which blank means that the cluster chooses the value. Applying the blank would remove it
// again.
var filledIn = map[schema.GroupKind][][]string{
	{Kind: "PersistentVolumeClaim"}: {{"spec", "volumeName"}},
	{Kind: "PersistentVolume"}:      {{"spec", "claimRef", "uid"}, {"spec", "claimRef", "resourceVersion"}},
	{Kind: "Pod"}:                   {{"spec", "nodeName"}},
	{Kind: "Service"}: {{"spec", "clusterIP"}, {"spec", "clusterIPs"}, {"spec", "healthCheckNodePort"}, {"spec", "ports", "*", "nodePort"},
		{"spec", "loadBalancerIP"}},
}

// dropBlank removes a field if it is blank; "*" after a list's name stands for each of its items.
func dropBlank(in map[string]any, path ...string) {
	if len(path) == 1 {
		switch v := in[path[0]].(type) {
		case string, int64, float64:
			if reflect.ValueOf(v).IsZero() {
				delete(in, path[0])
			}
		case []any:
			if len(v) == 0 {
				delete(in, path[0])
			}
		}
		return
	}
	switch v := in[path[0]].(type) {
	case map[string]any:
		dropBlank(v, path[1:]...)
	case []any:
		for _, item := range v {
			if m, ok := item.(map[string]any); ok && len(path) > 2 && path[1] == "*" {
				dropBlank(m, path[2:]...)
			}
		}
	}
}

// cedeBundle removes the certificates at a path if an annotation of obj requests them from an injector, or if they are
// blank placeholders for those that an injector writes.
func cedeBundle(obj *unstructured.Unstructured, in map[string]any, path ...string) {
	config, found, err := unstructured.NestedFieldNoCopy(in, path...)
	fields, ok := config.(map[string]any)
	if err != nil || !found || !ok {
		return
	}
	text, ok := fields["caBundle"].(string)
	if ok && (bundleOrdered(obj) || blank(text)) {
		delete(fields, "caBundle")
	}
}

func blank(bundle string) bool {
	data, err := base64.StdEncoding.DecodeString(bundle)
	return err == nil && strings.TrimSpace(string(data)) == ""
}

func bundleOrdered(obj *unstructured.Unstructured) bool {
	for name := range obj.GetAnnotations() {
		if strings.HasPrefix(name, "cert-manager.io/inject-") || name == "service.beta.openshift.io/inject-cabundle" {
			return true
		}
	}
	return false
}

// yielding is the manifest with the live values of fields that it leaves to a controller: replicas that an autoscaler
// has set, the suspension of a Job by a queue, scheduling gates of a Pod that were removed, and further pull secrets
// of a ServiceAccount. Any value of them is accepted.
func (w *wanted) yielding(in Input) *unstructured.Unstructured {
	want := w.object
	out := want.DeepCopy()
	if in.Autoscaled && Scaled(want, in.Live) {
		yield(out, in.Live, "spec", "replicas")
	}
	if want.GetLabels()[queueLabel] != "" {
		yield(out, in.Live, "spec", "suspend")
	}
	if want.GroupVersionKind().GroupKind() == pod {
		yield(out, in.Live, "spec", "schedulingGates") // the API server accepts none but the remaining ones
	}
	// Some distributions add a pull secret to each. Server-side apply treats the list as a single value, so a change
	// of the manifest replaces it once.
	if want.GroupVersionKind().GroupKind() == serviceAccount && in.Live.GetAnnotations()[contract.AnnotationSpecHash] == w.hash &&
		allIn(want.Object["imagePullSecrets"], in.Live.Object["imagePullSecrets"]) {
		yield(out, in.Live, "imagePullSecrets")
	}
	return out
}

var serviceAccount = schema.GroupKind{Kind: "ServiceAccount"}

// allIn reports whether a list has all items of another one.
func allIn(want, have any) bool {
	items, _ := want.([]any)
	list, _ := have.([]any)
	return !slices.ContainsFunc(items, func(item any) bool {
		return !slices.ContainsFunc(list, func(other any) bool { return sameText(item, other) })
	})
}

// queueLabel is on Jobs that Kueue admits: it suspends and resumes them.
const queueLabel = "kueue.x-k8s.io/queue-name"

// yield sets a field of want to its value in live.
func yield(want, live *unstructured.Unstructured, path ...string) {
	if _, set, err := unstructured.NestedFieldNoCopy(want.Object, path...); err != nil || !set {
		return
	}
	value, found, err := unstructured.NestedFieldCopy(live.Object, path...)
	switch {
	case err != nil:
	case found:
		setNested(want.Object, value, path...)
	default:
		unstructured.RemoveNestedField(want.Object, path...)
	}
}
