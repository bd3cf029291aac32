package applier

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// mutation is what a controller or a webhook of the member does to an object.
type mutation func(w *world, obj *unstructured.Unstructured) error

// update changes the object as a controller that reads and writes it whole.
func update(edit func(map[string]any)) mutation {
	return func(w *world, obj *unstructured.Unstructured) error {
		edit(obj.Object)
		return w.member.Update(w.Context(), obj, client.FieldOwner("some-controller"))
	}
}

// merging sends a merge patch as a field manager, to a subresource if one is named after it: "manager/scale".
func merging(manager, patch string) mutation {
	return func(w *world, obj *unstructured.Unstructured) error {
		manager, subresource, sub := strings.Cut(manager, "/")
		body, err := yaml.YAMLToJSON([]byte(patch))
		if err != nil {
			return err
		}
		raw := client.RawPatch(types.MergePatchType, body)
		if sub {
			return w.member.SubResource(subresource).Patch(w.Context(), obj, raw, client.FieldOwner(manager))
		}
		return w.member.Patch(w.Context(), obj, raw, client.FieldOwner(manager))
	}
}

// autoscaling gives an object an autoscaler that wants three replicas.
func autoscaling(w *world, obj *unstructured.Unstructured) error {
	hpa := &unstructured.Unstructured{}
	text := fmt.Sprintf(`{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: %[1]s, namespace: %[2]s},
	  spec: {minReplicas: 3, maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: %[1]s}}}`, obj.GetName(), obj.GetNamespace())
	if err := yaml.Unmarshal([]byte(text), &hpa.Object); err != nil {
		return err
	}
	return client.IgnoreAlreadyExists(w.member.Create(w.Context(), hpa))
}

// applying applies fields server-side and by force.
func applying(fields string) mutation {
	return func(w *world, obj *unstructured.Unstructured) error {
		mine := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(fields), &mine.Object); err != nil {
			return err
		}
		mine.SetGroupVersionKind(obj.GroupVersionKind())
		mine.SetNamespace(obj.GetNamespace())
		mine.SetName(obj.GetName())
		return w.member.Apply(w.Context(), client.ApplyConfigurationFromUnstructured(mine), client.FieldOwner("some-operator"), client.ForceOwnership)
	}
}

// sequence does one after the other, each until nothing else writes in between: to begin again would do the first ones
// twice.
func sequence(all ...mutation) mutation {
	return func(w *world, obj *unstructured.Unstructured) error {
		for _, one := range all {
			w.eventually("one of several changes of "+obj.GetName(), func() error {
				if err := w.member.Get(w.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
					return err
				}
				return one(w, obj)
			})
		}
		return nil
	}
}

// at returns the value of a path of fields and indexes: "spec.containers.0".
func at(in map[string]any, path string) any {
	var value any = in
	for field := range strings.SplitSeq(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[field]
		case []any:
			var i int
			if _, err := fmt.Sscan(field, &i); err != nil || i >= len(v) {
				return nil
			}
			value = v[i]
		default:
			return nil
		}
	}
	return value
}

// with changes the list at a path below a map.
func with(in map[string]any, path string, change func([]any) []any) {
	parent, field := in, path
	if i := strings.LastIndex(path, "."); i >= 0 {
		parent, _ = at(in, path[:i]).(map[string]any)
		field = path[i+1:]
	}
	list, _ := parent[field].([]any)
	parent[field] = change(list)
}

func parse(text string) any {
	var out any
	data, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		panic(err)
	}
	return out
}

func appended(path, item string) mutation {
	return update(func(o map[string]any) { with(o, path, func(l []any) []any { return append(l, parse(item)) }) })
}

func prepended(path, item string) mutation {
	return update(func(o map[string]any) { with(o, path, func(l []any) []any { return append([]any{parse(item)}, l...) }) })
}

func reversed(path string) mutation {
	return update(func(o map[string]any) { with(o, path, func(l []any) []any { slices.Reverse(l); return l }) })
}

