package guardrail

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

func user(name string, groups ...string) authenticationv1.UserInfo {
	return authenticationv1.UserInfo{Username: name, Groups: append(groups, "system:authenticated")}
}

var (
	anyone   = user("test-user")
	identity = user("spoke-1")
	admin    = user("kubernetes-admin", masters)
	account  = user("system:serviceaccount:fleet-system:hub-agent-sa", serviceAccounts)
)

// request is a write of an object of a resource, "group/version/Kind/resource" or with "/subresource".
func request(who authenticationv1.UserInfo, operation admissionv1.Operation, resource, namespace, name string) *admissionv1.AdmissionRequest {
	p := strings.Split(resource, "/")
	req := &admissionv1.AdmissionRequest{
		Kind:     metav1.GroupVersionKind{Group: p[0], Version: p[1], Kind: p[2]},
		Resource: metav1.GroupVersionResource{Group: p[0], Version: p[1], Resource: p[3]},
		UserInfo: who, Operation: operation, Namespace: namespace, Name: name,
	}
	if len(p) > 4 {
		req.SubResource = p[4]
	}
	return req
}

// check compares a decision; want is a part of the denial, empty if the request is allowed.
func check(t *testing.T, got error, want string) {
	t.Helper()
	switch {
	case want == "" && got != nil:
		t.Errorf("denied: %v; want it allowed", got)
	case want != "" && (got == nil || !strings.Contains(got.Error(), want)):
		t.Errorf("the decision is %v; want a denial with %q", got, want)
	}
}

func TestDefinitionsAndNamespaces(t *testing.T) {
	p := Policy{Admins: sets.New("ada")}
	for name, c := range map[string]struct {
		decide   func(*admissionv1.AdmissionRequest) error
		resource string
		object   string
		who      authenticationv1.UserInfo
		want     string
	}{
		"a definition of the fleet, anyone": {p.CustomResourceDefinition, "apiextensions.k8s.io/v1/CustomResourceDefinition/customresourcedefinitions",
			"works.placement.kubernetes-fleet.io", anyone, "user: 'test-user' in 'groups: [system:authenticated]' is not allowed to DELETE resource " +
				"apiextensions.k8s.io/v1, Kind=CustomResourceDefinition/: /works.placement.kubernetes-fleet.io"},
		"a definition of the fleet, a service account": {p.CustomResourceDefinition, "apiextensions.k8s.io/v1/CustomResourceDefinition/customresourcedefinitions",
			"works.placement.kubernetes-fleet.io", account, "is not allowed to DELETE"},
		"a definition of the fleet, an administrator": {p.CustomResourceDefinition, "apiextensions.k8s.io/v1/CustomResourceDefinition/customresourcedefinitions",
			"works.placement.kubernetes-fleet.io", admin, ""},
		"a definition of the fleet, a listed user": {p.CustomResourceDefinition, "apiextensions.k8s.io/v1/CustomResourceDefinition/customresourcedefinitions",
			"works.placement.kubernetes-fleet.io", user("ada"), ""},
		"a definition of a longer group": {p.CustomResourceDefinition, "apiextensions.k8s.io/v1/CustomResourceDefinition/customresourcedefinitions",
			"works.x.placement.kubernetes-fleet.io", anyone, ""},
		"another definition":                      {p.CustomResourceDefinition, "apiextensions.k8s.io/v1/CustomResourceDefinition/customresourcedefinitions", "kustomizations.flux.io", anyone, ""},
		"a namespace of the fleet, anyone":        {p.Namespace, "/v1/Namespace/namespaces", "fleet-x", anyone, "is not allowed to DELETE resource /v1, Kind=Namespace/: /fleet-x"},
		"a namespace of Kubernetes, anyone":       {p.Namespace, "/v1/Namespace/namespaces", "kube-x", anyone, "is not allowed to DELETE"},
		"a namespace of the fleet, a node":        {p.Namespace, "/v1/Namespace/namespaces", "fleet-x", user("n", nodes), ""},
		"a namespace of the fleet, the scheduler": {p.Namespace, "/v1/Namespace/namespaces", "fleet-x", user("system:kube-scheduler"), ""},
		"another namespace":                       {p.Namespace, "/v1/Namespace/namespaces", "fleet", anyone, ""},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, c.decide(request(c.who, admissionv1.Delete, c.resource, "", c.object)), c.want)
		})
	}
}

