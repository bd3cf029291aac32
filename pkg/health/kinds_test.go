package health

import (
	"strings"
	"testing"

	"github.com/flagship-fleet/flagship/pkg/contract"
)

func TestStates(t *testing.T) {
	const deployment = "apiVersion: apps/v1, kind: Deployment, metadata: {name: d, generation: 2}"
	const stateful = "apiVersion: apps/v1, kind: StatefulSet, metadata: {name: s, generation: 1}"
	const onDelete = stateful + ", spec: {replicas: 2, updateStrategy: {type: OnDelete}}"
	const daemon = "apiVersion: apps/v1, kind: DaemonSet, metadata: {name: s, generation: 1}"
	const service = "apiVersion: v1, kind: Service, metadata: {name: s}"
	const budget = "apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: b, generation: 3}"
	const crd = "apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: c}"
	const yes, not, unknown = Available, NotYet, Untracked
	const widget = "apiVersion: example.test/v1, kind: Widget, metadata: {name: w, generation: 2, annotations: {kubernetes-fleet.io/available-when: "
	const running = widget + "object.status.phase == 'Running'}}"
	all := rules(t)
	for name, tc := range map[string]struct {
		object string
		want   State
	}{
		"deployment without status":           {"{" + deployment + "}", not},
		"deployment ready":                    {"{" + deployment + ", spec: {replicas: 2}, status: {observedGeneration: 2, replicas: 2, updatedReplicas: 2, availableReplicas: 2}}", yes},
		"deployment of one by default":        {"{" + deployment + ", status: {observedGeneration: 2, updatedReplicas: 1, availableReplicas: 1}}", yes},
		"deployment scaled to none":           {"{" + deployment + ", spec: {replicas: 0}, status: {observedGeneration: 2}}", yes},
		"deployment not observed":             {"{" + deployment + ", status: {observedGeneration: 1, updatedReplicas: 1, availableReplicas: 1}}", not},
		"deployment with an old pod left":     {"{" + deployment + ", status: {observedGeneration: 2, updatedReplicas: 1, availableReplicas: 1, unavailableReplicas: 1}}", not},
		"deployment with old pods only":       {"{" + deployment + ", status: {observedGeneration: 2, updatedReplicas: 0, availableReplicas: 1}}", not},
		"stateful set ready":                  {"{" + stateful + ", spec: {replicas: 2}, status: {observedGeneration: 1, availableReplicas: 2, currentReplicas: 2, updatedReplicas: 2, currentRevision: a, updateRevision: a}}", yes},
		"stateful set between revisions":      {"{" + stateful + ", spec: {replicas: 2}, status: {observedGeneration: 1, availableReplicas: 2, currentReplicas: 1, updatedReplicas: 1, currentRevision: a, updateRevision: b}}", not},
		"stateful set starting":               {"{" + stateful + ", spec: {replicas: 2}, status: {observedGeneration: 1, availableReplicas: 1, currentReplicas: 1, updatedReplicas: 1, currentRevision: a, updateRevision: a}}", not},
		"partition reached":                   {"{" + stateful + ", spec: {replicas: 3, updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 2}}}, status: {observedGeneration: 1, availableReplicas: 3, currentReplicas: 2, updatedReplicas: 1, currentRevision: a, updateRevision: b}}", yes},
		"partition not reached":               {"{" + stateful + ", spec: {replicas: 3, updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 1}}}, status: {observedGeneration: 1, availableReplicas: 3, currentReplicas: 2, updatedReplicas: 1, currentRevision: a, updateRevision: b}}", not},
		"partition beyond all pods":           {"{" + stateful + ", spec: {replicas: 3, updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 5}}}, status: {observedGeneration: 1, availableReplicas: 3, currentReplicas: 3, updatedReplicas: 0, currentRevision: a, updateRevision: b}}", yes},
		"on delete, all deleted":              {"{" + onDelete + ", status: {observedGeneration: 1, availableReplicas: 2, currentReplicas: 0, updatedReplicas: 2, currentRevision: a, updateRevision: b}}", yes},
		"on delete, one is left":              {"{" + onDelete + ", status: {observedGeneration: 1, availableReplicas: 2, currentReplicas: 1, updatedReplicas: 1, currentRevision: a, updateRevision: b}}", not},
		"on delete, never changed":            {"{" + onDelete + ", status: {observedGeneration: 1, availableReplicas: 2, currentReplicas: 2, updatedReplicas: 2, currentRevision: a, updateRevision: a}}", yes},
		"on delete, starting":                 {"{" + onDelete + ", status: {observedGeneration: 1, availableReplicas: 1, currentReplicas: 0, updatedReplicas: 2, currentRevision: a, updateRevision: b}}", not},
		"a claim that waits is not tracked":   {"{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c}, status: {phase: Pending}}", unknown},
		"a claim that is lost":                {"{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c}, status: {phase: Lost}}", not},
		"daemon set ready":                    {"{" + daemon + ", status: {observedGeneration: 1, desiredNumberScheduled: 3, numberAvailable: 3, currentNumberScheduled: 3, updatedNumberScheduled: 3}}", yes},
		"daemon set for no node":              {"{" + daemon + ", status: {observedGeneration: 1, desiredNumberScheduled: 0}}", yes},
		"daemon set updating":                 {"{" + daemon + ", status: {observedGeneration: 1, desiredNumberScheduled: 3, numberAvailable: 3, currentNumberScheduled: 3, updatedNumberScheduled: 1}}", not},
		"service with an address":             {"{" + service + ", spec: {clusterIPs: [10.0.0.1]}}", yes},
		"headless service":                    {"{" + service + ", spec: {type: ClusterIP, clusterIPs: [None]}}", yes},
		"service without an address":          {"{" + service + ", spec: {type: NodePort}}", not},
		"load balancer pending":               {"{" + service + ", spec: {type: LoadBalancer, clusterIPs: [10.0.0.1]}}", not},
		"load balancer with a hostname":       {"{" + service + ", spec: {type: LoadBalancer}, status: {loadBalancer: {ingress: [{hostname: h}]}}}", yes},
		"external name":                       {"{" + service + ", spec: {type: ExternalName}}", unknown},
		"crd established":                     {"{" + crd + ", status: {conditions: [{type: Established, status: 'True'}, {type: NamesAccepted, status: 'True'}]}}", yes},
		"crd with names taken":                {"{" + crd + ", status: {conditions: [{type: Established, status: 'True'}, {type: NamesAccepted, status: 'False'}]}}", not},
		"budget judged insufficient":          {"{" + budget + ", status: {disruptionsAllowed: 0, conditions: [{type: DisruptionAllowed, status: 'False', reason: InsufficientPods, observedGeneration: 3}]}}", yes},
		"budget judged sufficient":            {"{" + budget + ", status: {disruptionsAllowed: 1, conditions: [{type: DisruptionAllowed, status: 'True', reason: SufficientPods, observedGeneration: 3}]}}", yes},
		"budget of an older generation":       {"{" + budget + ", status: {disruptionsAllowed: 1, conditions: [{type: DisruptionAllowed, status: 'True', reason: SufficientPods, observedGeneration: 2}]}}", not},
		"data is available at once":           {"{apiVersion: v1, kind: Secret, metadata: {name: s}}", yes},
		"a job is not tracked":                {"{apiVersion: batch/v1, kind: Job, metadata: {name: j}}", unknown},
		"an older version is not tracked":     {"{apiVersion: apps/v1beta1, kind: Deployment, metadata: {name: d}}", unknown},
		"a custom resource is not tracked":    {"{apiVersion: example.test/v1, kind: Widget, metadata: {name: w}}", unknown},
		"a malformed status is not available": {"{" + deployment + ", status: {observedGeneration: two}}", not},
		"by convention":                       {"{" + widget + "conditions}}, status: {observedGeneration: 2, conditions: [{type: Ready, status: 'True'}]}}", yes},
		"by convention, not ready":            {"{" + widget + "conditions}}, status: {observedGeneration: 2, conditions: [{type: Ready, status: 'False'}]}}", not},
		"by rule":                             {"{" + running + ", status: {phase: Running}}", yes},
		"by rule, not yet":                    {"{" + running + ", status: {phase: Pending}}", not},
		"by rule, without status":             {"{" + running + "}", not},
		"by rule, of an older generation":     {"{" + running + ", status: {phase: Running, observedGeneration: 1}}", not},
		"by rule, of this generation":         {"{" + running + ", status: {phase: Running, observedGeneration: 2}}", yes},
		"by a rule that makes no sense":       {"{" + widget + "object.}}}", not},
		"a job, by rule":                      {"{apiVersion: batch/v1, kind: Job, metadata: {name: j, annotations: {kubernetes-fleet.io/available-when: object.status.succeeded > 0}}, status: {succeeded: 1}}", yes},
		"a rule goes before that of the kind": {"{" + strings.Replace(deployment, "name: d", "name: d, annotations: {kubernetes-fleet.io/available-when: 'true'}", 1) + "}", yes},
		"a secret answers no rules":           {"{apiVersion: v1, kind: Secret, metadata: {name: s, annotations: {kubernetes-fleet.io/available-when: object.data.a == 'YQ=='}}}", yes},
	} {
		t.Run(name, func(t *testing.T) {
			if got, why := Of(object(t, tc.object), all); got != tc.want || (why != "") != (tc.want == NotYet) {
				t.Errorf("%s, %q; want %s", got, why, tc.want)
			}
		})
	}
}