// The kinds of custom resources that the cases use.
const (
	gears = `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: gears.quiet.test}, spec: {group: quiet.test,
	  names: {kind: Gear, plural: gears}, scope: Namespaced, versions: [
	  {name: v1, served: true, storage: false, subresources: {status: {}}, schema: {openAPIV3Schema: &schema {type: object, properties: {status: {type: object, x-kubernetes-preserve-unknown-fields: true},
	    spec: {type: object, properties: {size: {type: integer}, mode: {type: string, default: fast}, ratio: {type: number},
	      port: {x-kubernetes-int-or-string: true}, tags: {type: array, items: {type: string}, x-kubernetes-list-type: set},
	      words: {type: array, items: {type: string}},
	      parts: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [name], items: {type: object, required: [name],
	        properties: {name: {type: string}, teeth: {type: integer, default: 8}}}},
	      options: {type: object, properties: {loud: {type: boolean, default: false}}}}}}}}},
	  {name: v2, served: true, storage: true, subresources: {status: {}}, schema: {openAPIV3Schema: *schema}}]}}`
)

func pods(kind, name, spec string) string {
	return fmt.Sprintf(`{apiVersion: apps/v1, kind: %s, metadata: {namespace: quiet, name: %s}, spec: {selector: {matchLabels: {app: %[2]s}}, template: {metadata: {labels: {app: %[2]s}},
	  spec: {terminationGracePeriodSeconds: 0, %[3]s}}}}`, kind, name, spec)
}

// deployment is paused, so that its pods need not exist.
func deployment(spec string) string {
	return strings.Replace(pods("Deployment", "NAME", spec), "spec: {", "spec: {paused: true, ", 1)
}

const (
	containers = "containers: [{name: c, image: web:1}]"
	template   = "spec.template.spec."
)

