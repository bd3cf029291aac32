package selection

import (
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

func TestManifest(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"what the server put in goes": {`
apiVersion: v1
kind: ConfigMap
metadata: {name: cm, namespace: app, uid: u, resourceVersion: "7", generation: 2, selfLink: /x, creationTimestamp: "2020-01-01T00:00:00Z",
  deletionTimestamp: "2020-01-01T00:00:00Z", deletionGracePeriodSeconds: 5, generateName: c, finalizers: [f], managedFields: [{manager: m}],
  ownerReferences: [{name: o}], labels: {a: b},
  annotations: {kubectl.kubernetes.io/last-applied-configuration: x, deployment.kubernetes.io/revision: "1", mine: "<&>"}}
data: {b: "2", a: "1"}
status: {phase: Active}`,
			`{"apiVersion":"v1","data":{"a":"1","b":"2"},"kind":"ConfigMap","metadata":{"annotations":{"mine":"\u003c\u0026\u003e"},"deletionGracePeriodSeconds":5,"finalizers":["f"],"generateName":"c","labels":{"a":"b"},"name":"cm","namespace":"app"}}`},
		"empty annotations go": {`
apiVersion: v1
kind: ConfigMap
metadata: {name: cm, annotations: {deployment.kubernetes.io/revision: "1"}}`,
			`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm"}}`},
		"addresses of a service go": {`
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], healthCheckNodePort: 30000, ports: [{port: 80, nodePort: 30080}]}`,
			`{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"ports":[{"port":80}]}}`},
		"a headless service stays headless": {`
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: None, clusterIPs: [None]}`,
			`{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"clusterIP":"None","clusterIPs":["None"]}}`},
		"the selector made for a job goes": {`
apiVersion: batch/v1
kind: Job
metadata: {name: j}
spec:
  selector: {matchLabels: {batch.kubernetes.io/controller-uid: u, controller-uid: u}}
  template: {metadata: {creationTimestamp: null, labels: {controller-uid: u, batch.kubernetes.io/controller-uid: u, job-name: j}}}`,
			`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"j"},"spec":{"selector":{"matchLabels":{}},"template":{"metadata":{"labels":{"job-name":"j"}}}}}`},
		"a selector made by hand stays": {`
apiVersion: batch/v1
kind: Job
metadata: {name: j}
spec: {manualSelector: true, selector: {matchLabels: {controller-uid: mine}}}`,
			`{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"j"},"spec":{"manualSelector":true,"selector":{"matchLabels":{"controller-uid":"mine"}}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Manifest(object(t, tc.in))
			if err != nil || string(got) != tc.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, tc.want)
			}
		})
	}
}

func TestCarried(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		want bool
	}{
		"a secret":                  {"{apiVersion: v1, kind: Secret, type: Opaque, metadata: {name: s}}", true},
		"a service account's token": {"{apiVersion: v1, kind: Secret, type: kubernetes.io/service-account-token, metadata: {name: s}}", false},
		"an object that is going":   {`{apiVersion: v1, kind: ConfigMap, metadata: {name: s, deletionTimestamp: "2020-01-01T00:00:00Z"}}`, false},
	} {
		if got := Carried(object(t, tc.in)); got != tc.want {
			t.Errorf("%s: carried %v", name, got)
		}
	}
}
