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

// RoleBindingName is the RoleBinding of that Role.
func RoleBindingName(member string) string { return "fleet-rolebinding-" + member }

// QuotaName is the ResourceQuota in the same namespace. KubeFleet has none.
func QuotaName(member string) string { return "fleet-quota-" + member }

// PolicySnapshotName is the name of a placement's policy snapshot with the given index.
func PolicySnapshotName(placement string, index int) string {
	return placement + "-" + strconv.Itoa(index)
}

// MasterSnapshotName is the name of the first snapshot in a placement's resource snapshot group with the given index.
func MasterSnapshotName(placement string, index int) string {
	return fmt.Sprintf("%s-%d-snapshot", placement, index)
}

// MasterIndex parses the index in the name of a group's first snapshot; ok is false for a name that MasterSnapshotName
// does not produce.
func MasterIndex(placement, master string) (index int, ok bool) {
	digits, ok := strings.CutPrefix(master, placement+"-")
	if !ok {
		return 0, false
	}
	digits = strings.TrimSuffix(digits, "-snapshot")
	n, err := strconv.ParseInt(digits, 10, 32)
	index = int(n)
	return index, err == nil && index >= 0 && MasterSnapshotName(placement, index) == master
}

// BeforeStageApproval is the name of the approval request that an update run waits for before it begins a stage.
func BeforeStageApproval(run, stage string) string { return run + "-before-" + stage }

// AfterStageApproval is the name of the approval request that an update run waits for before it ends a stage.
func AfterStageApproval(run, stage string) string { return run + "-after-" + stage }

// SubSnapshotName is the name of another snapshot of the group; sub counts from 0.
func SubSnapshotName(placement string, index, sub int) string {
	return fmt.Sprintf("%s-%d-%d", placement, index, sub)
}

// OverrideSnapshotName is the name of an override's snapshot with the given index.
func OverrideSnapshotName(override string, index int) string {
	return override + "-" + strconv.Itoa(index)
}

// OverrideOf is the inverse of OverrideSnapshotName; ok is false for any other name.
func OverrideOf(snapshot string) (override string, ok bool) {
	at := strings.LastIndexByte(snapshot, '-')
	if at <= 0 {
		return "", false
	}
	override = snapshot[:at]
	index, err := strconv.ParseInt(snapshot[at+1:], 10, 32)
	return override, err == nil && OverrideSnapshotName(override, int(index)) == snapshot
}

// Maximum lengths of the placement and cluster names within a binding's name, so that the whole is a DNS-1123 label of
// at most 63 characters.
const (
	bindingPlacementLength = 26
	bindingClusterLength   = 27
)

// BindingName is <placement>-<cluster>-<8 characters>, with shortened names. The last part is derived from seed:
// making the same decision twice produces the same name, so the second create fails instead of creating a second
// binding.
func BindingName(placement, cluster, seed string) string {
	sum := sha256.Sum256([]byte(seed))
	return cut(placement, bindingPlacementLength) + "-" + cut(cluster, bindingClusterLength) + "-" + hex.EncodeToString(sum[:4])
}

// cut shortens s and makes it valid within a DNS label: dots become dashes, and it does not end in a dash.
func cut(s string, n int) string {
	s = strings.ReplaceAll(s, ".", "-")
	if len(s) > n {
		s = s[:n]
	}
	return strings.TrimRight(s, "-")
}

// WorkBase is the prefix of the names of a placement's Works: <name>, or <namespace>.<name>.
func WorkBase(namespace, placement string) string {
	if namespace == "" {
		return placement
	}
	return namespace + "." + placement
}

// OtherWorkName is the name of a placement's Work if another placement's Work has the usual name: cluster-wide a.b and
// b in namespace a have the same WorkBase. It has a suffix that no usual name has, and contains the scope, so the
// names of two placements never collide.
func OtherWorkName(usual, namespace string) string {
	if namespace == "" {
		return usual + "-cluster-scoped"
	}
	return usual + "-namespaced"
}

// WorkName is the name of the Work for a group's master snapshot (sub < 0) or for its other snapshot sub.
func WorkName(base string, sub int) string {
	if sub < 0 {
		return base + "-work"
	}
	return base + "-" + strconv.Itoa(sub)
}

// EnvelopeWorkName is the name of the Work for one envelope; work is the name of the Work for the snapshot that
// contains the envelope.
func EnvelopeWorkName(work, kind, namespace, name string) string {
	sum := sha256.Sum256([]byte(kind + "/" + namespace + "/" + name))
	return work + "-envelope-" + hex.EncodeToString(sum[:8])
}

// MostOfName is the maximum length of the name of a placement, an override or an envelope: derived objects have the
// name in a label value, which may not be longer.
const MostOfName = validation.LabelValueMaxLength

// FitsLabel reports whether derived objects can have the name of a placement, an override or an envelope in a label.
// For other names there are no derived objects.
func FitsLabel(name string) bool { return len(name) <= MostOfName }

// ReservedNamespace reports whether a namespace is reserved (fleet-* or kube-*): it is never placed and not for users.
func ReservedNamespace(name string) bool {
	return strings.HasPrefix(name, "fleet-") || strings.HasPrefix(name, "kube-")
}

// Hash is the lower-case hex SHA-256 of v's JSON, the form of every hash on the wire. A nil v hashes as null. It
// returns an error only for values that JSON cannot represent.
func Hash(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("hash %T: %w", v, err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
