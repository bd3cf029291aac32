package report

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// ConditionHeld is True on a Work, or on an AppliedWork without a Work, for which objects that no Work lists are kept
// on the member.
const ConditionHeld = "Held"

const (
	// ReasonWorkWentBack means that the objects were placed by a later state of the Work, or by an earlier Work of its
	// name.
	ReasonWorkWentBack = "WorkWentBack"
	// ReasonWorkIncomplete means that the number of manifests in the Work differs from the number that the hub agent
	// wrote.
	ReasonWorkIncomplete = "WorkIncomplete"
	// ReasonKindNotServed means that the API server of the member does not serve the kind of the objects.
	ReasonKindNotServed = "KindNotServed"
	// ReasonWorkVanished means that the Work does not exist on the hub, and that the agent has not seen its deletion.
	ReasonWorkVanished = "WorkVanished"
	// ReasonObjectsKept means that a Work was deleted, and that some of the objects recorded for it must not be
	// removed.
	ReasonObjectsKept = "ObjectsKept"
	// ReasonForeignContent means that a namespace left the Work and holds objects that the fleet did not place.
	ReasonForeignContent = "ForeignContent"
	// ReasonBeyondRemovalLimit means that the hub wants more removed than the member agent's flags allow.
	ReasonBeyondRemovalLimit = "BeyondRemovalLimit"
	// ReasonLedgerOfAnother means that the AppliedWork belongs to another hub or another member of the fleet.
	ReasonLedgerOfAnother = "LedgerOfAnother"
)

// staying returns the condition of a Work if objects that it does not list stay on the member; nil otherwise. With
// several causes it has the reason of the first, and the messages of all.
func staying(generation int64, pass Pass) []metav1.Condition {
	var all []metav1.Condition
	switch {
	case pass.Contested != "":
		all = append(all, contested(generation, pass.Contested))
	case len(pass.Held) > 0 && pass.Incomplete:
		all = append(all, lacking(generation, pass.Held))
	case len(pass.Held) > 0:
		all = append(all, held(generation, pass.Held))
	}
	if pass.Braked != "" {
		all = append(all, yes(generation, ConditionHeld, ReasonBeyondRemovalLimit, pass.Braked))
	}
	if len(pass.Occupied) > 0 {
		all = append(all, occupied(generation, pass.Occupied))
	}
	if len(pass.Unserved) > 0 {
		all = append(all, unserved(generation, pass.Unserved))
	}
	if len(all) == 0 {
		return nil
	}
	messages := make([]string, len(all))
	for i, c := range all {
		messages[i] = c.Message
	}
	all[0].Message = strings.Join(messages, ". ")
	return all[:1]
}

func held(generation int64, objects []string) metav1.Condition {
	objects = slices.Sorted(slices.Values(objects))
	return yes(generation, ConditionHeld, ReasonWorkWentBack, fmt.Sprintf("Kept on the member cluster although this Work does not list them: %s. "+
		"They were placed by a later state of this Work, or by an earlier Work of its name, for example before the hub was restored from a backup. "+
		"Place them again, or release them on the member cluster with the annotation %s=%s, which removes them",
		quoted(brief.List(objects, mostNamed)), contract.AnnotationHeld, contract.HeldRelease))
}

// lacking is the condition if another client than the hub agent removed manifests from the Work.
func lacking(generation int64, objects []string) metav1.Condition {
	objects = slices.Sorted(slices.Values(objects))
	return yes(generation, ConditionHeld, ReasonWorkIncomplete, fmt.Sprintf("Kept on the member cluster although this Work does not list them: %s. "+
		"The number of manifests in the Work differs from the number that the hub agent wrote (annotation %s), so another client modified it. "+
		"The next rollout corrects it; to remove the objects, release them on the member cluster with the annotation %s=%s",
		quoted(brief.List(objects, mostNamed)), contract.AnnotationManifests, contract.AnnotationHeld, contract.HeldRelease))
}

