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

// Finite reports whether objects of a kind can run to completion. A controller may delete them as soon as they do.
func Finite(kind schema.GroupKind) bool {
	return kind == job || kind == pod
}

var (
	job = schema.GroupKind{Group: "batch", Kind: "Job"}
	pod = schema.GroupKind{Kind: "Pod"}
)

// Finished returns how the run of an object ended; nil if it has not ended. A Job has ended when it is complete or has
// failed for good; a Pod, when its containers have exited and are not restarted. A Pod that its node or the scheduler
// stopped has not completed its run.
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
		// The kubelet sets a reason when it stops a Pod itself; a Pod that exceeded its own deadline has completed its
		// run.
		reason := text(obj, "status", "reason")
		disrupted := health.Condition(obj, string(corev1.DisruptionTarget))["status"] == "True"
		if disrupted || reason != "" && reason != deadlineExceeded {
			return nil
		}
		return &v1beta1.FinishedRun{Cause: cmp.Or(reason, "a container failed")}
	}
	return nil
}

// mostHash and mostCause are the maximal lengths of the fields of a FinishedRun.
const mostHash, mostCause = 128, 1024

// first is the beginning of a text, at most n bytes. Texts in objects and events may be longer than an AppliedWork
// permits.
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

// Traced returns how a Job ended according to the events of its controller; nil if they show no end. They do not show
// which content ran.
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

// ran is the decision about an object that ran to completion with the content of the manifest, and has been or is
// being deleted: it is not run again. decided is false if the manifest must be applied.
func (w *wanted) ran(in Input) (action Action, decided bool) {
	if in.Finished == nil || in.Finished.SpecHash != w.hash {
		return Action{}, false
	}
	how := "It completed"
	if !in.Finished.Succeeded {
		how = fmt.Sprintf("It failed (%s)", in.Finished.Cause)
	}
	return Action{
		Verb: Ran, Available: concluded(in.Finished, w.object),
		Applied: Finding{v1beta1.ReasonManifestApplied, how + " and was deleted from the member cluster; it runs again when its content changes"},
	}, true
}

// concluded reports whether a finished object that is gone counts as available: if it did when it ended. A rule that
// it did not have then is evaluated by whether it succeeded.
func concluded(run *v1beta1.FinishedRun, manifest *unstructured.Unstructured) Finding {
	switch {
	case health.Rule(manifest) == "":
		return untracked
	case run.RuleHeld != nil && *run.RuleHeld, run.RuleHeld == nil && run.Succeeded:
		return available
	case !run.Succeeded:
		return Finding{v1beta1.ReasonManifestNotAvailableYet, "It failed and was deleted: " + run.Cause}
	}
	return Finding{v1beta1.ReasonManifestNotAvailableYet, fmt.Sprintf("The rule in its annotation %s was not fulfilled when it ended, and it was deleted "+
		"since; change its content to run it again", contract.AnnotationAvailableWhen)}
}
