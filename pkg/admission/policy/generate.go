package policy

import (
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Names of the policies; the binding of each has the suffix -binding.
const (
	WorkloadsName       = "deny-pods-and-replicasets-outside-reserved-namespaces"
	ServiceAccountsName = "deny-serviceaccounts-and-tokenrequests-in-reserved-namespaces"
)

// Labels mark every object that the manager writes. It deletes only objects that carry all of them.
func Labels() map[string]string {
	return map[string]string{
		"app.kubernetes.io/managed-by": "fleet-hub-agent",
		"app.kubernetes.io/part-of":    "fleet",
		"app.kubernetes.io/component":  "admission-policy-manager",
	}
}

// Policy is a policy with the binding that puts it in force.
type Policy struct {
	Policy  *admissionv1.ValidatingAdmissionPolicy
	Binding *admissionv1.ValidatingAdmissionPolicyBinding
}

// Generate returns the policies of a configuration, in the form in which the API server stores them: defaults are filled in.
func Generate(c Config) []Policy {
	var out []Policy
	if w := c.Workloads; w != nil {
		out = append(out, policy(WorkloadsName, "creating pods and replicas is disallowed in the fleet hub cluster", reserved(w.ReservedNamespacePrefixes),
			rule("", []string{"pods"}, admissionv1.Create),
			rule("apps", []string{"replicasets"}, admissionv1.Create)))
	}
	if s := c.ServiceAccounts; s != nil {
		users := append([]string{"system:kube-scheduler", "system:kube-controller-manager"}, s.WhitelistedUsernames...)
		groups := append([]string{"system:nodes", "system:masters", "kubeadm:cluster-admins", "system:serviceaccounts"}, s.WhitelistedUserGroups...)
		out = append(out, policy(ServiceAccountsName,
			"writing service accounts in reserved namespaces or requesting tokens from such service accounts is disallowed",
			fmt.Sprintf("!(%s) || request.userInfo.username in %s || request.userInfo.groups.exists(group, group in %s)",
				reserved(s.ReservedNamespacePrefixes), list(users), list(groups)),
			rule("", []string{"serviceaccounts"}, admissionv1.Create, admissionv1.Update, admissionv1.Delete),
			rule("", []string{"serviceaccounts/token"}, admissionv1.Create)))
	}
	return out
}

func policy(name, message, allowed string, rules ...admissionv1.NamedRuleWithOperations) Policy {
	return Policy{
		Policy: &admissionv1.ValidatingAdmissionPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: Labels()},
			Spec: admissionv1.ValidatingAdmissionPolicySpec{
				FailurePolicy: ptr.To(admissionv1.Fail),
				MatchConstraints: &admissionv1.MatchResources{
					ResourceRules: rules, MatchPolicy: ptr.To(admissionv1.Equivalent),
					NamespaceSelector: &metav1.LabelSelector{}, ObjectSelector: &metav1.LabelSelector{},
				},
				Validations: []admissionv1.Validation{{Expression: allowed, Message: message, Reason: ptr.To(metav1.StatusReasonForbidden)}},
			},
		},
		Binding: &admissionv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name + "-binding", Labels: Labels()},
			Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
			},
		},
	}
}

func rule(group string, resources []string, operations ...admissionv1.OperationType) admissionv1.NamedRuleWithOperations {
	return admissionv1.NamedRuleWithOperations{RuleWithOperations: admissionv1.RuleWithOperations{
		Operations: operations,
		Rule: admissionv1.Rule{
			APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: resources, Scope: ptr.To(admissionv1.AllScopes),
		},
	}}
}

// reserved is an expression: the request is for a namespace whose name begins with one of prefixes.
func reserved(prefixes []string) string {
	return fmt.Sprintf("%s.exists(prefix, request.namespace.startsWith(prefix))", list(prefixes))
}

// list is a list of strings in CEL. What Parse accepts needs no escapes.
func list(items []string) string { return "['" + strings.Join(items, "', '") + "']" }
