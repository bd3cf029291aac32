package apply

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/health"
)

func TestFinished(t *testing.T) {
	rules, err := health.NewRules()
	if err != nil {
		t.Fatal(err)
	}
	const job, ruled = "{apiVersion: batch/v1, kind: Job, metadata: {name: j, annotations: {kubernetes-fleet.io/spec-hash: h}}, ",
		"{apiVersion: batch/v1, kind: Job, metadata: {name: j, annotations: {kubernetes-fleet.io/spec-hash: h, kubernetes-fleet.io/available-when: object.status.succeeded > 0}}, "
	marked := "{apiVersion: batch/v1, kind: Job, metadata: {name: j, annotations: {kubernetes-fleet.io/spec-hash: " + strings.Repeat("h", 2000) + "}}, "
	const pod, always = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {restartPolicy: Never}, ", "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {restartPolicy: Always}, "
	for name, tc := range map[string]struct {
		object string
		want   *v1beta1.FinishedRun
	}{
		"a job without status":           {job + "spec: {}}", nil},
		"a job that runs":                {job + "status: {active: 1, conditions: [{type: SuccessCriteriaMet, status: 'True'}]}}", nil},
		"a job that is suspended":        {job + "status: {conditions: [{type: Suspended, status: 'True'}]}}", nil},
		"a job that is about to fail":    {job + "status: {conditions: [{type: FailureTarget, status: 'True', reason: R}]}}", nil},
		"a job that is complete":         {job + "status: {conditions: [{type: Complete, status: 'True'}]}}", &v1beta1.FinishedRun{SpecHash: "h", Succeeded: true}},
		"a job that is not complete":     {job + "status: {conditions: [{type: Complete, status: 'False'}]}}", nil},
		"a job that failed":              {job + "status: {conditions: [{type: Failed, status: 'True', reason: R, message: m}]}}", &v1beta1.FinishedRun{SpecHash: "h", Cause: "R, m"}},
		"a job whose rule holds":         {ruled + "status: {succeeded: 1, conditions: [{type: Complete, status: 'True'}]}}", &v1beta1.FinishedRun{SpecHash: "h", Succeeded: true, RuleHeld: ptr.To(true)}},
		"a job whose rule does not hold": {ruled + "status: {conditions: [{type: Complete, status: 'True'}]}}", &v1beta1.FinishedRun{SpecHash: "h", Succeeded: true, RuleHeld: ptr.To(false)}},
		"a job of another group":         {"{apiVersion: batch.example.test/v1, kind: Job, metadata: {name: j}, status: {conditions: [{type: Complete, status: 'True'}]}}", nil},
		"a pod that runs":                {pod + "status: {phase: Running}}", nil},
		"a pod that succeeded":           {pod + "status: {phase: Succeeded}}", &v1beta1.FinishedRun{Succeeded: true}},
		"a pod that failed":              {pod + "status: {phase: Failed}}", &v1beta1.FinishedRun{Cause: "a container failed"}},
		"a pod over its deadline":        {pod + "status: {phase: Failed, reason: DeadlineExceeded}}", &v1beta1.FinishedRun{Cause: "DeadlineExceeded"}},
		"a pod that was evicted":         {pod + "status: {phase: Failed, reason: Evicted}}", nil},
		"a pod that was preempted":       {pod + "status: {phase: Failed, conditions: [{type: DisruptionTarget, status: 'True'}]}}", nil},
		"a pod that is restarted":        {always + "status: {phase: Failed}}", nil},
		"a job with a hash of others":    {marked + "status: {conditions: [{type: Complete, status: 'True'}]}}", &v1beta1.FinishedRun{SpecHash: strings.Repeat("h", 128), Succeeded: true}},
		"a deployment":                   {"{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := Finished(object(t, tc.object), rules)
			if (got == nil) != (tc.want == nil) || got != nil && (got.SpecHash != tc.want.SpecHash || got.Succeeded != tc.want.Succeeded ||
				got.Cause != tc.want.Cause || !ptr.Equal(got.RuleHeld, tc.want.RuleHeld)) {
				t.Errorf("got %+v; want %+v", got, tc.want)
			}
		})
	}
}