// quiets are manifests, and what is done to their objects, that are no drift and cost no write. NAME stands for a name
// of the case's own, and so does CASE inside a name.
var quiets = map[string]struct {
	manifest string
	mutate   mutation
	// without is a variant under which the API server itself refuses the case.
	without string
	// offline is done while no agent is running, which would undo half of it.
	offline mutation
}{
	"defaults of a deployment":            {manifest: deployment(containers)},
	"a quantity in thousandths":           {manifest: deployment("containers: [{name: c, image: i, resources: {requests: {cpu: 1000m}}}]")},
	"a quantity in another unit":          {manifest: deployment("containers: [{name: c, image: i, resources: {limits: {memory: 1024Mi}}}]")},
	"a fraction as a quantity":            {manifest: deployment(`containers: [{name: c, image: i, resources: {requests: {cpu: "0.5"}}}]`)},
	"a quantity that is a number":         {manifest: deployment("containers: [{name: c, image: i, resources: {requests: {cpu: 2}}}]")},
	"a probe with a named port":           {manifest: deployment("containers: [{name: c, image: i, ports: [{name: http, containerPort: 80}], livenessProbe: {httpGet: {port: http}}}]")},
	"a null timestamp in the template":    {manifest: strings.Replace(deployment(containers), "labels: {app: NAME}}", "labels: {app: NAME}, creationTimestamp: null}", 1)},
	"null fields":                         {manifest: deployment(containers + ", nodeSelector: null, affinity: null, volumes: null")},
	"empty maps":                          {manifest: deployment("containers: [{name: c, image: i, resources: {}, securityContext: {}}], securityContext: {}, nodeSelector: {}")},
	"empty lists":                         {manifest: deployment("containers: [{name: c, image: i, env: [], command: [], volumeMounts: []}], tolerations: [], initContainers: []")},
	"an empty directory":                  {manifest: deployment("containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v}]}], volumes: [{name: v, emptyDir: {}}]")},
	"a deprecated twin field":             {manifest: deployment(containers + ", serviceAccount: someone")},
	"a sidecar in front":                  {manifest: deployment(containers), mutate: prepended(template+"containers", "{name: proxy, image: mesh:1}")},
	"a sidecar behind":                    {manifest: deployment(containers), mutate: appended(template+"containers", "{name: proxy, image: mesh:1}")},
	"an init container and its volume":    {manifest: deployment(containers), mutate: sequence(appended(template+"initContainers", "{name: setup, image: mesh:1}"), appended(template+"volumes", "{name: certs, emptyDir: {}}"))},
	"an injected environment":             {manifest: deployment("containers: [{name: c, image: i, env: [{name: A, value: a}]}]"), mutate: prepended(template+"containers.0.env", "{name: INJECTED, value: x}")},
	"environment in another order":        {manifest: deployment("containers: [{name: c, image: i, env: [{name: A, value: a}, {name: B, value: b}]}]"), mutate: reversed(template + "containers.0.env")},
	"an injected mount":                   {manifest: deployment("containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v}]}], volumes: [{name: v, emptyDir: {}}]"), mutate: sequence(appended(template+"volumes", "{name: w, emptyDir: {}}"), prepended(template+"containers.0.volumeMounts", "{name: w, mountPath: /w}"))},
	"injected resources":                  {manifest: deployment("containers: [{name: c, image: i, resources: {requests: {cpu: 100m}}}]"), mutate: merging("vpa", "{spec: {template: {spec: {containers: [{name: c, image: i, resources: {requests: {cpu: 100m, memory: 1Gi}}}]}}}}")},
	"a restart by annotation":             {manifest: deployment(containers), mutate: merging("kubectl-rollout", "{spec: {template: {metadata: {annotations: {kubectl.kubernetes.io/restartedAt: now, theirs: x}}}}}")},
	"replicas of an autoscaler":           {manifest: deployment(containers), mutate: merging("kube-controller-manager/scale", "{spec: {replicas: 3}}")},
	"replicas that are set, autoscaled":   {manifest: strings.Replace(deployment(containers), "spec: {", "spec: {replicas: 2, ", 1), mutate: sequence(autoscaling, merging("any-binary/scale", "{spec: {replicas: 3}}"))},
	"a status":                            {manifest: `{apiVersion: apps/v1, kind: Deployment, metadata: {namespace: quiet, name: NAME}, status: {replicas: 7}, spec: {selector: {matchLabels: {app: NAME}}, template: {metadata: {labels: {app: NAME}}, spec: {containers: [{name: c, image: i}]}}}}`},
	"labels, annotations and a finalizer": {manifest: configMap("quiet", "NAME", "a"), mutate: merging("others", "{metadata: {labels: {theirs: x}, annotations: {theirs: x}, finalizers: [theirs.test/hold]}}")},
	"another key":                         {manifest: configMap("quiet", "NAME", "a"), mutate: merging("ca-injector", "{data: {ca.crt: x}}")},
	"an edit and its undoing":             {manifest: deployment("containers: [{name: c, image: i, resources: {requests: {cpu: 1000m}}}]"), offline: sequence(update(setCPU("2")), update(setCPU("1")))},
	"the same value applied by others":    {manifest: configMap("quiet", "NAME", "a"), mutate: applying("{data: {key: a}}")},
	"a quantity applied by others":        {manifest: deployment("containers: [{name: c, image: i, resources: {requests: {cpu: 1000m}}}]"), mutate: applying(`{spec: {template: {spec: {containers: [{name: c, resources: {requests: {cpu: "1"}}}]}}}}`)},
	"forgotten field managers":            {manifest: deployment("containers: [{name: c, image: i, resources: {requests: {cpu: 1000m}}}]"), mutate: merging("cleaner", "{metadata: {managedFields: [{}]}}")},
	"ports of a node port service":        {manifest: "{apiVersion: v1, kind: Service, metadata: {namespace: quiet, name: NAME}, spec: {type: NodePort, selector: {a: b}, ports: [{name: w, port: 80}, {name: x, port: 81, targetPort: http}]}}", mutate: nil},
	"an address of a load balancer":       {manifest: "{apiVersion: v1, kind: Service, metadata: {namespace: quiet, name: NAME}, spec: {type: LoadBalancer, ports: [{port: 80}]}}", mutate: merging("cloud/status", "{status: {loadBalancer: {ingress: [{ip: 192.0.2.7}]}}}")},
	"ports of a service in another order": {manifest: "{apiVersion: v1, kind: Service, metadata: {namespace: quiet, name: NAME}, spec: {ports: [{name: a, port: 80}, {name: b, port: 81}]}}", mutate: reversed("spec.ports")},
	"a service account's secrets":         {manifest: "{apiVersion: v1, kind: ServiceAccount, metadata: {namespace: quiet, name: NAME}, automountServiceAccountToken: true}", mutate: merging("registry", "{secrets: [{name: token}], imagePullSecrets: [{name: pull}]}")},
	"a token that a controller fills in":  {manifest: "{apiVersion: v1, kind: Secret, metadata: {namespace: quiet, name: NAME, annotations: {kubernetes.io/service-account.name: default}}, type: kubernetes.io/service-account-token}"},
	"plain strings of a secret":           {manifest: "{apiVersion: v1, kind: Secret, metadata: {namespace: quiet, name: NAME}, stringData: {a: b}}", mutate: merging("others", "{data: {more: eA==}}")},
	"a pod":                               {manifest: "{apiVersion: v1, kind: Pod, metadata: {namespace: quiet, name: NAME}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: i, resources: {limits: {cpu: 1000m}}}], tolerations: [{operator: Exists, key: a}]}}"},
	"a stateful set":                      {manifest: strings.Replace(pods("StatefulSet", "NAME", containers), "spec: {", "spec: {serviceName: x, volumeClaimTemplates: [{metadata: {name: d, creationTimestamp: null}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1024Mi}}}}], ", 1)},
	"a daemon set":                        {manifest: pods("DaemonSet", "NAME", containers)},
	"a job":                               {manifest: "{apiVersion: batch/v1, kind: Job, metadata: {namespace: quiet, name: NAME}, spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}", mutate: merging("kueue", "{metadata: {labels: {kueue.test/queue: q}}, spec: {parallelism: 3}}")},
	"a cron job":                          {manifest: `{apiVersion: batch/v1, kind: CronJob, metadata: {namespace: quiet, name: NAME}, spec: {schedule: "0 0 1 1 *", jobTemplate: {spec: {template: {metadata: {creationTimestamp: null}, spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}}}`},
	"a claim that gets bound":             {manifest: "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {namespace: quiet, name: NAME}, spec: {storageClassName: claims, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1024Mi}}}}", mutate: merging("provisioner", "{metadata: {annotations: {pv.kubernetes.io/bind-completed: \"yes\"}}, spec: {volumeName: v}}")},
	"a volume that gets claimed":          {manifest: "{apiVersion: v1, kind: PersistentVolume, metadata: {name: NAME}, spec: {storageClassName: volumes, capacity: {storage: 1024Mi}, accessModes: [ReadWriteOnce], hostPath: {path: /x}}}", mutate: merging("binder", "{spec: {claimRef: {namespace: quiet, name: other, kind: PersistentVolumeClaim, apiVersion: v1}}}")},
	"a namespace":                         {manifest: "{apiVersion: v1, kind: Namespace, metadata: {name: NAME, labels: {team: a}}}", mutate: merging("others", "{metadata: {annotations: {theirs: x}}}")},
	"an aggregated role":                  {manifest: "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: NAME}, aggregationRule: {clusterRoleSelectors: [{matchLabels: {rbac.authorization.k8s.io/aggregate-to-view: \"true\"}}]}, rules: []}"},
	"a role binding":                      {manifest: "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {namespace: quiet, name: NAME}, roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: User, name: u}, {kind: ServiceAccount, name: s}]}"},
	"a network policy":                    {manifest: "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {namespace: quiet, name: NAME}, spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}}"},
	"a disruption budget":                 {manifest: "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {namespace: quiet, name: NAME}, spec: {minAvailable: 50%, selector: {matchLabels: {a: b}}}}"},
	"an autoscaler of an older version":   {manifest: "{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, metadata: {namespace: quiet, name: NAME}, spec: {maxReplicas: 3, targetCPUUtilizationPercentage: 80, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: x}}}"},
	"an autoscaler":                       {manifest: "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {namespace: quiet, name: NAME}, spec: {maxReplicas: 3, metrics: [{type: Resource, resource: {name: memory, target: {type: AverageValue, averageValue: 1024Mi}}}], behavior: {scaleDown: {stabilizationWindowSeconds: 60}}, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: x}}}"},
	"an ingress":                          {manifest: "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {namespace: quiet, name: NAME}, spec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: x, port: {number: 80}}}}]}}]}}", mutate: merging("cloud/status", "{status: {loadBalancer: {ingress: [{ip: 192.0.2.7}]}}}")},
	"a limit range":                       {manifest: "{apiVersion: v1, kind: LimitRange, metadata: {namespace: limited, name: NAME}, spec: {limits: [{type: Container, max: {cpu: 2000m}}]}}"},
	"a resource quota":                    {manifest: `{apiVersion: v1, kind: ResourceQuota, metadata: {namespace: limited, name: NAME}, spec: {hard: {limits.cpu: 4000m, count/secrets: "10"}}}`},
	"a priority class":                    {manifest: "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: NAME}, value: 7}"},
	"a storage class":                     {manifest: "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: NAME}, provisioner: p}"},
	"a time of another zone":              {manifest: `{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {namespace: quiet, name: NAME}, spec: {holderIdentity: x, acquireTime: "2026-01-01T02:00:00.000000+02:00"}}`, mutate: merging("holder", `{spec: {renewTime: "2026-02-01T00:00:00.000000Z"}}`)},
	"a validating webhook's certificate":  {manifest: "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: NAME}, webhooks: [{name: a.b.test, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {url: 'https://192.0.2.1/'}}]}", mutate: injectCA("webhooks.0.clientConfig")},
	"a mutating webhook's certificate":    {manifest: "{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, metadata: {name: NAME}, webhooks: [{name: a.b.test, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {service: {name: s, namespace: quiet}}}]}", mutate: injectCA("webhooks.0.clientConfig")},
	"a kind with conversion":              {manifest: `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: xCASEs.quiet.test}, spec: {group: quiet.test, names: {kind: XCASE, plural: xCASEs}, scope: Namespaced, conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {service: {name: s, namespace: quiet}}}}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}, status: {conditions: null, storedVersions: null}}`, mutate: injectCA("spec.conversion.webhook.clientConfig")},
	"defaults of a custom resource":       {manifest: gear("size: 1, options: {}, parts: [{name: a}]")},
	"unknown fields that are pruned":      {manifest: gear("size: 1, unknown: {deeply: [1]}, parts: [{name: a, also: x}]"), without: "server"},
	"int or string":                       {manifest: gear("port: 80")},
	"a whole number with a fraction":      {manifest: gear("ratio: 2.0")},
	"a set in another order":              {manifest: gear("tags: [a, b, c]"), mutate: reversed("spec.tags")},
	"a set with more":                     {manifest: gear("tags: [a, b]"), mutate: prepended("spec.tags", "theirs")},
	"a keyed list in another order":       {manifest: gear("parts: [{name: a}, {name: b, teeth: 3}]"), mutate: reversed("spec.parts")},
	"a keyed list with more":              {manifest: gear("parts: [{name: a}, {name: b, teeth: 3}]"), mutate: prepended("spec.parts", "{name: theirs}")},
	"a custom resource's status":          {manifest: gear("size: 1"), mutate: merging("gear-controller/status", "{status: {phase: turning}}")},
	"a custom resource with more":         {manifest: gear("size: 1"), mutate: merging("gear-controller", "{spec: {mode: slow, options: {loud: true}}}")},
	"an older version than is stored":     {manifest: strings.Replace(gear("size: 1"), "quiet.test/v2", "quiet.test/v1", 1), mutate: merging("gear-controller", "{spec: {mode: slow}}")},
	"an aggregated role with rules":       {manifest: "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: NAME}, aggregationRule: {clusterRoleSelectors: [{matchLabels: {rbac.authorization.k8s.io/aggregate-to-view: \"true\"}}]}, rules: [{apiGroups: [x.test], resources: [xs], verbs: [get]}]}"},
	"a blank certificate":                 {manifest: "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: NAME}, webhooks: [{name: a.b.test, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {caBundle: '', service: {name: s, namespace: quiet}}}]}", mutate: injectCA("webhooks.0.clientConfig")},
	"a certificate that holds the place":  {manifest: "{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, metadata: {name: NAME}, webhooks: [{name: a.b.test, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {caBundle: Cg==, url: 'https://192.0.2.1/'}}]}", mutate: injectCA("webhooks.0.clientConfig")},
	"a certificate that is ordered":       {manifest: "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: NAME, annotations: {cert-manager.io/inject-ca-from: a/b}}, webhooks: [{name: a.b.test, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {caBundle: ZnJvbSB0aGUgaHVi, url: 'https://192.0.2.1/'}}]}", mutate: injectCA("webhooks.0.clientConfig")},
	"a kind with a blank certificate":     {manifest: `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: yCASEs.quiet.test}, spec: {group: quiet.test, preserveUnknownFields: false, names: {kind: YCASE, plural: yCASEs}, scope: Namespaced, conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {caBundle: Cg==, service: {name: s, namespace: quiet}}}}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}`, mutate: injectCA("spec.conversion.webhook.clientConfig")},
	"an address that is left open":        {manifest: "{apiVersion: v1, kind: Service, metadata: {namespace: quiet, name: NAME}, spec: {type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 0, clusterIP: '', clusterIPs: [], ports: [{port: 80, nodePort: 0}]}}"},
	"a headless service":                  {manifest: "{apiVersion: v1, kind: Service, metadata: {namespace: quiet, name: NAME}, spec: {clusterIP: None, selector: {a: b}, ports: [{port: 80}]}}"},
	"an external name":                    {manifest: "{apiVersion: v1, kind: Service, metadata: {namespace: quiet, name: NAME}, spec: {type: ExternalName, externalName: a.test, ports: [{port: 80}]}}"},
	"a claim without a volume":            {manifest: "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {namespace: quiet, name: NAME}, spec: {storageClassName: claims, volumeName: '', accessModes: [ReadWriteOnce], dataSource: {kind: PersistentVolumeClaim, name: other}, resources: {requests: {storage: 1Gi}}}}", mutate: merging("provisioner", "{metadata: {annotations: {volume.kubernetes.io/selected-node: node}}, spec: {volumeName: v}}")},
	"a volume for a claim":                {manifest: "{apiVersion: v1, kind: PersistentVolume, metadata: {name: NAME}, spec: {storageClassName: volumes, claimRef: {namespace: quiet, name: other}, capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /x}}}", mutate: merging("binder", "{spec: {claimRef: {uid: u-1, resourceVersion: \"7\", kind: PersistentVolumeClaim, apiVersion: v1}}}")},
	"a namespace with its finalizer":      {manifest: "{apiVersion: v1, kind: Namespace, metadata: {name: NAME}, spec: {finalizers: [kubernetes]}}", mutate: merging("others", "{metadata: {labels: {theirs: x}}}")},
	"a service account's pull secrets":    {manifest: "{apiVersion: v1, kind: ServiceAccount, metadata: {namespace: quiet, name: NAME}, imagePullSecrets: [{name: a}], secrets: [{name: s}]}", mutate: sequence(appended("imagePullSecrets", "{name: theirs}"), appended("secrets", "{name: token}"))},
	"a queued job":                        {manifest: "{apiVersion: batch/v1, kind: Job, metadata: {namespace: quiet, name: NAME, labels: {kueue.x-k8s.io/queue-name: q}}, spec: {suspend: true, template: {spec: {nodeSelector: {there-is: none}, restartPolicy: Never, containers: [{name: c, image: i}]}}}}", mutate: merging("kueue", "{spec: {suspend: false}}")},
	"a pod whose gate was opened":         {manifest: "{apiVersion: v1, kind: Pod, metadata: {namespace: quiet, name: NAME}, spec: {nodeSelector: {there-is: none}, terminationGracePeriodSeconds: 0, schedulingGates: [{name: a.test/x}, {name: b.test/y}], containers: [{name: c, image: i}]}}", mutate: sequence(update(func(o map[string]any) { with(o, "spec.schedulingGates", func(l []any) []any { return l[1:] }) }), update(func(o map[string]any) { with(o, "spec.schedulingGates", func([]any) []any { return nil }) }))},
	"a replica set":                       {manifest: pods("ReplicaSet", "NAME", containers+", nodeSelector: {there-is: none}")},
	"a replication controller":            {manifest: "{apiVersion: v1, kind: ReplicationController, metadata: {namespace: quiet, name: NAME}, spec: {replicas: 0, selector: {app: x}, template: {metadata: {labels: {app: x}}, spec: {containers: [{name: c, image: i}]}}}}"},
	"endpoints by hand":                   {manifest: "{apiVersion: v1, kind: Endpoints, metadata: {namespace: quiet, name: NAME}, subsets: [{addresses: [{ip: 192.0.2.9}], ports: [{port: 80}]}]}"},
	"a slice by hand":                     {manifest: "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: quiet, name: NAME}, addressType: IPv4, endpoints: [{addresses: [192.0.2.9]}], ports: [{port: 80}]}"},
	"a flow schema":                       {manifest: "{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: FlowSchema, metadata: {name: NAME}, spec: {priorityLevelConfiguration: {name: exempt}, rules: [{subjects: [{kind: User, user: {name: u}}], resourceRules: [{verbs: [get], apiGroups: [x.test], resources: [xs], clusterScope: true}]}]}}"},
	"a priority level":                    {manifest: "{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration, metadata: {name: NAME}, spec: {type: Limited, limited: {nominalConcurrencyShares: 1, limitResponse: {type: Reject}}}}"},
	"an admission policy":                 {manifest: "{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: NAME}, spec: {matchConstraints: {resourceRules: [{apiGroups: [x.test], apiVersions: [v1], operations: [CREATE], resources: [xs]}]}, validations: [{expression: 'true'}]}}"},
	"a driver for storage":                {manifest: "{apiVersion: storage.k8s.io/v1, kind: CSIDriver, metadata: {name: NAME}, spec: {attachRequired: false}}"},
	"an ingress class by default":         {manifest: "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: NAME}, spec: {controller: x.test/y, parameters: {kind: K, name: some}}}"},
}

