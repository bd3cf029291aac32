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

// ConditionHeld is True on what keeps objects on a member that no Work lists any more: on a Work, or on an AppliedWork without one.
const ConditionHeld = "Held"

const (
	// ReasonWorkWentBack means that the objects were placed by a later state of the Work, or by an earlier Work of its name.
	ReasonWorkWentBack = "WorkWentBack"
	// ReasonWorkIncomplete means that the Work has not as many manifests as the hub's agent gave it.
	ReasonWorkIncomplete = "WorkIncomplete"
	// ReasonKindNotServed means that the API server of the member does not serve the kind of the objects now.
	ReasonKindNotServed = "KindNotServed"
	// ReasonWorkVanished means that the hub has no such Work any more, and that the agent has not seen its deletion.
	ReasonWorkVanished = "WorkVanished"
	// ReasonObjectsKept means that a Work was deleted, and that some of what is recorded for it must not go with it.
	ReasonObjectsKept = "ObjectsKept"
	// ReasonForeignContent means that a namespace left the Work and holds objects that were not placed.
	ReasonForeignContent = "ForeignContent"
	// ReasonLedgerOfAnother means that the AppliedWork was made for another hub or another member of the fleet.
	ReasonLedgerOfAnother = "LedgerOfAnother"
)

// staying is the condition of a Work that does not list everything that stays on the member for it, or nil. With several causes it has
// the reason of the first, and the messages of all.
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
		"They were placed by a later state of this Work, or by an earlier Work of its name, as after restoring the hub from a backup. "+
		"Place them again, or release them on the member cluster with the annotation %s=%s, which removes them",
		quoted(few(objects)), contract.AnnotationHeld, contract.HeldRelease))
}

// lacking says that manifests were taken out of the Work by another client than the hub agent.
func lacking(generation int64, objects []string) metav1.Condition {
	objects = slices.Sorted(slices.Values(objects))
	return yes(generation, ConditionHeld, ReasonWorkIncomplete, fmt.Sprintf("Kept on the member cluster although this Work does not list them: %s. "+
		"The Work has another number of manifests than the hub agent gave it (annotation %s), so another client changed it. "+
		"The next rollout puts it right; to have the objects removed, release them on the member cluster with the annotation %s=%s",
		quoted(few(objects)), contract.AnnotationManifests, contract.AnnotationHeld, contract.HeldRelease))
}

// unserved names objects that left the Work and that the agent cannot read.
func unserved(generation int64, objects []string) metav1.Condition {
	objects = slices.Sorted(slices.Values(objects))
	return yes(generation, ConditionHeld, ReasonKindNotServed, fmt.Sprintf("The member cluster does not serve the kinds of objects that this Work "+
		"does not list any more: %s. They are removed once it does. If a kind is gone for good, so are its objects, and there is nothing to do",
		quoted(few(objects))))
}

// Vanished says on an AppliedWork that it is kept although its Work is gone from the hub, how to get rid of it, and how not to. count is
// how many objects it lists, namespace where on the hub the agent looks for Works.
func Vanished(old v1beta1.AppliedWorkStatus, work v1beta1.AppliedWorkSpec, namespace string, now metav1.Time) v1beta1.AppliedWorkStatus {
	status := *old.DeepCopy()
	where := fmt.Sprintf("The hub has no Work %s in namespace %s", work.WorkName, namespace)
	if namespace != work.WorkNamespace {
		where += fmt.Sprintf(" (these objects were applied when this cluster was the member of namespace %s)", work.WorkNamespace)
	}
	wanted := yes(0, ConditionHeld, ReasonWorkVanished, fmt.Sprintf("%s, and this agent has not seen its deletion: %d objects are kept as they are. "+
		"They are looked after again when a Work of that name is there. To remove them, delete this AppliedWork; "+
		"to keep them and forget where they came from, delete it with --cascade=orphan", where, len(old.AppliedResources)))
	status.Conditions = merge(old.Conditions, []metav1.Condition{wanted}, now)
	return status
}

// mostKept is how many of the objects that a message names.
const mostKept = 10

// Few names the first of objects, and how many more there are.
func Few(objects []string) string { return brief.List(objects, mostKept) }

// Kept is the status of an AppliedWork whose Work was deleted and whose entries stay, for the reasons in objects.
func Kept(old v1beta1.AppliedWorkStatus, entries []v1beta1.AppliedResourceMeta, objects []string, now metav1.Time) v1beta1.AppliedWorkStatus {
	status := *old.DeepCopy()
	status.AppliedResources = entries
	slices.Sort(objects)
	wanted := yes(0, ConditionHeld, ReasonObjectsKept, fmt.Sprintf("The Work was deleted, and these objects are kept: %s. To remove them and what they hold, "+
		"delete this AppliedWork; to keep them and forget where they came from, delete it with --cascade=orphan", quoted(Few(objects))))
	status.Conditions = merge(old.Conditions, []metav1.Condition{wanted}, now)
	return status
}

// IsKept says whether an AppliedWork has the status that Kept gave it.
func IsKept(status v1beta1.AppliedWorkStatus) bool {
	c := meta.FindStatusCondition(status.Conditions, ConditionHeld)
	return c != nil && c.Reason == ReasonObjectsKept
}

// occupied is set on a Work that namespaces have left in which others have objects.
func occupied(generation int64, objects []string) metav1.Condition {
	objects = slices.Sorted(slices.Values(objects))
	return yes(generation, ConditionHeld, ReasonForeignContent, fmt.Sprintf("Kept on the member cluster although this Work does not list them: %s. "+
		"They are removed when that is gone; set deleteStrategy.foreignContent of the placement to Delete to remove them with everything in them",
		quoted(Few(objects))))
}

// contested is set on a Work whose AppliedWork was made for another hub or member.
func contested(generation int64, message string) metav1.Condition {
	return yes(generation, ConditionHeld, ReasonLedgerOfAnother, message)
}

// Contested is the status of an AppliedWork that a Work of another hub or member wants.
func Contested(old v1beta1.AppliedWorkStatus, message string, now metav1.Time) v1beta1.AppliedWorkStatus {
	status := *old.DeepCopy()
	status.Conditions = merge(old.Conditions, []metav1.Condition{contested(0, message)}, now)
	return status
}

// Found is the status of an AppliedWork whose Work is there.
func Found(old v1beta1.AppliedWorkStatus) v1beta1.AppliedWorkStatus {
	status := *old.DeepCopy()
	status.Conditions = nil
	return status
}
