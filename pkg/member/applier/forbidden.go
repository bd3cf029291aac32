package applier

import (
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// allowing names the permission that the member's owner can add to allow what err refuses; "" if err is of another
// kind. Quotas and admission plugins answer Forbidden too; only the text of the answer distinguishes them from a lack
// of permissions.
func allowing(err error) string {
	var status apierrors.APIStatus
	if !apierrors.IsForbidden(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return ""
	}
	s := status.Status()
	switch {
	case strings.Contains(s.Message, "is attempting to grant RBAC permissions not currently held"):
		return "; the member's owner can allow it with rbac.escalate: true in the member agent's chart, or give the agent these permissions"
	case strings.Contains(s.Message, fmt.Sprintf("resource %q in API group %q", s.Details.Kind, s.Details.Group)):
		return fmt.Sprintf("; the member's owner can allow it with this rule, in rbac.placeable of the member agent's chart or in a ClusterRole of its "+
			"ServiceAccount: {apiGroups: [%q], resources: [%q], verbs: [get, list, watch, create, update, patch, delete]}", s.Details.Group, resourceOf(s.Details))
	}
	return ""
}

// resourceOf is the resource without its subresource.
func resourceOf(d *metav1.StatusDetails) string {
	resource, _, _ := strings.Cut(d.Kind, "/")
	return resource
}
