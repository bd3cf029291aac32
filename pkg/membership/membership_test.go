package membership

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const patience = 15 * time.Minute

func cluster(deleted bool, finalizers ...string) *v1beta1.MemberCluster {
	c := &v1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "east", UID: "u", Finalizers: finalizers}}
	if deleted {
		at := metav1.NewTime(start)
		c.DeletionTimestamp = &at
	}
	return c
}

func forced(c *v1beta1.MemberCluster) *v1beta1.MemberCluster {
	c.Annotations = map[string]string{contract.AnnotationForceLeave: "true"}
	return c
}

func internal(state v1beta1.ClusterState, joined ...metav1.ConditionStatus) *v1beta1.InternalMemberCluster {
	i := &v1beta1.InternalMemberCluster{Spec: v1beta1.InternalMemberClusterSpec{State: state}}
	for n, status := range joined {
		agent := v1beta1.AgentStatus{Type: Agents(true)[n]}
		if status != "" {
			agent.Conditions = []metav1.Condition{{Type: v1beta1.ConditionJoined, Status: status}}
		}
		i.Status.AgentStatus = append(i.Status.AgentStatus, agent)
	}
	return i
}

func TestNext(t *testing.T) {
	ours := contract.FinalizerMemberCluster
	for name, tc := range map[string]struct {
		seen Seen
		age  time.Duration
		want Step
	}{
		"a living cluster is admitted": {
			seen: Seen{Cluster: cluster(false)}, want: Step{Action: Admit},
		},
		"and repaired for as long as it lives": {
			seen: Seen{Cluster: cluster(false, ours), Namespace: NamespaceActive, Internal: internal(v1beta1.ClusterStateJoin, metav1.ConditionTrue)},
			want: Step{Action: Admit},
		},
		"a namespace that was not made for it is left alone": {
			seen: Seen{Cluster: cluster(false, ours), Namespace: NamespaceForeign}, want: Step{Action: Refuse, Again: look},
		},
		"and does not hold it when it is deleted": {
			seen: Seen{Cluster: cluster(true, ours), Namespace: NamespaceForeign}, want: Step{Action: Release},
		},
		"one that may leave by force is looked at again": {
			seen: Seen{Cluster: forced(cluster(true, ours)), Namespace: NamespaceTerminating}, want: Step{Action: AwaitNamespace, Again: look},
		},
		"but not while its namespace is going": {
			seen: Seen{Cluster: cluster(false, ours), Namespace: NamespaceTerminating}, want: Step{Action: AwaitNamespace},
		},
		"a deleted cluster that never was ours is left alone": {
			seen: Seen{Cluster: cluster(true, "someone/else"), Namespace: NamespaceActive}, want: Step{Action: Nothing},
		},
		"without a namespace it may go": {
			seen: Seen{Cluster: cluster(true, ours), Internal: internal(v1beta1.ClusterStateLeave)}, want: Step{Action: Release},
		},
		"a namespace that is going is waited for, however long": {
			seen: Seen{Cluster: cluster(true, ours), Namespace: NamespaceTerminating}, age: 10 * patience, want: Step{Action: AwaitNamespace},
		},
		"without an internal member cluster there is no agent to wait for": {
			seen: Seen{Cluster: cluster(true, ours), Namespace: NamespaceActive}, want: Step{Action: CleanUp},
		},
		"agents are asked to leave": {
			seen: Seen{Cluster: cluster(true, ours), Namespace: NamespaceActive, Internal: internal(v1beta1.ClusterStateJoin, metav1.ConditionTrue)},
			age:  time.Minute, want: Step{Action: Dismiss, Again: patience - time.Minute},
		},
		"even if they were asked late": {
			seen: Seen{Cluster: cluster(true, ours), Namespace: NamespaceActive, Internal: internal(v1beta1.ClusterStateJoin, metav1.ConditionTrue)},
			age:  2 * patience, want: Step{Action: Dismiss},
		},
		"and have time to": {
			seen: Seen{Cluster: cluster(true, ours), Namespace: NamespaceActive, Internal: internal(v1beta1.ClusterStateLeave, metav1.ConditionTrue)},
			age:  patience - time.Second, want: Step{Action: Dismiss, Again: time.Second},
		},
		"but not for ever": {
			seen: Seen{Cluster: cluster(true, ours), Namespace: NamespaceActive, Internal: internal(v1beta1.ClusterStateLeave, metav1.ConditionTrue)},
			age:  patience, want: Step{Action: CleanUp},
		},
		"agents that never were are not waited for": {
			seen: Seen{Cluster: cluster(true, ours), Namespace: NamespaceActive, Internal: internal(v1beta1.ClusterStateLeave)}, want: Step{Action: CleanUp},
		},
		"but asked all the same, in case they come": {
			seen: Seen{Cluster: cluster(true, ours), Namespace: NamespaceActive, Internal: internal(v1beta1.ClusterStateJoin)},
			want: Step{Action: Dismiss, Again: patience},
		},
		"an agent that has left need not be waited for": {
			seen: Seen{Cluster: cluster(true, ours), Namespace: NamespaceActive, Internal: internal(v1beta1.ClusterStateLeave, metav1.ConditionFalse)},
			want: Step{Action: CleanUp},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.seen.Agents, tc.seen.ForceDeleteWait = Agents(false), patience
			if diff := cmp.Diff(tc.want, Next(tc.seen, start.Add(tc.age))); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestStandingOf(t *testing.T) {
	const yes, no, unknown = metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown
	for name, tc := range map[string]struct {
		internal   *v1beta1.InternalMemberCluster
		networking bool
		want       Standing
	}{
		"no agent has reported":                  {nil, false, Standing{unknown, []string{"MemberAgent"}}},
		"an agent without the condition":         {internal(v1beta1.ClusterStateJoin, ""), false, Standing{unknown, []string{"MemberAgent"}}},
		"the one agent has joined":               {internal(v1beta1.ClusterStateJoin, yes), false, Standing{Joined: yes}},
		"the one agent has left":                 {internal(v1beta1.ClusterStateLeave, no), false, Standing{Joined: no}},
		"networking agents that are not counted": {internal(v1beta1.ClusterStateJoin, yes, no, unknown), false, Standing{Joined: yes}},
		"a networking agent is missing":          {internal(v1beta1.ClusterStateJoin, yes, yes), true, Standing{unknown, []string{"ServiceExportImportAgent"}}},
		"all three have joined":                  {internal(v1beta1.ClusterStateJoin, yes, yes, yes), true, Standing{Joined: yes}},
		"only one has left":                      {internal(v1beta1.ClusterStateLeave, yes, no, yes), true, Standing{unknown, []string{"MultiClusterServiceAgent"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, StandingOf(tc.internal, Agents(tc.networking))); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

// With agents that answer, fail or are gone, every deletion ends: at the latest when the wait is over.
func TestLeavingEnds(t *testing.T) {
	for name, answers := range map[string]func(age time.Duration) metav1.ConditionStatus{
		"the agent leaves at once": func(time.Duration) metav1.ConditionStatus { return metav1.ConditionFalse },
		"the agent leaves in time": func(age time.Duration) metav1.ConditionStatus { return answer(age > patience/2) },
		"the agent is gone":        func(time.Duration) metav1.ConditionStatus { return metav1.ConditionTrue },
		"the agent fails to leave": func(time.Duration) metav1.ConditionStatus { return metav1.ConditionUnknown },
	} {
		t.Run(name, func(t *testing.T) {
			seen := Seen{
				Cluster: cluster(true, contract.FinalizerMemberCluster), Namespace: NamespaceActive,
				Internal: internal(v1beta1.ClusterStateJoin, metav1.ConditionTrue), Agents: Agents(false), ForceDeleteWait: patience,
			}
			now := start
			for n := 0; ; n++ {
				step := Next(seen, now)
				switch step.Action {
				case Release:
					if age := now.Sub(start); age > patience {
						t.Fatalf("left only after %s", age)
					}
					return
				case Dismiss:
					now = now.Add(min(step.Again, patience/4))
					seen.Internal = internal(v1beta1.ClusterStateLeave, answers(now.Sub(start)))
				case CleanUp:
					seen.Namespace, seen.Internal = NamespaceTerminating, nil
				case AwaitNamespace:
					seen.Namespace = NamespaceGone
				}
				if n > 10 {
					t.Fatalf("no end; last step %+v", step)
				}
			}
		})
	}
}

func answer(left bool) metav1.ConditionStatus {
	if left {
		return metav1.ConditionFalse
	}
	return metav1.ConditionTrue
}

func TestRoleBindingFor(t *testing.T) {
	for name, tc := range map[string]struct{ identity, want rbacv1.Subject }{
		"a user gets the group users belong to": {
			rbacv1.Subject{Kind: "User", Name: "east"}, rbacv1.Subject{Kind: "User", Name: "east", APIGroup: "rbac.authorization.k8s.io"},
		},
		"so does a group": {
			rbacv1.Subject{Kind: "Group", Name: "agents"}, rbacv1.Subject{Kind: "Group", Name: "agents", APIGroup: "rbac.authorization.k8s.io"},
		},
		"a service account does not": {
			rbacv1.Subject{Kind: "ServiceAccount", Name: "east", Namespace: "fleet-system"}, rbacv1.Subject{Kind: "ServiceAccount", Name: "east", Namespace: "fleet-system"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster(false)
			c.Spec.Identity = tc.identity
			got := RoleBindingFor(c)
			if diff := cmp.Diff([]rbacv1.Subject{tc.want}, got.Subjects); diff != "" {
				t.Fatal(diff)
			}
			if got.Namespace != "fleet-member-east" || got.RoleRef.Name != RoleFor(c, false).Name || RoleFor(c, false).Namespace != got.Namespace {
				t.Fatalf("%s/%s binds %s", got.Namespace, got.Name, got.RoleRef.Name)
			}
		})
	}
}

// A rule that is missing here was added without a reason, or with one that belongs in RoleFor's comment.
func TestRoleForGrantsNoMoreThanTheAgentsDo(t *testing.T) {
	const clusters, placement, networking = "cluster.kubernetes-fleet.io", "placement.kubernetes-fleet.io", "networking.fleet.azure.com"
	rules := func(role *rbacv1.Role) (out []string) {
		for _, rule := range role.Rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					out = append(out, strings.TrimPrefix(group+"/", "/")+resource+" "+strings.Join(rule.Verbs, ","))
				}
			}
		}
		return out
	}
	alone := []string{
		clusters + "/internalmemberclusters get,list,watch",
		clusters + "/internalmemberclusters/status update,patch",
		placement + "/works get,list,watch,update,patch",
		placement + "/works/status update,patch",
		"events create,patch",
	}
	if diff := cmp.Diff(alone, rules(RoleFor(cluster(false), false))); diff != "" {
		t.Error(diff)
	}
	all := slices.Clone(alone)
	for _, resource := range networkingResources {
		all = append(all, networking+"/"+resource+" get,list,watch,update,patch,create,delete")
	}
	for _, resource := range networkingResources {
		all = append(all, networking+"/"+resource+"/status update,patch")
	}
	if diff := cmp.Diff(all, rules(RoleFor(cluster(false), true))); diff != "" {
		t.Error("with networking agents: " + diff)
	}
}

// The quota limits everything that the Role lets a member create, except events; see the test of EventFor.
func TestQuotaBoundsWhatTheRoleLetsCreate(t *testing.T) {
	quota := QuotaFor(cluster(false))
	if quota.Namespace != "fleet-member-east" || quota.Name != "fleet-quota-east" {
		t.Errorf("it is %s/%s", quota.Namespace, quota.Name)
	}
	for _, rule := range RoleFor(cluster(false), true).Rules {
		if !slices.Contains(rule.Verbs, "create") || slices.Equal(rule.Resources, []string{"events"}) {
			continue
		}
		for _, resource := range rule.Resources {
			name := corev1.ResourceName("count/" + resource + "." + rule.APIGroups[0])
			if most, ok := quota.Spec.Hard[name]; !ok || most.Value() != 5000 {
				t.Errorf("%s: %s, in the quota: %t", name, most.String(), ok)
			}
		}
	}
}

func TestOwns(t *testing.T) {
	const kind = "MemberCluster"
	owner := func(version, kind, name string, uid types.UID) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: version, Kind: kind, Name: name, UID: uid}}
	}
	fleet, v1beta1 := map[string]string{contract.LabelFleetResource: "true"}, v1beta1.GroupVersion.String()
	for name, tc := range map[string]struct {
		labels, annotations map[string]string
		owners              []metav1.OwnerReference
		want                bool
	}{
		"made for it":                             {labels: fleet, owners: owner(v1beta1, kind, "east", "u"), want: true},
		"made for it by another release":          {owners: owner("cluster.kubernetes-fleet.io/v1", kind, "east", "u"), want: true},
		"made for it before the hub was restored": {labels: fleet, owners: owner(v1beta1, kind, "east", "before"), want: true},
		"without the label that proves nothing":   {owners: owner(v1beta1, kind, "east", "before")},
		"another cluster's":                       {labels: fleet, owners: owner(v1beta1, kind, "west", "u")},
		"of another kind":                         {labels: fleet, owners: owner(v1beta1, "Other", "east", "u")},
		"of another group":                        {labels: fleet, owners: owner("example.com/v1", kind, "east", "u")},
		"labelled only":                           {labels: fleet},
		"given to it":                             {annotations: map[string]string{contract.AnnotationAdoptFor: "u"}, want: true},
		"given to an earlier one":                 {annotations: map[string]string{contract.AnnotationAdoptFor: "before"}},
		"given to none":                           {annotations: map[string]string{contract.AnnotationAdoptFor: ""}},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
				Name: "fleet-member-east", Labels: tc.labels, Annotations: tc.annotations, OwnerReferences: tc.owners,
			}}
			if got := Owns(cluster(false), namespace); got != tc.want {
				t.Fatal(got)
			}
		})
	}
}
