package snapshot

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// PolicyStep is what to write so that a placement's policy snapshots are right. Nothing in it is shared with what was read.
type PolicyStep struct {
	// Create is the snapshot to make, nil if there is none to make.
	Create v1beta1.PolicySnapshotObject
	// Marks go after Create.
	Marks []Mark
	// Prune are snapshots beyond the history limit.
	Prune []v1beta1.PolicySnapshotObject
	// Latest is the name of the snapshot in force afterwards.
	Latest string
}

// LatestPolicy is the policy snapshot in force: the highest of those labelled so, or the highest of all if none is.
func LatestPolicy(all []v1beta1.PolicySnapshotObject) v1beta1.PolicySnapshotObject {
	var latest v1beta1.PolicySnapshotObject
	for _, s := range byPolicyIndex(all) {
		if latest == nil || isLatest(s) || !isLatest(latest) {
			latest = s
		}
	}
	return latest
}

// byPolicyIndex orders snapshots by index and leaves out those without a readable one.
func byPolicyIndex(all []v1beta1.PolicySnapshotObject) []v1beta1.PolicySnapshotObject {
	out := slices.DeleteFunc(slices.Clone(all), func(s v1beta1.PolicySnapshotObject) bool { return policyIndex(s) < 0 })
	slices.SortFunc(out, func(a, b v1beta1.PolicySnapshotObject) int { return cmp.Compare(policyIndex(a), policyIndex(b)) })
	return out
}

func policyIndex(s v1beta1.PolicySnapshotObject) int {
	index, ok := number(s.GetLabels()[contract.LabelPolicyIndex])
	if !ok {
		return -1
	}
	return index
}

// Policy decides about the policy snapshots of placement, which are existing. How many clusters are wanted is not part of what a
// snapshot holds: it changes in an annotation, and with it the decisions about the clusters there are stay as they are.
func Policy(placement v1beta1.PlacementObject, existing []v1beta1.PolicySnapshotObject) (PolicyStep, error) {
	spec := placement.GetSpec()
	policy := spec.Policy.DeepCopy()
	if policy != nil {
		policy.NumberOfClusters = nil
	}
	hash, err := contract.Hash(policy)
	if err != nil {
		return PolicyStep{}, fmt.Errorf("policy of placement %s: %w", placement.GetName(), err)
	}
	existing = byPolicyIndex(existing)
	annotations := map[string]string{contract.AnnotationGeneration: strconv.FormatInt(placement.GetGeneration(), 10)}
	if spec.Policy != nil && spec.Policy.PlacementType == v1beta1.PlacementTypePickN && spec.Policy.NumberOfClusters != nil {
		annotations[contract.AnnotationNumberOfClusters] = strconv.Itoa(int(*spec.Policy.NumberOfClusters))
	}
	var step PolicyStep
	latest := LatestPolicy(existing)
	if latest == nil || !bytes.Equal(latest.GetSpec().PolicyHash, []byte(hash)) {
		step.Create = newPolicy(placement, existing, policy, hash, annotations)
		latest = step.Create
	}
	step.Latest = latest.GetName()
	kept := 0
	if step.Create != nil {
		kept = 1
	}
	for i := len(existing) - 1; i >= 0; i-- {
		s := existing[i]
		switch kept++; {
		case s.GetName() == step.Latest:
			if mark, ok := refresh(s, annotations); ok {
				step.Marks = append(step.Marks, mark)
			}
		case kept > History(spec):
			step.Prune = append(step.Prune, s)
		case isLatest(s):
			step.Marks = append(step.Marks, latestMark(s.GetName(), false))
		}
	}
	return step, nil
}

func newPolicy(placement v1beta1.PlacementObject, existing []v1beta1.PolicySnapshotObject, policy *v1beta1.PlacementPolicy, hash string,
	annotations map[string]string) v1beta1.PolicySnapshotObject {
	index := 0
	if len(existing) > 0 {
		index = policyIndex(existing[len(existing)-1]) + 1
	}
	name := contract.PolicySnapshotName(placement.GetName(), index)
	s := scope.PolicySnapshots.New(types.NamespacedName{Namespace: placement.GetNamespace(), Name: name})
	adopt(s, placement, name)
	s.GetLabels()[contract.LabelPolicyIndex] = strconv.Itoa(index)
	s.GetLabels()[contract.LabelLatest] = strconv.FormatBool(true)
	s.SetAnnotations(annotations)
	s.GetSpec().Policy = policy
	s.GetSpec().PolicyHash = []byte(hash)
	return s
}

// refresh makes the latest snapshot say so, and have annotations. ok is false if it does.
func refresh(s v1beta1.PolicySnapshotObject, annotations map[string]string) (mark Mark, ok bool) {
	mark = Mark{Name: s.GetName()}
	if !isLatest(s) {
		mark.Labels = latestMark("", true).Labels
	}
	for _, key := range []string{contract.AnnotationGeneration, contract.AnnotationNumberOfClusters} {
		is, has := s.GetAnnotations()[key]
		should, wanted := annotations[key]
		if has == wanted && is == should {
			continue
		}
		if mark.Annotations == nil {
			mark.Annotations = map[string]*string{}
		}
		mark.Annotations[key] = nil
		if wanted {
			mark.Annotations[key] = &should
		}
	}
	return mark, mark.Labels != nil || mark.Annotations != nil
}
