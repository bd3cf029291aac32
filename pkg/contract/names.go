package contract

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// MemberNamespace is the namespace on the hub that belongs to member.
func MemberNamespace(member string) string { return namespaceMember + member }

// MemberOf is the inverse of MemberNamespace; ok is false for any other namespace.
func MemberOf(namespace string) (member string, ok bool) {
	member, ok = strings.CutPrefix(namespace, namespaceMember)
	return member, ok && member != ""
}

// RoleName is the member's Role in its namespace on the hub.
func RoleName(member string) string { return "fleet-role-" + member }

// RoleBindingName is the RoleBinding beside it.
func RoleBindingName(member string) string { return "fleet-rolebinding-" + member }

// QuotaName is the ResourceQuota beside them. It is ours, not KubeFleet's.
func QuotaName(member string) string { return "fleet-quota-" + member }

// PolicySnapshotName is the name of a placement's policy snapshot index.
func PolicySnapshotName(placement string, index int) string {
	return placement + "-" + strconv.Itoa(index)
}

// MasterSnapshotName is the name of the first snapshot of a placement's resource group index.
func MasterSnapshotName(placement string, index int) string {
	return fmt.Sprintf("%s-%d-snapshot", placement, index)
}

// MasterIndex reads the index from the name of a group's first snapshot; ok is false for a name that MasterSnapshotName does not make.
func MasterIndex(placement, master string) (index int, ok bool) {
	digits, ok := strings.CutPrefix(master, placement+"-")
	if !ok {
		return 0, false
	}
	digits, ok = strings.CutSuffix(digits, "-snapshot")
	n, err := strconv.ParseInt(digits, 10, 32)
	return int(n), ok && err == nil && n >= 0
}

// BeforeStageApproval is the name of the approval request that an update run waits for before it begins a stage.
func BeforeStageApproval(run, stage string) string { return run + "-before-" + stage }

// AfterStageApproval is the name of the approval request that an update run waits for before it ends a stage.
func AfterStageApproval(run, stage string) string { return run + "-after-" + stage }

// SubSnapshotName is the name of a further snapshot of the group; sub counts from 0.
func SubSnapshotName(placement string, index, sub int) string {
	return fmt.Sprintf("%s-%d-%d", placement, index, sub)
}

// OverrideSnapshotName is the name of snapshot index of an override.
func OverrideSnapshotName(override string, index int) string {
	return override + "-" + strconv.Itoa(index)
}

// OverrideOf is the inverse of OverrideSnapshotName; ok is false for any other name.
func OverrideOf(snapshot string) (override string, ok bool) {
	at := strings.LastIndexByte(snapshot, '-')
	if at <= 0 {
		return "", false
	}
	_, err := strconv.ParseUint(snapshot[at+1:], 10, 32)
	return snapshot[:at], err == nil
}

// The longest pieces of placement and cluster name that a binding's name keeps, so that the whole is a DNS-1123 label of at most 63.
const (
	bindingPlacementLength = 26
	bindingClusterLength   = 27
)

// BindingName is <placement>-<cluster>-<8 characters>, each name cut to what fits. The last part is derived from seed, so that
// deciding the same thing twice makes the same name and the second create fails instead of making a twin.
func BindingName(placement, cluster, seed string) string {
	sum := sha256.Sum256([]byte(seed))
	return cut(placement, bindingPlacementLength) + "-" + cut(cluster, bindingClusterLength) + "-" + hex.EncodeToString(sum[:4])
}

// cut shortens s and keeps it usable inside a DNS label: dots become dashes, and it does not end in a dash.
func cut(s string, n int) string {
	s = strings.ReplaceAll(s, ".", "-")
	if len(s) > n {
		s = s[:n]
	}
	return strings.TrimRight(s, "-")
}

// WorkBase is what the names of a placement's Works begin with: the name, or <namespace>.<name>.
func WorkBase(namespace, placement string) string {
	if namespace == "" {
		return placement
	}
	return namespace + "." + placement
}

// OtherWorkName is what a Work of a placement is called if its usual name is taken by that of another placement: cluster-wide a.b and b in
// namespace a have the same WorkBase. It ends as no usual name does, and names the scope, so that no two placements have one in common.
func OtherWorkName(usual, namespace string) string {
	if namespace == "" {
		return usual + "-cluster-scoped"
	}
	return usual + "-namespaced"
}

// WorkName is the Work of a group's master snapshot (sub < 0) or of its further snapshot sub.
func WorkName(base string, sub int) string {
	if sub < 0 {
		return base + "-work"
	}
	return base + "-" + strconv.Itoa(sub)
}

// EnvelopeWorkName is the Work of one envelope; work is the name of the Work of the snapshot that holds the envelope.
func EnvelopeWorkName(work, kind, namespace, name string) string {
	sum := sha256.Sum256([]byte(kind + "/" + namespace + "/" + name))
	return work + "-envelope-" + hex.EncodeToString(sum[:8])
}

// MostOfName is how many characters the name of a placement, an override or an envelope may have: what is made for it carries the name in a
// label, and those hold no more.
const MostOfName = validation.LabelValueMaxLength

// ReservedNamespace says whether a namespace is never propagated and never a user's: fleet-* and kube-*.
func ReservedNamespace(name string) bool {
	return strings.HasPrefix(name, "fleet-") || strings.HasPrefix(name, "kube-")
}

// Hash is the lower-case hex SHA-256 of v's JSON, the form of every hash on the wire. A nil v hashes as null.
// It fails only for values that JSON cannot hold.
func Hash(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("hash %T: %w", v, err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
