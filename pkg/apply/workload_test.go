package apply

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestWorkloadOf(t *testing.T) {
	const identity = "metadata: {namespace: shop, name: web, uid: u, annotations: {deployment.kubernetes.io/revision: '3'}}, "
	for name, tc := range map[string]struct {
		live string
		want *Workload
	}{
		"a Deployment": {
			`{apiVersion: apps/v1, kind: Deployment, ` + identity + `spec: {replicas: 5}, status: {readyReplicas: 2}}`,
			&Workload{UID: "u", Namespace: "shop", Revision: "3", Unready: 3},
		},
		"a StatefulSet without ready replicas": {
			`{apiVersion: apps/v1, kind: StatefulSet, metadata: {namespace: shop, name: web, uid: u}, spec: {replicas: 5}}`,
			&Workload{UID: "u", Namespace: "shop", Unready: 5},
		},
		"more replicas are ready than wanted": {
			`{apiVersion: apps/v1, kind: Deployment, ` + identity + `spec: {replicas: 1}, status: {readyReplicas: 2}}`,
			&Workload{UID: "u", Namespace: "shop", Revision: "3"},
		},
		"a status with a negative number": {
			`{apiVersion: apps/v1, kind: Deployment, ` + identity + `spec: {replicas: 1}, status: {readyReplicas: -7}}`,
			&Workload{UID: "u", Namespace: "shop", Revision: "3", Unready: 1},
		},
		"more replicas than a report holds": {
			`{apiVersion: example.com/v1, kind: Farm, metadata: {namespace: shop, name: web, uid: u}, spec: {replicas: 5000000000}}`,
			&Workload{UID: "u", Namespace: "shop", Unready: 2147483647},
		},
		"a kind whose status is not watched": {
			`{apiVersion: example.com/v1, kind: Farm, metadata: {namespace: shop, name: web, uid: u}, spec: {replicas: 5}, status: {readyReplicas: 2}}`,
			&Workload{UID: "u", Namespace: "shop", Unready: 5},
		},
		"no replicas": {`{apiVersion: v1, kind: ConfigMap, metadata: {namespace: shop, name: web, uid: u}}`, nil},
		"replicas that are no number": {
			`{apiVersion: example.com/v1, kind: Farm, metadata: {namespace: shop, name: web, uid: u}, spec: {replicas: many}}`, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			live := &unstructured.Unstructured{}
			raw, err := yaml.YAMLToJSON([]byte(tc.live))
			if err == nil {
				err = live.UnmarshalJSON(raw)
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, WorkloadOf(live)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
