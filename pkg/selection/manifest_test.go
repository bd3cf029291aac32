package selection

import (
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	var o unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	return &o
}

// manifests are objects of the hub, with their propagated form.
var manifests = map[string]struct{ in, want string }{
	"what the server put in goes": {`
apiVersion: v1
kind: ConfigMap
metadata: {name: cm, namespace: app, uid: u, resourceVersion: "7", generation: 2, selfLink: /x, creationTimestamp: "2020-01-01T00:00:00Z",
  deletionTimestamp: "2020-01-01T00:00:00Z", deletionGracePeriodSeconds: 5, generateName: c, managedFields: [{manager: m}],
  ownerReferences: [{name: o}], labels: {a: b}, annotations: {mine: "<&>"}}
data: {b: "2", a: "1"}
status: {phase: Active}`, `
apiVersion: v1
kind: ConfigMap
metadata: {name: cm, namespace: app, deletionGracePeriodSeconds: 5, generateName: c, labels: {a: b}, annotations: {mine: "<&>"}}
data: {b: "2", a: "1"}`},
	"empty annotations go": {`
apiVersion: v1
kind: ConfigMap
metadata: {name: cm, annotations: {deployment.kubernetes.io/revision: "1", kubectl.kubernetes.io/last-applied-configuration: x}}`, `
apiVersion: v1
kind: ConfigMap
metadata: {name: cm}`},
	"finalizers go": {`
apiVersion: v1
kind: ConfigMap
metadata: {name: cm, finalizers: [example.com/hub-controller]}`, `
apiVersion: v1
kind: ConfigMap
metadata: {name: cm}`},
	"a namespace keeps the finalizer that all have": {`
apiVersion: v1
kind: Namespace
metadata: {name: app}
spec: {finalizers: [kubernetes, example.com/origin]}`, `
apiVersion: v1
kind: Namespace
metadata: {name: app}
spec: {finalizers: [kubernetes]}`},
	"addresses of a service go": {`
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], healthCheckNodePort: 30000, ports: [{port: 80, nodePort: 30080}]}`, `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}`},
	"a headless service stays headless": {`
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: None, clusterIPs: [None]}`, `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: None, clusterIPs: [None]}`},
	"families that the server chose go": {`
apiVersion: v1
kind: Service
metadata: {name: web, managedFields: [{manager: m, operation: Update, fieldsV1: {"f:spec": {"f:ports": {}}}}]}
spec: {ipFamilies: [IPv4], ipFamilyPolicy: SingleStack, ports: [{port: 80}]}`, `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}`},
	"families that the user chose stay": {`
apiVersion: v1
kind: Service
metadata: {name: web, managedFields: [{manager: m, operation: Apply, fieldsV1: {"f:spec": {"f:ipFamilyPolicy": {}}}}]}
spec: {ipFamilies: [IPv6], ipFamilyPolicy: PreferDualStack}`, `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ipFamilyPolicy: PreferDualStack}`},
	"families whose writer is not known stay": {`
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ipFamilies: [IPv6], ipFamilyPolicy: SingleStack}`, `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ipFamilies: [IPv6], ipFamilyPolicy: SingleStack}`},
	"the selector made for a job goes": {`
apiVersion: batch/v1
kind: Job
metadata: {name: j, labels: {controller-uid: u, batch.kubernetes.io/controller-uid: u, job-name: j}}
spec:
  selector: {matchLabels: {batch.kubernetes.io/controller-uid: u, controller-uid: u}}
  template: {metadata: {creationTimestamp: null, labels: {controller-uid: u, batch.kubernetes.io/controller-uid: u, job-name: j}}}`, `
apiVersion: batch/v1
kind: Job
metadata: {name: j, labels: {job-name: j}}
spec:
  selector: {matchLabels: {}}
  template: {metadata: {labels: {job-name: j}}}`},
	"a selector made by hand stays": {`
apiVersion: batch/v1
kind: Job
metadata: {name: j, labels: {controller-uid: mine}}
spec: {manualSelector: true, selector: {matchLabels: {controller-uid: mine}}}`, `
apiVersion: batch/v1
kind: Job
metadata: {name: j, labels: {controller-uid: mine}}
spec: {manualSelector: true, selector: {matchLabels: {controller-uid: mine}}}`},
	"a claim arrives unbound": {`
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: c
  finalizers: [kubernetes.io/pvc-protection]
  annotations:
    pv.kubernetes.io/bind-completed: "yes"
    pv.kubernetes.io/bound-by-controller: "yes"
    volume.kubernetes.io/selected-node: hub-1
    volume.kubernetes.io/storage-provisioner: p
    volume.beta.kubernetes.io/storage-provisioner: p
    volume.beta.kubernetes.io/storage-class: fast
spec: {volumeName: pv, resources: {requests: {storage: 1Gi}}}
status: {phase: Bound}`, `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: c, annotations: {volume.beta.kubernetes.io/storage-class: fast}}
spec: {resources: {requests: {storage: 1Gi}}}`},
	"a claim keeps the volume that the user chose": {`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: c, annotations: {pv.kubernetes.io/bind-completed: "yes"}}
spec: {volumeName: mine}`, `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: c}
spec: {volumeName: mine}`},
	"a volume arrives unbound": {`
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv, annotations: {pv.kubernetes.io/bound-by-controller: "yes", pv.kubernetes.io/migrated-to: csi, pv.kubernetes.io/provisioned-by: mine}}
spec: {claimRef: {namespace: app, name: c, uid: u}, hostPath: {path: /x}}`, `
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv, annotations: {pv.kubernetes.io/provisioned-by: mine}}
spec: {hostPath: {path: /x}}`},
	"a volume stays reserved for the claim that the user named": {`
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv}
spec: {claimRef: {namespace: app, name: c, uid: u, resourceVersion: "7"}}`, `
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv}
spec: {claimRef: {namespace: app, name: c}}`},
	"revisions of deployments and replica sets go": {`
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: r, annotations: {deployment.kubernetes.io/desired-replicas: "1", deployment.kubernetes.io/max-replicas: "2",
  deployment.kubernetes.io/revision-history: "1,2"}}
spec: {replicas: 1}`, `
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: r}
spec: {replicas: 1}`},
	"the template generation of a daemon set goes": {`
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: d, annotations: {deprecated.daemonset.template.generation: "3"}}`, `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: d}`},
	"the status of an autoscaler in annotations goes": {`
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: h, annotations: {autoscaling.alpha.kubernetes.io/conditions: "[]", autoscaling.alpha.kubernetes.io/current-metrics: "[]",
  autoscaling.alpha.kubernetes.io/metrics: "[]"}}`, `
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: h, annotations: {autoscaling.alpha.kubernetes.io/metrics: "[]"}}`},
	"times of endpoints go": {`
apiVersion: v1
kind: Endpoints
metadata: {name: e, annotations: {endpoints.kubernetes.io/last-change-trigger-time: "2020-01-01T00:00:00Z"}}`, `
apiVersion: v1
kind: Endpoints
metadata: {name: e}`},
	"tokens of a service account go": {`
apiVersion: v1
kind: ServiceAccount
metadata: {name: builder}
secrets: [{name: builder-token-x7k2p}, {name: mine}]
imagePullSecrets: [{name: pull}]`, `
apiVersion: v1
kind: ServiceAccount
metadata: {name: builder}
secrets: [{name: mine}]
imagePullSecrets: [{name: pull}]`},
	"no tokens but those": {`
apiVersion: v1
kind: ServiceAccount
metadata: {name: builder}
secrets: [{name: builder-token-x7k2p}]`, `
apiVersion: v1
kind: ServiceAccount
metadata: {name: builder}`},
	"aggregated rules go": {`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: all}
aggregationRule: {clusterRoleSelectors: []}
rules: [{verbs: [get]}]`, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: all}
aggregationRule: {clusterRoleSelectors: []}`},
	"rules written by hand stay": {`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: some}
