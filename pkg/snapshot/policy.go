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

// PolicyStep contains the writes that a placement's policy snapshots need. It shares nothing with the arguments.
type PolicyStep struct {
	// Create is the snapshot to create, or nil.
	Create v1beta1.PolicySnapshotObject
	// Apply Relabels after Create.
	Relabels []Relabel
	// Prune are snapshots beyond the history limit.
	Prune []v1beta1.PolicySnapshotObject
	// Latest is the name of the latest snapshot after these writes.
	Latest string
}

// LatestPolicy returns the latest policy snapshot: the highest one with the label, or the highest of all if none has
// it.
func LatestPolicy(all []v1beta1.PolicySnapshotObject) v1beta1.PolicySnapshotObject {
	var latest v1beta1.PolicySnapshotObject
	for _, s := range byPolicyIndex(all) {
		if latest == nil || isLatest(s) || !isLatest(latest) {
			latest = s
		}
	}
	return latest
}

// byPolicyIndex sorts snapshots by index and omits those without a valid one.
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

// Policy decides about the policy snapshots of placement. existing are its snapshots. The desired number of clusters,
// the policies for failover and for replicas and the seconds of tolerations are not part of a snapshot's policy, so
// that existing scheduling decisions stay valid when they change: the number is in an annotation, and other agents
// read the rest from the placement.
func Policy(placement v1beta1.PlacementObject, existing []v1beta1.PolicySnapshotObject) (PolicyStep, error) {
	spec := placement.GetSpec()
	policy := spec.Policy.DeepCopy()
	if policy != nil {
		policy.NumberOfClusters, policy.Failover, policy.Replicas = nil, nil, nil
		for i := range policy.Tolerations {
			policy.Tolerations[i].TolerationSeconds = nil
		}
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
			if relabel, ok := refresh(s, annotations); ok {
				step.Relabels = append(step.Relabels, relabel)
			}
		case kept > History(spec):
			step.Prune = append(step.Prune, s)
		case isLatest(s):
			step.Relabels = append(step.Relabels, relabelLatest(s.GetName(), false))
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

// refresh returns the change that gives the latest snapshot its label and annotations. ok is false if it has them.
func refresh(s v1beta1.PolicySnapshotObject, annotations map[string]string) (relabel Relabel, ok bool) {
	relabel = Relabel{Name: s.GetName()}
	if !isLatest(s) {
		relabel.Labels = relabelLatest("", true).Labels
	}
	for _, key := range []string{contract.AnnotationGeneration, contract.AnnotationNumberOfClusters} {
		is, has := s.GetAnnotations()[key]
		should, wanted := annotations[key]
		if has == wanted && is == should {
			continue
		}
		if relabel.Annotations == nil {
			relabel.Annotations = map[string]*string{}
		}
		relabel.Annotations[key] = nil
		if wanted {
			relabel.Annotations[key] = &should
		}
	}
	return relabel, relabel.Labels != nil || relabel.Annotations != nil
}