// unserved is the condition for objects that left the Work and that the agent cannot read.
func unserved(generation int64, objects []string) metav1.Condition {
	objects = slices.Sorted(slices.Values(objects))
	return yes(generation, ConditionHeld, ReasonKindNotServed, fmt.Sprintf("The member cluster does not serve the kinds of objects that this Work "+
		"no longer lists: %s. The agent removes them once their kind is served. If a kind was deleted, its objects were deleted too and no action is needed",
		quoted(brief.List(objects, mostNamed))))
}

// Vanished returns the status of an AppliedWork that is kept although its Work does not exist on the hub. The message
// explains how to remove it and how to keep the objects, and has the number of objects. namespace is where on the hub
// the agent reads Works.
func Vanished(old v1beta1.AppliedWorkStatus, work v1beta1.AppliedWorkSpec, namespace string, now metav1.Time) v1beta1.AppliedWorkStatus {
	status := *old.DeepCopy()
	where := fmt.Sprintf("The hub has no Work %s in namespace %s", work.WorkName, namespace)
	if namespace != work.WorkNamespace {
		where += fmt.Sprintf(" (these objects were applied when this cluster was the member of namespace %s)", work.WorkNamespace)
	}
	wanted := yes(0, ConditionHeld, ReasonWorkVanished, fmt.Sprintf("%s, and this agent has not seen its deletion: %d objects are kept as they are. "+
		"The agent manages them again when a Work of that name exists. To remove them, delete this AppliedWork; "+
		"to keep them without further management, delete it with --cascade=orphan", where, len(old.AppliedResources)))
	status.Conditions, status.HeldRemoval = merge(old.Conditions, []metav1.Condition{wanted}, now), nil
	return status
}

// MostKept is how many objects the message of a kept AppliedWork names.
const MostKept = 10

// Kept returns the status of an AppliedWork whose Work was deleted and whose entries stay. Each of objects includes
// its reason.
func Kept(old v1beta1.AppliedWorkStatus, entries []v1beta1.AppliedResourceMeta, objects []string, now metav1.Time) v1beta1.AppliedWorkStatus {
	status := *old.DeepCopy()
	status.AppliedResources = entries
	slices.Sort(objects)
	wanted := yes(0, ConditionHeld, ReasonObjectsKept, fmt.Sprintf("The Work was deleted, and these objects are kept: %s. To remove them and their contents, "+
		"delete this AppliedWork; to keep them without further management, delete it with --cascade=orphan", quoted(brief.List(objects, MostKept))))
	status.Conditions = merge(old.Conditions, []metav1.Condition{wanted}, now)
	return status
}

// IsKept reports whether an AppliedWork has the status that Kept returns.
func IsKept(status v1beta1.AppliedWorkStatus) bool {
	c := meta.FindStatusCondition(status.Conditions, ConditionHeld)
	return c != nil && c.Reason == ReasonObjectsKept
}

// occupied is the condition of a Work if namespaces have left it that contain objects of other clients.
func occupied(generation int64, objects []string) metav1.Condition {
	objects = slices.Sorted(slices.Values(objects))
	return yes(generation, ConditionHeld, ReasonForeignContent, fmt.Sprintf("Kept on the member cluster although this Work does not list them: %s. "+
		"They are removed once those objects are gone; set deleteStrategy.foreignContent of the placement to Delete to remove them with everything in them",
		quoted(brief.List(objects, MostKept))))
}

// contested is the condition of a Work whose AppliedWork belongs to another hub or member.
func contested(generation int64, message string) metav1.Condition {
	return yes(generation, ConditionHeld, ReasonLedgerOfAnother, message)
}

// Contested returns the status of an AppliedWork that a Work of another hub or member claims.
func Contested(old v1beta1.AppliedWorkStatus, message string, now metav1.Time) v1beta1.AppliedWorkStatus {
	status := *old.DeepCopy()
	status.Conditions = merge(old.Conditions, []metav1.Condition{contested(0, message)}, now)
	return status
}

// Found returns the status of an AppliedWork whose Work exists.
func Found(old v1beta1.AppliedWorkStatus) v1beta1.AppliedWorkStatus {
	status := *old.DeepCopy()
	status.Conditions = nil
	return status
}