rules: [{verbs: [get]}]`, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: some}
rules: [{verbs: [get]}]`},
	"an injected bundle of a webhook goes": {`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: w, annotations: {cert-manager.io/inject-ca-from: a/b}}
webhooks: [{name: x, clientConfig: {caBundle: Zm9v, url: "https://x"}}]`, `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: w, annotations: {cert-manager.io/inject-ca-from: a/b}}
webhooks: [{name: x, clientConfig: {url: "https://x"}}]`},
	"a bundle written by hand stays": {`
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: w}
webhooks: [{name: x, clientConfig: {caBundle: Zm9v}}]`, `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: w}
webhooks: [{name: x, clientConfig: {caBundle: Zm9v}}]`},
	"an injected bundle of a conversion goes": {`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com, annotations: {cert-manager.io/inject-ca-from-secret: a/b}}
spec: {group: example.com, conversion: {strategy: Webhook, webhook: {clientConfig: {caBundle: Zm9v, service: {name: s}}}}}`, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com, annotations: {cert-manager.io/inject-ca-from-secret: a/b}}
spec: {group: example.com, conversion: {strategy: Webhook, webhook: {clientConfig: {service: {name: s}}}}}`},
	"an injected bundle of an API service goes": {`
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.example.com, annotations: {service.beta.openshift.io/inject-cabundle: "true"}}
spec: {caBundle: Zm9v, group: example.com}`, `
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.example.com, annotations: {service.beta.openshift.io/inject-cabundle: "true"}}
spec: {group: example.com}`},
	"a custom kind of a built-in name keeps what it has": {`
apiVersion: example.com/v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.0.0.1, claimRef: {uid: u}, volumeName: v}`, `
apiVersion: example.com/v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.0.0.1, claimRef: {uid: u}, volumeName: v}`},
}

func TestManifest(t *testing.T) {
	for name, tc := range manifests {
		t.Run(name, func(t *testing.T) {
			raw, err := Manifest(object(t, tc.in))
			if err != nil {
				t.Fatal(err)
			}
			if got := object(t, string(raw)); !reflect.DeepEqual(got, object(t, tc.want)) {
				t.Errorf("got %s, want %s", raw, tc.want)
			}
		})
	}
}

// The bytes are hashed, and the hash is part of the wire format.
func TestManifestBytes(t *testing.T) {
	raw, err := Manifest(object(t, `{metadata: {name: cm, annotations: {mine: "<&>"}}, kind: ConfigMap, data: {b: "2", a: "1"}, apiVersion: v1}`))
	want := `{"apiVersion":"v1","data":{"a":"1","b":"2"},"kind":"ConfigMap","metadata":{"annotations":{"mine":"\u003c\u0026\u003e"},"name":"cm"}}`
	if err != nil || string(raw) != want {
		t.Errorf("got  %s, %v\nwant %s", raw, err, want)
	}
}

// Each row of the table changes at least one of the objects above.
func TestEveryRowIsTried(t *testing.T) {
	for _, row := range stripped {
		tried := false
		for _, tc := range manifests {
			o := object(t, tc.in)
			if len(row.kinds) > 0 && !contains(row.kinds, o) {
				continue
			}
			row.strip(o)
			tried = tried || !reflect.DeepEqual(o, object(t, tc.in))
		}
		if !tried {
			t.Errorf("no test for %s", row.fields)
		}
	}
}