// What its controller gives as the cause is passed on.
func TestFailuresAreReported(t *testing.T) {
	all := rules(t)
	const deployment = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, generation: 2}, status: {observedGeneration: 2, updatedReplicas: 1, conditions: "
	const job = "{apiVersion: batch/v1, kind: Job, metadata: {name: j, annotations: {kubernetes-fleet.io/available-when: object.status.succeeded > 0}}, status: {succeeded: 0, conditions: "
	const budget = "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: b, generation: 1}, status: {conditions: "
	for name, tc := range map[string]struct{ object, want string }{
		"a deployment over its deadline": {
			deployment + "[{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded, message: it has timed out}]}}",
			"Not all of its pods are available yet: ProgressDeadlineExceeded, it has timed out",
		},
		"a deployment over a quota": {
			deployment + "[{type: Progressing, status: 'True'}, {type: ReplicaFailure, status: 'True', reason: FailedCreate, message: exceeded quota}]}}",
			"Not all of its pods are available yet: FailedCreate, exceeded quota",
		},
		"a deployment on its way": {
			deployment + "[{type: Progressing, status: 'True', reason: ReplicaSetUpdated, message: 1 of 2}]}}", "Not all of its pods are available yet",
		},
		"a job that failed": {
			job + "[{type: Failed, status: 'True', reason: BackoffLimitExceeded, message: it failed}]}}",
			"The rule in its annotation kubernetes-fleet.io/available-when is not fulfilled yet: BackoffLimitExceeded, it failed",
		},
		"a budget that its controller cannot judge": {
			budget + "[{type: DisruptionAllowed, status: 'False', reason: SyncFailed, message: no controllers, observedGeneration: 1}]}}",
			"Its controller cannot determine its pods: SyncFailed, no controllers",
		},
		"a long message": {
			job + "[{type: Failed, status: 'True', reason: R, message: " + strings.Repeat("x", 2000) + "}]}}",
			"The rule in its annotation kubernetes-fleet.io/available-when is not fulfilled yet: R, " + strings.Repeat("x", 509) + "...",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, got := Of(object(t, tc.object), all); got != tc.want {
				t.Errorf("%q; want %q", got, tc.want)
			}
		})
	}
}

// A mistake in a rule is reported where the user looks: what, where, and how to correct it.
func TestRuleProblemIsExplained(t *testing.T) {
	all := rules(t)
	obj := object(t, "{apiVersion: example.test/v1, kind: Widget, metadata: {name: w, annotations: {kubernetes-fleet.io/available-when: object.status.phase == 'x'}}}")
	_, got := Of(obj, all)
	for _, want := range []string{contract.AnnotationAvailableWhen, "no such key: status", "correct it on the hub", "has("} {
		if !strings.Contains(got, want) {
			t.Errorf("message %q does not have %q", got, want)
		}
	}
	if !Tracked(obj) {
		t.Error("its status does not count")
	}
}