func TestTraced(t *testing.T) {
	told := func(component, reason, message string) unstructured.Unstructured {
		return *object(t, "{apiVersion: v1, kind: Event, metadata: {name: e}, reason: "+reason+", message: "+message+", source: {component: "+component+"}}")
	}
	event := func(component, reason string) unstructured.Unstructured { return told(component, reason, "m") }
	for name, tc := range map[string]struct {
		events []unstructured.Unstructured
		want   *v1beta1.FinishedRun
	}{
		"no events":      {nil, nil},
		"it began":       {[]unstructured.Unstructured{event("job-controller", "SuccessfulCreate"), event("job-controller", "Suspended")}, nil},
		"it is complete": {[]unstructured.Unstructured{event("job-controller", "SuccessfulCreate"), event("job-controller", "Completed")}, &v1beta1.FinishedRun{Succeeded: true}},
		"it failed":      {[]unstructured.Unstructured{event("job-controller", "DeadlineExceeded")}, &v1beta1.FinishedRun{Cause: "DeadlineExceeded, m"}},
		"at length": {[]unstructured.Unstructured{told("job-controller", "DeadlineExceeded", strings.Repeat("é", 1000))},
			&v1beta1.FinishedRun{Cause: "DeadlineExceeded, " + strings.Repeat("é", 503)}},
		"half a character": {[]unstructured.Unstructured{told("job-controller", "DeadlineExceeded", "m"+strings.Repeat("é", 1000))},
			&v1beta1.FinishedRun{Cause: "DeadlineExceeded, m" + strings.Repeat("é", 502)}},
		"another one told so": {[]unstructured.Unstructured{event("someone", "Completed")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Traced(tc.events); (got == nil) != (tc.want == nil) || got != nil && *got != *tc.want {
				t.Errorf("got %+v; want %+v", got, tc.want)
			}
		})
	}
}

func TestFinishedObjectsAreNotCreatedAgain(t *testing.T) {
	const plain = "{apiVersion: batch/v1, kind: Job, metadata: {namespace: n, name: j}, spec: {parallelism: 1}}"
	const ruled = "{apiVersion: batch/v1, kind: Job, metadata: {namespace: n, name: j, annotations: {kubernetes-fleet.io/available-when: x}}, spec: {parallelism: 1}}"
	hash, err := SpecHash(object(t, plain))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		manifest  string
		run       *v1beta1.FinishedRun
		strategy  v1beta1.ApplyStrategyType
		verb      Verb
		available string
	}{
		"never ran":                {plain, nil, "", Create, ""},
		"ran with other content":   {plain, &v1beta1.FinishedRun{SpecHash: "other", Succeeded: true}, "", Create, ""},
		"succeeded":                {plain, &v1beta1.FinishedRun{SpecHash: hash, Succeeded: true}, "", Ran, v1beta1.ReasonManifestNotTrackable},
		"failed":                   {plain, &v1beta1.FinishedRun{SpecHash: hash, Cause: "c"}, "", Ran, v1beta1.ReasonManifestNotTrackable},
		"succeeded before a rule":  {ruled, &v1beta1.FinishedRun{SpecHash: hash, Succeeded: true}, "", Ran, v1beta1.ReasonManifestAvailable},
		"failed before a rule":     {ruled, &v1beta1.FinishedRun{SpecHash: hash, Cause: "c"}, "", Ran, v1beta1.ReasonManifestNotAvailableYet},
		"failed as the rule wants": {ruled, &v1beta1.FinishedRun{SpecHash: hash, Cause: "c", RuleHeld: ptr.To(true)}, "", Ran, v1beta1.ReasonManifestAvailable},
		"succeeded, no good":       {ruled, &v1beta1.FinishedRun{SpecHash: hash, Succeeded: true, RuleHeld: ptr.To(false)}, "", Ran, v1beta1.ReasonManifestNotAvailableYet},
		"is only compared":         {plain, &v1beta1.FinishedRun{SpecHash: hash, Succeeded: true}, v1beta1.ApplyStrategyTypeReportDiff, Compared, ""},
	} {
		t.Run(name, func(t *testing.T) {
			strategy := (&v1beta1.ApplyStrategy{Type: tc.strategy}).WithDefaults()
			action, err := Decide(Input{Manifest: object(t, tc.manifest), Strategy: strategy, Finished: tc.run})
			if err != nil || action.Verb != tc.verb || action.Available.Reason != tc.available {
				t.Errorf("got %s, %+v, %v; want %s, %s", action.Verb, action.Available, err, tc.verb, tc.available)
			}
		})
	}
}
