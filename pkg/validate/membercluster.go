package validate

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// MemberCluster returns what is wrong in a MemberCluster that is created.
func MemberCluster(c *clusterv1beta1.MemberCluster) (wrong field.ErrorList) {
	for _, problem := range validation.IsDNS1123Label(contract.MemberNamespace(c.Name)) {
		wrong = append(wrong, field.Invalid(namePath, c.Name, fmt.Sprintf("the hub keeps a namespace %s for the cluster, whose name is not valid: %s",
			contract.MemberNamespace(c.Name), problem)))
	}
	return append(wrong, taints(c.Spec.Taints, specPath.Child("taints"))...)
}

// MemberClusterUpdate returns why a MemberCluster must not be changed from old to c. One that is being deleted is not
// checked, nor are taints that the update leaves as they are.
func MemberClusterUpdate(old, c *clusterv1beta1.MemberCluster) field.ErrorList {
	if leaving(c) || equality.Semantic.DeepEqual(old.Spec.Taints, c.Spec.Taints) {
		return nil
	}
	return taints(c.Spec.Taints, specPath.Child("taints"))
}

// MemberClusterDeletion returns why a MemberCluster must not be deleted; exports are the names of the services that it
// exports to the fleet and that are not being deleted.
func MemberClusterDeletion(c *clusterv1beta1.MemberCluster, exports []string) field.ErrorList {
	if len(exports) == 0 || SkipsDeletion(c) {
		return nil
	}
	return field.ErrorList{field.Forbidden(specPath.Child("deleteOptions", "validationMode"), fmt.Sprintf("the cluster exports services to the "+
		"fleet: %s; delete its ServiceExports, or set the mode to Skip", brief.List(exports, mostNamed)))}
}

// SkipsDeletion reports whether a MemberCluster may be deleted whatever it exports.
func SkipsDeletion(c *clusterv1beta1.MemberCluster) bool {
	return c.Spec.DeleteOptions != nil && c.Spec.DeleteOptions.ValidationMode == clusterv1beta1.DeleteValidationModeSkip
}

// mostNamed is how many objects a message names.
const mostNamed = 10

func taints(list []clusterv1beta1.Taint, path *field.Path) (wrong field.ErrorList) {
	for i, t := range list {
		at := path.Index(i)
		for _, problem := range validation.IsQualifiedName(t.Key) {
			wrong = append(wrong, field.Invalid(at.Child("key"), t.Key, problem))
		}
		for _, problem := range validation.IsValidLabelValue(t.Value) {
			wrong = append(wrong, field.Invalid(at.Child("value"), t.Value, problem))
		}
	}
	duplicates(list, func(t clusterv1beta1.Taint) clusterv1beta1.Taint { return t }, func(i int) {
		wrong = append(wrong, field.Duplicate(path.Index(i), list[i]))
	})
	return wrong
}

// HubObject returns why an object that would run or guard workloads on the hub must not be created in a namespace of
// users.
func HubObject(kind, namespace string) field.ErrorList {
	if contract.ReservedNamespace(namespace) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("metadata", "namespace"), fmt.Sprintf("%s cannot be directly created in the hub cluster, "+
		"which runs no workloads of users; create it on a member cluster, or place what makes it there", kind))}
}
