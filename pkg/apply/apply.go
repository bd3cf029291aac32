// Package apply decides what a member agent does to its cluster for one Work: which manifests can be understood, in which order they
// go, what each does to the object it finds (create, patch, nothing, refuse, wait), whether that object is available, and which objects
// of the ledger have left the Work. Manifests, live objects and the ledger come in as values; nothing here talks to a server.
// The member's applier is its only user.
package apply

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Verb is what to do with one manifest.
type Verb string

// The verbs.
const (
	// Create: the object is not there.
	Create Verb = "Create"
	// Patch: the object differs from the manifest, or is to be taken over.
	Patch Verb = "Patch"
	// Nothing: the object is ours and carries all the manifest says.
	Nothing Verb = "Nothing"
	// Refuse: the strategy, or somebody else's claim, forbids touching the object. It is left as it is.
	Refuse Verb = "Refuse"
	// Wait: the object cannot be touched now, and its next event will tell when it can.
	Wait Verb = "Wait"
)

// Verdict is a condition's reason and message.
type Verdict struct {
	Reason, Message string
}

// Action says what to do with one manifest and how to report it.
type Action struct {
	Verb Verb
	// Object is what to create.
	Object *unstructured.Unstructured
	// Type and Body are the patch. Force is for server-side apply only.
	Type  types.PatchType
	Body  []byte
	Force bool
	// Migrate, if set, is a JSON patch to send first: it turns fields we own through client-side writes into fields we own through
	// server-side apply, without which the apply would conflict with ourselves.
	Migrate []byte
	// Applied is how to report the manifest once the action is done.
	Applied Verdict
}

// Input is what a decision about one manifest needs.
type Input struct {
	// Manifest is the object as the Work holds it.
	Manifest *unstructured.Unstructured
	// Live is the object on the member; nil if there is none.
	Live *unstructured.Unstructured
	// Owner is the AppliedWork of the Work.
	Owner Owner
	// Strategy must have its defaults; see Defaulted.
	Strategy v1beta1.ApplyStrategy
	// Abandoned holds the names of AppliedWorks that have no Work any more: they are no obstacle to taking an object over.
	Abandoned sets.Set[string]
}

// Defaulted returns the strategy with the defaults of the API filled in; nil is all defaults.
func Defaulted(s *v1beta1.ApplyStrategy) v1beta1.ApplyStrategy {
	var out v1beta1.ApplyStrategy
	if s != nil {
		out = *s.DeepCopy()
	}
	if out.Type == "" {
		out.Type = v1beta1.ApplyStrategyTypeClientSideApply
	}
	if out.ComparisonOption == "" {
		out.ComparisonOption = v1beta1.ComparisonOptionPartialComparison
	}
	if out.WhenToApply == "" {
		out.WhenToApply = v1beta1.WhenToApplyAlways
	}
	if out.WhenToTakeOver == "" {
		out.WhenToTakeOver = v1beta1.WhenToTakeOverAlways
	}
	return out
}

// Decide says what to do with one manifest. It fails only when the merge cannot be computed; the error may quote values.
func Decide(in Input) (Action, error) {
	if in.Strategy.Type == v1beta1.ApplyStrategyTypeReportDiff {
		return refuse(v1beta1.ReasonManifestFailedToReportDiff,
			"Differences cannot be reported by this agent; nothing was changed on the member cluster"), nil
	}
	want, err := prepare(in.Manifest)
	if err != nil {
		return Action{}, err
	}
	applied := verdict(in.Strategy)
	if in.Live == nil {
		return Action{Verb: Create, Object: want.first(in.Owner, in.Strategy), Applied: applied}, nil
	}
	if at := in.Live.GetDeletionTimestamp(); at != nil {
		return Action{Verb: Wait, Applied: Verdict{v1beta1.ReasonManifestApplyFailed, terminating(in.Live)}}, nil
	}
	claim := claimed(in)
	if claim.refusal.Reason != "" {
		return Action{Verb: Refuse, Applied: claim.refusal}, nil
	}
	change, err := want.changes(in, claim)
	if err != nil {
		return Action{}, err
	}
	if no := forbidden(in, claim, want, change); no.Reason != "" {
		return Action{Verb: Refuse, Applied: no}, nil
	}
	if change.empty() {
		return Action{Verb: Nothing, Applied: applied}, nil
	}
	action, err := change.action(in)
	action.Applied = applied
	return action, err
}

// verdict is how a manifest is reported that was applied under strategy s.
func verdict(s v1beta1.ApplyStrategy) Verdict {
	if s.ComparisonOption == v1beta1.ComparisonOptionFullComparison {
		return Verdict{v1beta1.ReasonManifestAppliedWithFailedDriftDetection,
			"Applied, but fields the manifest does not set cannot be compared by this agent"}
	}
	return Verdict{v1beta1.ReasonManifestApplied, "Applied"}
}

// forbidden says why an object that may be ours must still not be changed: because it differs where the strategy wants no difference
// overwritten. Merging says whether it differs in what the manifest sets; a full comparison cannot be done, so it is never assumed clean.
func forbidden(in Input, c claim, want *wanted, change *change) Verdict {
	full := in.Strategy.ComparisonOption == v1beta1.ComparisonOptionFullComparison
	switch {
	case c.takeOver && in.Strategy.WhenToTakeOver == v1beta1.WhenToTakeOverIfNoDiff && full:
		return Verdict{v1beta1.ReasonManifestFailedToTakeOver,
			"Not taken over: whenToTakeOver is IfNoDiff, and fields the manifest does not set cannot be compared by this agent"}
	case c.takeOver && in.Strategy.WhenToTakeOver == v1beta1.WhenToTakeOverIfNoDiff && change.content:
		return Verdict{v1beta1.ReasonManifestFailedToTakeOver,
			"Not taken over: the object on the member cluster differs from the manifest, and whenToTakeOver is IfNoDiff"}
	case c.takeOver || in.Strategy.WhenToApply != v1beta1.WhenToApplyIfNotDrifted || in.Live.GetAnnotations()[contract.AnnotationSpecHash] != want.hash:
		return Verdict{}
	case full:
		return Verdict{v1beta1.ReasonManifestFailedToRunDriftDetection,
			"Not applied: whenToApply is IfNotDrifted, and fields the manifest does not set cannot be compared by this agent"}
	case change.content:
		return Verdict{v1beta1.ReasonManifestFoundDrifts,
			"Not applied: the object was changed on the member cluster, and whenToApply is IfNotDrifted"}
	}
	return Verdict{}
}

func refuse(reason, message string) Action {
	return Action{Verb: Refuse, Applied: Verdict{reason, message}}
}

func terminating(live *unstructured.Unstructured) string {
	const was = "An earlier object of this name is being deleted on the member cluster"
	if held := live.GetFinalizers(); len(held) > 0 {
		return fmt.Sprintf("%s; its finalizers hold it: %s", was, few(held))
	}
	return was
}

// few joins the first three of words.
func few(words []string) string {
	out := ""
	for i, w := range words {
		if i == 3 {
			return fmt.Sprintf("%s and %d more", out, len(words)-i)
		}
		if i > 0 {
			out += ", "
		}
		out += w
	}
	return out
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

// Owns says whether obj carries exactly our owner reference.
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
