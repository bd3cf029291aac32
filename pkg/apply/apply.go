// Package apply decides what a member agent does on its cluster for one Work: which manifests are valid, in which
// order they are applied, what happens to each live object (create, patch, nothing, refuse, wait), how its
// availability is reported, and which objects of the ledger have left the Work. Manifests, live objects and the ledger
// come in as values; the package sends no requests. Its only user is the member's applier.
package apply

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
)

// Verb is what to do with one manifest.
type Verb string

// The verbs.
const (
	// Create: the object does not exist.
	Create Verb = "Create"
	// Patch: the object differs from the manifest, or has to be taken over.
	Patch Verb = "Patch"
	// Nothing: the object is ours and has every field of the manifest.
	Nothing Verb = "Nothing"
	// Refuse: the strategy, or another owner, forbids changing the object. It is left unchanged.
	Refuse Verb = "Refuse"
	// Wait: the object cannot be changed now; its next event starts another decision.
	Wait Verb = "Wait"
	// Try: make a dry run of applying Object to the live object, and decide again with the answer. If the API server
	// refuses for another reason than an invalid outcome, make a dry run of the patch.
	Try Verb = "Try"
	// Ran: the object ran to completion with the content of the manifest and was deleted. It is not created again.
	Ran Verb = "Ran"
	// Compared: the strategy is ReportDiff, and the object is compared.
	Compared Verb = "Compared"
)

// Finding is the reason and message of a condition.
type Finding struct {
	Reason, Message string
}

// Action is what to do with one manifest and how to report it.
type Action struct {
	Verb Verb
	// Object is the object to create or to try.
	Object *unstructured.Unstructured
	// Type and Body are the patch. Force is for server-side apply only.
	Type  types.PatchType
	Body  []byte
	Force bool
	// Migrate, if set, is a JSON patch to send first: it changes the ownership of our fields from client-side writes
	// to server-side apply; otherwise the apply would conflict with ourselves.
	Migrate []byte
	// Applied is the report once the action is done; with ReportDiff, Diffed is.
	Applied, Diffed Finding
	// Available is set with Ran, as there is no live object.
	Available Finding
	// Drifts are changes made on the member to an object of ours, Diffs the differences of an object that is not ours
	// or is only compared.
	Drifts, Diffs []v1beta1.PatchDetail
}

// Writes reports whether the action changes the member cluster.
func (a Action) Writes() bool { return a.Verb == Create || a.Verb == Patch }

// Trial is an API server's answer to Try.
type Trial struct {
	// Object is the live object after applying.
	Object *unstructured.Unstructured
	// Merged: server-side apply was refused, and Object is the live object after the patch. Its managed fields do not
	// show which fields the manifest set.
	Merged bool
	// Same, without an Object: an earlier dry run on an object of the same content showed no change.
	Same bool
	// Invalid: the outcome is invalid for the server. Failure is the server's message if there is no outcome.
	Invalid bool
	Failure string
}

// Input is the input of a decision about one manifest.
type Input struct {
	// Manifest is the object as the Work holds it.
	Manifest *unstructured.Unstructured
	// Live is the object on the member; nil if there is none.
	Live *unstructured.Unstructured
	// Owner is the AppliedWork of the Work.
	Owner Owner
	// Strategy must have its defaults.
	Strategy v1beta1.ApplyStrategy
	// Stamp describes, on the object, why it exists.
	Stamp Stamp
	// Abandoned holds the names of AppliedWorks without a Work: their objects may be taken over.
	Abandoned sets.Set[string]
	// Finished is how the run of Live, or of the earlier object, ended; nil if it has not, or that is unknown.
	Finished *v1beta1.FinishedRun
	// Autoscaled is whether an autoscaler of the member controls the replicas of Live.
	Autoscaled bool
	// Trial is the answer to an earlier Try; nil if there was none.
	Trial *Trial
}

func (in Input) full() bool {
	return in.Strategy.ComparisonOption == v1beta1.ComparisonOptionFullComparison
}

// Decide decides about one manifest. It fails only if the merge cannot be computed; the error may quote values.
func Decide(in Input) (Action, error) {
	want, err := prepare(in.Manifest, in.Stamp)
	if err != nil {
		return Action{}, err
	}
	if delivery.Compared(&in.Strategy) {
		return want.compared(in), nil
	}
	done := Finding{v1beta1.ReasonManifestApplied, "Applied"}
	if in.Live == nil || in.Live.GetDeletionTimestamp() != nil {
		if action, over := want.ran(in); over {
			return action, nil
		}
	}
	if in.Live == nil {
		want.annotate(in, claim{})
		return Action{Verb: Create, Object: want.first(in.Owner), Applied: done}, nil
	}
	if at := in.Live.GetDeletionTimestamp(); at != nil {
		return Action{Verb: Wait, Applied: Finding{v1beta1.ReasonManifestApplyFailed, terminating(in.Live)}}, nil
	}
	claim := claimed(in)
	if claim.refusal.Reason != "" {
		return Action{Verb: Refuse, Applied: claim.refusal}, nil
	}
	want.annotate(in, claim)
	change, err := want.changes(in, claim)
	if err != nil {
		return Action{}, err
	}
	if no, decided := want.spared(in, change); decided {
		return no, nil
	}
	if change.empty() {
		action := Action{Verb: Nothing, Applied: done}
		if in.full() {
			action.Drifts = want.details(in.Live)
		}
		return action, nil
	}
	if change.refusal != "" {
		return refuse(v1beta1.ReasonManifestApplyFailed, "Not applied: "+change.refusal), nil
	}
	action, err := change.action(in)
	action.Applied = done
	return action, err
}