func setCPU(value string) func(map[string]any) {
	return func(o map[string]any) {
		requests, _ := at(o, template+"containers.0.resources.requests").(map[string]any)
		requests["cpu"] = value
	}
}

// injectCA writes a certificate, that of the member's API server, as an injector does.
func injectCA(path string) mutation {
	return func(w *world, obj *unstructured.Unstructured) error {
		return update(func(o map[string]any) {
			config, _ := at(o, path).(map[string]any)
			config["caBundle"] = base64.StdEncoding.EncodeToString(w.here.Config.CAData)
		})(w, obj)
	}
}

func gear(spec string) string {
	return "{apiVersion: quiet.test/v2, kind: Gear, metadata: {namespace: quiet, name: NAME}, spec: {" + spec + "}}"
}

// spared halves the work: every case is tried under "careful", which shows any difference, and takes turns under the
// others.
func spared(i int, variant string) bool {
	return variant == "always" && i%2 == 0 || variant == "server" && i%2 == 1
}

// variants are the strategies under which every case must be quiet.
var variants = map[string]*v1beta1.ApplyStrategy{
	"careful": strategy(ifNotDrifted),
	"always":  strategy(),
	"server":  strategy(func(s *v1beta1.ApplyStrategy) { s.Type = v1beta1.ApplyStrategyTypeServerSideApply }),
}

