package snapshot

import (
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// settling is how long the group before the latest is kept even if the history limit is exceeded, because a rollout
// may be writing its name to a binding that the cache does not contain yet. It does not apply once a binding names the
// latest group: then the rollout uses that one, and the history has its limit when the placement's status shows that
// the latest group has arrived.
const settling = 2 * time.Second

// defaultHistory is the number of snapshots kept if a placement sets no limit.
const defaultHistory = 10

// History returns the number of policy snapshots, and of groups of resource snapshots, that a placement keeps.
func History(spec *v1beta1.PlacementSpec) int {
	if spec.RevisionHistoryLimit == nil {
		return defaultHistory
	}
	return int(*spec.RevisionHistoryLimit)
}

// Step contains the writes that a placement's resource snapshots need. It shares nothing with the arguments.
type Step struct {
	// Remove these first: parts of incomplete groups whose names are needed. Deleting a missing one is not an error.
	Remove []v1beta1.ResourceSnapshotObject
	// Create Parts, in any order, before Master, so that a client that reads a master snapshot finds a complete group.
	// Master is nil if the group exists.
	Parts  []v1beta1.ResourceSnapshotObject
	Master v1beta1.ResourceSnapshotObject
	// Apply Relabels after Master.
	Relabels []Relabel
	// Prune are snapshots beyond the history limit.
	Prune []v1beta1.ResourceSnapshotObject
	// Latest is the name of the master snapshot of the latest group after these writes, and Index its index.
	Latest string
	Index  int
	// Again is when to decide again without an event; zero for never.
	Again time.Duration
}

// Resources decides about the resource snapshots of placement. groups are its groups; content is its current
// selection. inUse are the names of the master snapshots that bindings have, or had when they were last healthy: their
// groups are kept, regardless of the limit.
func Resources(placement v1beta1.PlacementObject, groups []Group, content Content, inUse map[string]bool, now time.Time) Step {
	latest, ok := Latest(groups)
	parts := Cut(content.Items, PartLimit)
	if !ok || latest.Hash() != content.Hash || latest.Count() != len(parts) {
		return create(placement, groups, content, parts, inUse, now)
	}
	step := Step{Latest: latest.Master.GetName(), Index: latest.Index}
	for i, items := range parts[1:] {
		if latest.Parts[i] == nil {
			step.Parts = append(step.Parts, part(placement, latest.Index, i, items))
		}
	}
	step.finish(placement, groups, latest.Index, latest.Master.GetCreationTimestamp().Time, inUse, now)
	return step
}

// create creates a new group.
func create(placement v1beta1.PlacementObject, groups []Group, content Content, parts [][]Item, inUse map[string]bool, now time.Time) Step {
	index := 0
	for _, g := range groups {
		if g.Master != nil {
			index = max(index, g.Index+1)
		}
	}
	// Snapshots may have been lost: a name that a binding still has must not get another content.
	for name := range inUse {
		if lost, ok := contract.MasterIndex(placement.GetName(), name); ok {
			index = max(index, lost+1)
		}
	}
	step := Step{Latest: contract.MasterSnapshotName(placement.GetName(), index), Index: index}
	for _, g := range groups {
		if g.Index >= index {
			step.Remove = append(step.Remove, g.all()...)
		}
	}
	for i, items := range parts[1:] {
		step.Parts = append(step.Parts, part(placement, index, i, items))
	}
	master := scoped(placement, step.Latest, index, parts[0])
	master.GetLabels()[contract.LabelLatest] = strconv.FormatBool(true)
	annotate(master, parts[0], map[string]string{
		contract.AnnotationResourceHash:  content.Hash,
		contract.AnnotationSnapshotCount: strconv.Itoa(len(parts)),
		contract.AnnotationEnvelopeCount: strconv.Itoa(content.envelopes()),
	})
	step.Master = master
	step.finish(placement, groups, index, now, inUse, now)
	return step
}

// finish adds labels and pruning: latest is the index of the latest group, which exists since created.
func (s *Step) finish(placement v1beta1.PlacementObject, groups []Group, latest int, created time.Time, inUse map[string]bool, now time.Time) {
	for _, g := range groups {
		if g.Master != nil && isLatest(g.Master) != (g.Index == latest) {
			s.Relabels = append(s.Relabels, relabelLatest(g.Master.GetName(), g.Index == latest))
		}
	}
	s.prune(groups, latest, created, inUse, now, History(placement.GetSpec()))
}

// prune removes the oldest groups until limit are left, including the latest. It also removes the parts of groups
// without a master snapshot, which no agent can use.
func (s *Step) prune(groups []Group, latest int, created time.Time, inUse map[string]bool, now time.Time, limit int) {
	var old []Group
	for _, g := range groups {
		switch {
		case g.Index == latest:
		case g.Master != nil:
			old = append(old, g)
		case g.Index < latest:
			s.Prune = append(s.Prune, g.all()...)
		}
	}
	excess := len(old) + 1 - limit
	for i, g := range old {
		if excess <= 0 {
			return
		}
		if inUse[g.Master.GetName()] {
			continue
		}
		if wait := created.Add(settling).Sub(now); i == len(old)-1 && wait > 0 && !inUse[s.Latest] {
			s.Again = wait
			continue
		}
		s.Prune = append(s.Prune, g.all()...)
		excess--
	}
}

// part returns a snapshot that is not the first of its group.
func part(placement v1beta1.PlacementObject, index, number int, items []Item) v1beta1.ResourceSnapshotObject {
	s := scoped(placement, contract.SubSnapshotName(placement.GetName(), index, number), index, items)
	annotate(s, items, map[string]string{contract.AnnotationSubindex: strconv.Itoa(number)})
	return s
}

// annotate sets the annotations of a snapshot that contains items.
func annotate(s v1beta1.ResourceSnapshotObject, items []Item, annotations map[string]string) {
	origins := make([]string, len(items))
	for i, item := range items {
		origins[i] = item.Origin
	}
	if text := contract.JoinOrigins(origins); text != "" {
		annotations[contract.AnnotationOrigins] = text
	}
	s.SetAnnotations(annotations)
}

// scoped returns a snapshot of the placement's scope.
func scoped(placement v1beta1.PlacementObject, name string, index int, items []Item) v1beta1.ResourceSnapshotObject {
	key := types.NamespacedName{Namespace: placement.GetNamespace(), Name: name}
	s := scope.ResourceSnapshots.New(key)
	adopt(s, placement, name)
	s.GetLabels()[contract.LabelResourceIndex] = strconv.Itoa(index)
	selected := make([]v1beta1.ResourceContent, len(items))
	for i, item := range items {
		selected[i] = v1beta1.ResourceContent{RawExtension: runtime.RawExtension{Raw: item.Raw}}
	}
	s.GetSpec().SelectedResources = selected
	return s
}

// adopt sets the name of an object and makes the placement its owner.
func adopt(o v1beta1.Object, placement v1beta1.PlacementObject, name string) {
	o.SetNamespace(placement.GetNamespace())
	o.SetName(name)
	o.SetLabels(map[string]string{contract.LabelPlacement: placement.GetName()})
	// The prefix of a condition type is the kind. The type meta of an object read by a typed client is empty.
	owner := v1beta1.GroupVersion.WithKind(placement.ConditionType(""))
	o.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(placement, owner)})
}