func TestNamespaced(t *testing.T) {
	identities := func(member string) (rbacv1.Subject, bool) {
		switch member {
		case "m":
			return rbacv1.Subject{Kind: rbacv1.UserKind, Name: "spoke-1"}, true
		case "g":
			return rbacv1.Subject{Kind: rbacv1.GroupKind, Name: "spokes"}, true
		}
		return rbacv1.Subject{}, false
	}
	const (
		imc    = "cluster.kubernetes-fleet.io/v1beta1/InternalMemberCluster/internalmemberclusters"
		work   = "placement.kubernetes-fleet.io/v1beta1/Work/works"
		export = "networking.fleet.azure.com/v1beta1/InternalServiceExport/internalserviceexports"
		pod    = "/v1/Pod/pods"
	)
	for name, c := range map[string]struct {
		who       authenticationv1.UserInfo
		operation admissionv1.Operation
		resource  string
		namespace string
		want      string
	}{
		"a user creates an InternalMemberCluster": {anyone, admissionv1.Create, imc, "fleet-member-m", "is not allowed to CREATE resource " +
			"cluster.kubernetes-fleet.io/v1beta1, Kind=InternalMemberCluster/: fleet-member-m/x"},
		"a user updates the status of a Work": {anyone, admissionv1.Update, work + "/status", "fleet-member-m", "is not allowed to UPDATE resource " +
			"placement.kubernetes-fleet.io/v1beta1, Kind=Work/status: fleet-member-m/x"},
		"the identity updates an InternalMemberCluster":          {identity, admissionv1.Update, imc + "/status", "fleet-member-m", ""},
		"the identity updates a Work":                            {identity, admissionv1.Update, work, "fleet-member-m", ""},
		"the identity as a service account":                      {user("system:serviceaccount:fleet-system:spoke-1"), admissionv1.Update, work, "fleet-member-m", ""},
		"the identity is a group":                                {user("spoke-2", "spokes"), admissionv1.Update, work, "fleet-member-g", ""},
		"another user than one of the group":                     {anyone, admissionv1.Update, work, "fleet-member-g", "is not allowed to UPDATE"},
		"the identity of another member":                         {identity, admissionv1.Update, work, "fleet-member-g", "is not allowed to UPDATE"},
		"the identity creates an InternalServiceExport":          {identity, admissionv1.Create, export, "fleet-member-m", ""},
		"a user updates an InternalServiceExport":                {anyone, admissionv1.Update, export, "fleet-member-m", "is not allowed to UPDATE"},
		"a user writes a Work of a member that is not known":     {anyone, admissionv1.Update, work, "fleet-member-unknown", ""},
		"the identity creates a pod":                             {identity, admissionv1.Create, pod, "fleet-member-m", "is not allowed to CREATE"},
		"a user creates a pod in fleet-system":                   {anyone, admissionv1.Create, pod, "fleet-system", "is not allowed to CREATE"},
		"a user creates an InternalServiceExport in kube-system": {anyone, admissionv1.Create, export, "kube-system", "is not allowed to CREATE"},
		"a user creates an event":                                {anyone, admissionv1.Create, "/v1/Event/events", "fleet-system", ""},
		"a user creates a newer event":                           {anyone, admissionv1.Create, "events.k8s.io/v1/Event/events", "fleet-system", ""},
		"a service account creates a pod in kube-system":         {account, admissionv1.Create, pod, "kube-system", ""},
		"an administrator updates a Work":                        {admin, admissionv1.Update, work, "fleet-member-m", ""},
		"a user creates a pod elsewhere":                         {anyone, admissionv1.Create, pod, "default", ""},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, Policy{}.Namespaced(request(c.who, c.operation, c.resource, c.namespace, "x"), identities), c.want)
		})
	}
}