// remembered returns the objects that the agent has looked at for a Work, with the newest event of each.
func (w *world) remembered(work string) (objects []object, news map[place]occurrence) {
	m := w.agent.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.works[work]
	if r == nil {
		return nil, nil
	}
	for _, o := range r.objects {
		objects = append(objects, *o)
	}
	return objects, maps.Clone(r.latest)
}

// caughtUp waits until the agent has looked at a Work's one object as it is now.
func (w *world) caughtUp(work string, gvk metav1.TypeMeta, key types.NamespacedName) {
	w.Helper()
	w.eventually("the agent to have seen the object of "+work, func() error {
		live := &metav1.PartialObjectMetadata{TypeMeta: gvk}
		if err := w.member.Get(w.Context(), key, live); err != nil {
			return err
		}
		objects, news := w.remembered(work)
		if len(objects) != 1 || objects[0].stale {
			return fmt.Errorf("it is about to: %+v, %+v", objects, w.readWork(work).Status.ManifestConditions)
		}
		if v := live.ResourceVersion; v != objects[0].resourceVersion && v != news[objects[0].place].resourceVersion {
			return fmt.Errorf("it has seen %s, and %s by event; the object is at %s", objects[0].resourceVersion, news[objects[0].place].resourceVersion, v)
		}
		return nil
	})
}

