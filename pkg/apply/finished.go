package apply

import (
	"cmp"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/health"
)

// Finite says whether objects of a kind can run to an end. Their controllers may remove them then, in the same moment.
func Finite(kind schema.GroupKind) bool {
	return kind == job || kind == pod
}

var (
	job = schema.GroupKind{Group: "batch", Kind: "Job"}
	pod = schema.GroupKind{Kind: "Pod"}
)

// Finished returns how an object ended that runs once; nil if it has not ended. A Job is over when it is complete or
// has failed for good; a Pod is when its containers have exited and are not restarted. A Pod that its node or the
// scheduler stopped has not run to its end.
func Finished(obj *unstructured.Unstructured, rules *health.Rules) *v1beta1.FinishedRun {
	var out *v1beta1.FinishedRun
	switch obj.GroupVersionKind().GroupKind() {
	case job:
		out = finishedJob(obj)
	case pod:
		out = finishedPod(obj)
	}
	if out == nil {
		return nil
	}
	out.SpecHash = first(obj.GetAnnotations()[contract.AnnotationSpecHash], mostHash)
	out.Cause = first(out.Cause, mostCause)
	if health.Rule(obj) != "" {
		state, _ := health.Of(obj, rules)
		out.RuleHeld = ptr.To(state == health.Available)
	}
	return out
}

func finishedJob(obj *unstructured.Unstructured) *v1beta1.FinishedRun {
	switch {
	case health.Condition(obj, string(batchv1.JobComplete))["status"] == "True":
		return &v1beta1.FinishedRun{Succeeded: true}
	case health.Condition(obj, string(batchv1.JobFailed))["status"] == "True":
		return &v1beta1.FinishedRun{Cause: health.Cause(obj, string(batchv1.JobFailed), "True")}
	}
	return nil
}

func finishedPod(obj *unstructured.Unstructured) *v1beta1.FinishedRun {
	if corev1.RestartPolicy(text(obj, "spec", "restartPolicy")) == corev1.RestartPolicyAlways {
		return nil
	}
	switch corev1.PodPhase(text(obj, "status", "phase")) {
	case corev1.PodSucceeded:
		return &v1beta1.FinishedRun{Succeeded: true}
	case corev1.PodFailed:
		// The kubelet gives a reason when it stops a Pod itself; one that is over its own deadline has had its run.
		reason := text(obj, "status", "reason")
		disrupted := health.Condition(obj, string(corev1.DisruptionTarget))["status"] == "True"
		if disrupted || reason != "" && reason != deadlineExceeded {
			return nil
		}
		return &v1beta1.FinishedRun{Cause: cmp.Or(reason, "a container failed")}
	}
	return nil
}

// mostHash and mostCause are how long the fields of a FinishedRun may be.
const mostHash, mostCause = 128, 1024

// first is the beginning of a text, at most n bytes. What an object or an event holds may be longer than what an AppliedWork can.
func first(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "")
}

func text(obj *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(obj.Object, path...)
	return s
}

const deadlineExceeded = "DeadlineExceeded"

// Traced returns how a Job ended by the events that its controller left of it; nil if they show no end. Which content
// ran they do not show.
func Traced(events []unstructured.Unstructured) *v1beta1.FinishedRun {
	for i := range events {
		e := &events[i]
		if text(e, "source", "component") != "job-controller" {
			continue
		}
		switch reason := text(e, "reason"); reason {
		case "Completed":
			return &v1beta1.FinishedRun{Succeeded: true}
		case batchv1.JobReasonBackoffLimitExceeded, batchv1.JobReasonDeadlineExceeded, batchv1.JobReasonPodFailurePolicy,
			batchv1.JobReasonFailedIndexes, batchv1.JobReasonMaxFailedIndexesExceeded:
			return &v1beta1.FinishedRun{Cause: first(reason+", "+text(e, "message"), mostCause)}
		}
	}
	return nil
}

// ran is the decision about an object that ran to its end with the content of the manifest, and has been removed or is
// about to be: it is not run again. decided is false if the manifest must be applied.
func (w *wanted) ran(in Input) (action Action, decided bool) {
	if in.Finished == nil || in.Finished.SpecHash != w.hash {
		return Action{}, false
	}
	how := "It ran to its end"
	if !in.Finished.Succeeded {
		how = fmt.Sprintf("It failed (%s)", in.Finished.Cause)
	}
	return Action{
		Verb: Ran, Available: concluded(in.Finished, w.object),
		Applied: Verdict{v1beta1.ReasonManifestApplied, how + " and was removed from the member cluster; it runs again when its content changes"},
	}, true
}

// concluded says whether an object is available that is over and gone: if it was when it ended. A rule that it did not
// have then asks whether it succeeded.
func concluded(run *v1beta1.FinishedRun, manifest *unstructured.Unstructured) Verdict {
	switch {
	case health.Rule(manifest) == "":
		return untracked
	case run.RuleHeld != nil && *run.RuleHeld, run.RuleHeld == nil && run.Succeeded:
		return available
	case !run.Succeeded:
		return Verdict{v1beta1.ReasonManifestNotAvailableYet, "It failed and was removed: " + run.Cause}
	}
	return Verdict{v1beta1.ReasonManifestNotAvailableYet, fmt.Sprintf("The rule in its annotation %s did not hold when it ended, and it was removed "+
		"since; change its content to run it again", contract.AnnotationAvailableWhen)}
}