func TestMemberCluster(t *testing.T) {
	const (
		location = "fleet.azure.com/location"
		standard = "is not allowed to "
		removed  = "no user is allowed to remove all fleet pre-fixed annotations from a fleet member cluster"
		added    = "no user is allowed to add a fleet pre-fixed annotation to an upstream member cluster"
	)
	managed := func(change ...func(*clusterv1beta1.MemberCluster)) *clusterv1beta1.MemberCluster {
		c := &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "m", Annotations: map[string]string{location: "east"}}}
		for _, f := range change {
			f(c)
		}
		return c
	}
	upstream := func(change ...func(*clusterv1beta1.MemberCluster)) *clusterv1beta1.MemberCluster {
		c := managed(change...)
		delete(c.Annotations, location)
		return c
	}
	annotate := func(key, value string) func(*clusterv1beta1.MemberCluster) {
		return func(c *clusterv1beta1.MemberCluster) { c.Annotations[key] = value }
	}
	label := func(key string) func(*clusterv1beta1.MemberCluster) {
		return func(c *clusterv1beta1.MemberCluster) { c.Labels = map[string]string{key: "x"} }
	}
	taint := func(c *clusterv1beta1.MemberCluster) {
		c.Spec.Taints = []clusterv1beta1.Taint{{Key: "k", Effect: corev1.TaintEffectNoSchedule}}
	}
	heartbeat := func(c *clusterv1beta1.MemberCluster) { c.Spec.HeartbeatPeriodSeconds = 30 }
	finalize := func(c *clusterv1beta1.MemberCluster) { c.Finalizers = []string{"a/b"} }
	reports := func(c *clusterv1beta1.MemberCluster) { c.Status.AgentStatus = []clusterv1beta1.AgentStatus{{}} }
	for name, c := range map[string]struct {
		who      authenticationv1.UserInfo
		old, new *clusterv1beta1.MemberCluster
		status   bool
		labels   bool
		want     string
	}{
		"a user creates a managed one":                        {who: anyone, new: managed(), want: standard + "CREATE"},
		"a user changes its annotation":                       {who: anyone, old: managed(), new: managed(annotate(location, "west")), want: standard + "UPDATE"},
		"a user removes its annotations":                      {who: anyone, old: managed(), new: upstream(), want: removed},
		"an administrator removes its annotations":            {who: admin, old: managed(), new: upstream(), want: removed},
		"a user deletes a managed one":                        {who: anyone, old: managed(), want: standard + "DELETE"},
		"a user labels a managed one":                         {who: anyone, old: managed(), new: managed(label("a"))},
		"a user annotates a managed one":                      {who: anyone, old: managed(), new: managed(annotate("a", "b"))},
		"an administrator changes its annotation":             {who: admin, old: managed(), new: managed(annotate(location, "west"))},
		"an administrator adds another annotation":            {who: admin, old: managed(), new: managed(annotate("fleet.azure.com/x", "y"))},
		"an administrator removes one of two annotations":     {who: admin, old: managed(annotate("fleet.azure.com/x", "y")), new: managed()},
		"a user taints a managed one":                         {who: anyone, old: managed(), new: managed(taint)},
		"an administrator writes the status of a managed one": {who: admin, old: managed(), new: managed(reports), status: true},
		"a user writes the status of a managed one":           {who: anyone, old: managed(), new: managed(reports), status: true, want: standard + "UPDATE"},
		"a user changes the spec of a managed one":            {who: anyone, old: managed(), new: managed(heartbeat), want: standard + "UPDATE"},
		"a user changes the finalizers of a managed one":      {who: anyone, old: managed(), new: managed(finalize), want: standard + "UPDATE"},
		"a service account changes the spec of a managed one": {who: account, old: managed(), new: managed(heartbeat)},
		"a user creates another one":                          {who: anyone, new: upstream()},
		"a user deletes another one":                          {who: anyone, old: upstream()},
		"a user makes another one managed":                    {who: anyone, old: upstream(), new: managed(), want: added},
		"an administrator makes another one managed":          {who: admin, old: upstream(), new: managed(), want: added},
		"a user writes the status of another one":             {who: anyone, old: upstream(), new: upstream(reports), status: true, want: "Kind=MemberCluster/status: /m"},
		"a user annotates another one":                        {who: anyone, old: upstream(), new: upstream(annotate("a", "b"))},
		"a user taints another one":                           {who: anyone, old: upstream(), new: upstream(taint)},
		"an administrator changes the spec of another one":    {who: admin, old: upstream(), new: upstream(heartbeat)},
		"a user changes the spec of another one":              {who: anyone, old: upstream(), new: upstream(heartbeat)},
		"an administrator writes the status of another one":   {who: admin, old: upstream(), new: upstream(reports), status: true},
		"a user labels a managed one, protected":              {who: anyone, old: managed(), new: managed(label("a")), labels: true, want: standard + "UPDATE"},
		"a service account labels a managed one, protected":   {who: account, old: managed(), new: managed(label("a")), labels: true, want: standard + "UPDATE"},
		"an administrator labels a managed one, protected":    {who: admin, old: managed(), new: managed(label("a")), labels: true},
		"a user sets a label of the fleet, protected":         {who: anyone, old: managed(), new: managed(label("kubernetes-fleet.io/x")), labels: true},
		"a user labels another one, protected":                {who: anyone, old: upstream(), new: upstream(label("a")), labels: true},
	} {
		t.Run(name, func(t *testing.T) {
			operation := admissionv1.Update
			if c.old == nil {
				operation = admissionv1.Create
			} else if c.new == nil {
				operation = admissionv1.Delete
			}
			resource := "cluster.kubernetes-fleet.io/v1beta1/MemberCluster/memberclusters"
			if c.status {
				resource += "/status"
			}
			p := Policy{ProtectLabels: c.labels}
			check(t, p.MemberCluster(request(c.who, operation, resource, "", "m"), c.old, c.new), c.want)
		})
	}
}

func TestDenialListsFewGroups(t *testing.T) {
	who := user("u", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j")
	err := Policy{}.Namespace(request(who, admissionv1.Create, "/v1/Namespace/namespaces", "", "kube-x"))
	check(t, err, "user: 'u' in 'groups: [a b c ...]' is not allowed to CREATE resource /v1, Kind=Namespace/: /kube-x")
}