// placedCase is one manifest under one strategy.
type placedCase struct {
	work string
	obj  *unstructured.Unstructured
}

// lay creates a Work for every manifest under every variant and waits until all are applied.
func (w *world) lay(prefix string, manifests map[string]string, variants map[string]*v1beta1.ApplyStrategy) map[string]placedCase {
	w.Helper()
	out := map[string]placedCase{}
	for i, name := range slices.Sorted(maps.Keys(manifests)) {
		for variant, s := range variants {
			if c, ours := quiets[name]; ours && (c.without == variant || spared(i, variant)) {
				continue
			}
			number := fmt.Sprintf("%d%s", i, variant[:1])
			text := strings.NewReplacer("NAME", prefix+number, "CASE", number).Replace(manifests[name])
			c := placedCase{work: prefix + "-" + number, obj: &unstructured.Unstructured{}}
			w.must(yaml.Unmarshal([]byte(text), &c.obj.Object))
			w.work(c.work, s, text)
			out[name+", "+variant] = c
		}
	}
	w.eventually("all cases to be applied", func() error {
		var missing error
		for name, c := range out {
			if err := w.isApplied(c.work); err != nil {
				missing = errors.Join(missing, fmt.Errorf("%s: %w", name, err))
			}
		}
		return missing
	})
	return out
}