// spared decides whether an object that may be ours must not be changed, or not yet: because it differs and the
// strategy forbids overwriting differences, or because it only looks different. Otherwise change may be carried out;
// the parts that the server would drop are removed from it.
func (w *wanted) spared(in Input, change *change) (Action, bool) {
	takeOver := change.claim.takeOver
	same := in.Live.GetAnnotations()[contract.AnnotationSpecHash] == w.hash
	switch {
	case takeOver && in.Strategy.WhenToTakeOver == v1beta1.WhenToTakeOverIfNoDiff && !in.inherited():
		return w.untaken(in)
	case takeOver || !same && !w.unmarked():
		return Action{}, false
	case same && change.surplus && !in.full() && held(w.yielding(in), in.Live):
		return Action{}, false // fields that the agent itself left are no drift
	case same && in.Strategy.WhenToApply == v1beta1.WhenToApplyIfNotDrifted:
		return w.drifted(in, change)
	case change.content && in.Trial == nil:
		return w.try(in), true
	case change.content && in.Trial.Failure == "" && !w.moves(in):
		change.quiet()
	}
	return Action{}, false
}

// untaken refuses to take over an object that differs.
func (w *wanted) untaken(in Input) (Action, bool) {
	found := w.differences(in)
	const why = "Not taken over: "
	switch {
	case found.ask:
		return w.try(in), true
	case found.failure != "":
		return refuse(v1beta1.ReasonManifestFailedToTakeOver, why+"the comparison failed, and whenToTakeOver is IfNoDiff: "+found.failure), true
	case len(found.details) > 0:
		action := refuse(v1beta1.ReasonManifestFailedToTakeOver,
			why+"the object on the member cluster differs from the manifest, and whenToTakeOver is IfNoDiff")
		action.Diffs = found.details
		return action, true
	}
	return Action{}, false
}

// drifted refuses to overwrite changes made on the member since this same manifest was applied.
func (w *wanted) drifted(in Input, change *change) (Action, bool) {
	if !in.full() && !change.content {
		return Action{}, false
	}
	found := w.differences(in)
	const why = "Not applied: "
	switch {
	case found.ask:
		return w.try(in), true
	case found.failure != "":
		return refuse(v1beta1.ReasonManifestFailedToRunDriftDetection,
			why+"the comparison failed, and whenToApply is IfNotDrifted: "+found.failure), true
	case len(found.details) > 0:
		action := refuse(v1beta1.ReasonManifestFoundDrifts, why+"the object was changed on the member cluster, and whenToApply is IfNotDrifted")
		if found.degraded {
			action.Applied.Reason = v1beta1.ReasonManifestFoundDriftsInDegradedMode
		}
		action.Drifts = found.details
		return action, true
	case !in.full() && !found.degraded && !w.moves(in):
		change.quiet()
	}
	return Action{}, false
}

// compared reports how an object differs and leaves it unchanged, regardless of its owner.
func (w *wanted) compared(in Input) Action {
	if in.Live == nil {
		return Action{Verb: Compared, Diffs: []v1beta1.PatchDetail{{Path: "/", ValueInHub: contract.TextWholeObject}},
			Diffed: Finding{v1beta1.ReasonManifestFoundDiff, "The object does not exist on the member cluster"}}
	}
	found := w.differences(in)
	switch {
	case found.ask:
		return w.try(in)
	case found.failure != "":
		return Action{Verb: Compared, Diffed: Finding{v1beta1.ReasonManifestFailedToReportDiff, "Not compared: " + found.failure}}
	case found.degraded && len(found.details) > 0:
		return Action{Verb: Compared, Diffs: found.details, Diffed: Finding{v1beta1.ReasonManifestFoundDiffInDegradedMode,
			"The API server of the member cluster does not accept the manifest, so all fields are compared"}}
	case len(found.details) > 0:
		return Action{Verb: Compared, Diffs: found.details,
			Diffed: Finding{v1beta1.ReasonManifestFoundDiff, "The object on the member cluster differs from the manifest"}}
	}
	return Action{Verb: Compared,
		Diffed: Finding{v1beta1.ReasonManifestNoDiffFound, "The object on the member cluster matches the manifest"}}
}

func refuse(reason, message string) Action {
	return Action{Verb: Refuse, Applied: Finding{reason, message}}
}

func terminating(live *unstructured.Unstructured) string {
	const was = "An earlier object of this name is being deleted on the member cluster"
	if finalizers := live.GetFinalizers(); len(finalizers) > 0 {
		return fmt.Sprintf("%s; it waits for its finalizers: %s", was, brief.List(finalizers, 3))
	}
	return was
}

// Owner is the AppliedWork that owns everything applied for one Work.
type Owner struct {
	Name string
	UID  types.UID
}

const ownerKind = "AppliedWork"

// Reference is the owner reference of an applied object.
func (o Owner) Reference() metav1.OwnerReference {
	block := true
	return metav1.OwnerReference{
		APIVersion: v1beta1.GroupVersion.String(), Kind: ownerKind, Name: o.Name, UID: o.UID, BlockOwnerDeletion: &block,
	}
}

// Owns reports whether obj has exactly our owner reference.
func (o Owner) Owns(obj metav1.Object) bool {
	for _, ref := range obj.GetOwnerReferences() {
		if o.is(ref) {
			return true
		}
	}
	return false
}

func (o Owner) is(ref metav1.OwnerReference) bool {
	return ref.UID == o.UID && ref.Name == o.Name && ref.Kind == ownerKind && ref.APIVersion == v1beta1.GroupVersion.String()
}