func (w *world) isApplied(work string) error {
	status := w.readWork(work).Status
	if len(status.ManifestConditions) == 0 {
		return errors.New("it is not reported")
	}
	if c := status.ManifestConditions[0].Conditions[0]; c.Reason != v1beta1.ReasonManifestApplied {
		return fmt.Errorf("%s: %s", c.Reason, c.Message)
	}
	return nil
}

func (w *world) mutateAll(cases map[string]placedCase, mutations func(name string) mutation) {
	w.Helper()
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		mutate := mutations(name[:strings.LastIndex(name, ", ")])
		if mutate == nil {
			continue
		}
		w.eventually("mutate "+name, func() error {
			obj := cases[name].obj
			if err := w.member.Get(w.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
				return err
			}
			return mutate(w, obj)
		})
	}
}

func (w *world) allCaughtUp(cases map[string]placedCase) {
	w.Helper()
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		c := cases[name]
		kind := metav1.TypeMeta{APIVersion: c.obj.GetAPIVersion(), Kind: c.obj.GetKind()}
		w.caughtUp(c.work, kind, client.ObjectKeyFromObject(c.obj))
	}
}

func TestNoFalseDrift(t *testing.T) {
	w := newWorld(t)
	w.onMember(namespaceText("quiet"))
	w.onMember(namespaceText("limited"))
	w.serveGears()
	manifests := map[string]string{}
	for name, c := range quiets {
		manifests[name] = c.manifest
	}
	cases := w.lay("q", manifests, variants)
	w.quiet(time.Second)
	w.writes.take()
	w.mutateAll(cases, func(name string) mutation { return quiets[name].mutate })
	for _, when := range []string{"after the mutations", "after a restart"} {
		w.allCaughtUp(cases)
		w.quiet(time.Second)
		if got := w.writes.member.Take(); len(got) > 0 {
			t.Errorf("%s the agent wrote %q", when, got)
		}
		for name, c := range cases {
			m := w.readWork(c.work).Status.ManifestConditions[0]
			if err := w.isApplied(c.work); err != nil || m.DriftDetails != nil || m.DiffDetails != nil {
				t.Errorf("%s, %s: %v, drifts %+v", when, name, err, m.DriftDetails)
			}
		}
		w.halt()
		w.mutateAll(cases, func(name string) mutation { return quiets[name].offline })
		w.start()
		w.agent.Join()
	}
}
