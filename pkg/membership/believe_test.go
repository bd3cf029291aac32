package membership

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

type (
	properties = map[v1beta1.PropertyName]v1beta1.PropertyValue
	reportOf   = v1beta1.InternalMemberClusterStatus
)

func valued(pairs ...string) properties {
	out := properties{}
	for i := 0; i < len(pairs); i += 2 {
		out[v1beta1.PropertyName(pairs[i])] = v1beta1.PropertyValue{Value: pairs[i+1]}
	}
	return out
}

func cpu(amount string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(amount)}
}

// texts lists a status' properties and usage for comparison.
func texts(s reportOf) (out []string) {
	for name, p := range s.Properties {
		out = append(out, string(name)+"="+p.Value)
	}
	for figure, list := range map[string]corev1.ResourceList{"total": s.ResourceUsage.Capacity, "allocatable": s.ResourceUsage.Allocatable, "available": s.ResourceUsage.Available} {
		for name, q := range list {
			out = append(out, fmt.Sprintf("%s-%s=%s", figure, name, q.String()))
		}
	}
	slices.Sort(out)
	return out
}

func TestWhatIsOutOfRangeIsNotBelieved(t *testing.T) {
	const cost = contract.PropertyCoreCost
	for name, tc := range map[string]struct {
		report reportOf
		want   []string
		doubt  string
	}{
		"what is in range": {
			report: reportOf{Properties: valued(cost, "0.2", "k8s.io/k8s-version", "v1.36.3", "kubernetes.azure.com/vm-sizes/Standard_D4s_v3/count", "3")},
			want:   []string{"k8s.io/k8s-version=v1.36.3", cost + "=0.2", "kubernetes.azure.com/vm-sizes/Standard_D4s_v3/count=3"},
		},
		"a cost below nothing": {report: reportOf{Properties: valued(cost, "-1", contract.PropertyNodeCount, "3")}, want: []string{contract.PropertyNodeCount + "=3"}, doubt: cost},
		"a cost that is none":  {report: reportOf{Properties: valued(cost, "free")}, doubt: cost},
		"too many nodes":       {report: reportOf{Properties: valued(contract.PropertyNodeCount, "1e30")}, doubt: contract.PropertyNodeCount},
		"a long value":         {report: reportOf{Properties: valued("a", strings.Repeat("x", mostValue+1), "b", "1")}, want: []string{"b=1"}, doubt: "property a"},
		"a strange name":       {report: reportOf{Properties: valued("a\nb", "1", "b", "1")}, want: []string{"b=1"}, doubt: `"a\nb"`},
		"more available than there is": {
			report: reportOf{ResourceUsage: v1beta1.ResourceUsage{Capacity: cpu("8"), Allocatable: cpu("7"), Available: cpu("9")}},
			want:   []string{"allocatable-cpu=7", "available-cpu=7", "total-cpu=8"}, doubt: "resourceUsage.available[cpu] is more than allocatable",
		},
		"less than nothing": {
			report: reportOf{ResourceUsage: v1beta1.ResourceUsage{Capacity: cpu("8"), Available: cpu("-1")}},
			want:   []string{"total-cpu=8"}, doubt: "resourceUsage.available[cpu] must be from 0",
		},
		"beyond all measure": {report: reportOf{ResourceUsage: v1beta1.ResourceUsage{Capacity: cpu("2E")}}, doubt: "resourceUsage.capacity[cpu]"},
		"a condition of the hub's": {
			report: reportOf{Conditions: []metav1.Condition{{Type: v1beta1.ConditionReadyToJoin, Status: "True", Reason: "Forged"}}}, doubt: v1beta1.ConditionReadyToJoin,
		},
		"an agent that there is not": {report: reportOf{AgentStatus: []v1beta1.AgentStatus{{Type: "Other"}}}, doubt: `"Other"`},
		"two of one agent": {
			report: reportOf{AgentStatus: []v1beta1.AgentStatus{{Type: v1beta1.AgentTypeMemberAgent}, {Type: v1beta1.AgentTypeMemberAgent}}}, doubt: "MemberAgent",
		},
		"a long namespace": {report: reportOf{Namespaces: map[string]string{strings.Repeat("n", 64): ""}}, doubt: "namespaces"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Believe(cluster(false), &tc.report, true, start)
			if diff := cmp.Diff(tc.want, texts(got.Status)); diff != "" {
				t.Error(diff)
			}
			if doubts := strings.Join(got.Doubts, "; "); (doubts != "") != (tc.doubt != "") || !strings.Contains(doubts, tc.doubt) {
				t.Errorf("doubts are %q; want %q in them", doubts, tc.doubt)
			}
			if len(got.Status.Conditions) > 0 || len(got.Status.AgentStatus) > 1 || len(got.Status.Namespaces) > 0 {
				t.Errorf("%+v", got.Status)
			}
		})
	}
}

func TestAReportIsBounded(t *testing.T) {
	report := reportOf{Properties: properties{}, Namespaces: map[string]string{}, ResourceUsage: v1beta1.ResourceUsage{Capacity: corev1.ResourceList{}}}
	for i := range 1000 {
		report.Properties[v1beta1.PropertyName(fmt.Sprint("p", i))] = v1beta1.PropertyValue{Value: strings.Repeat("x", 1000)}
		report.Namespaces[fmt.Sprint("n", i)] = ""
		report.ResourceUsage.Capacity[corev1.ResourceName(fmt.Sprint("r", i))] = resource.MustParse("1")
		report.Conditions = append(report.Conditions, metav1.Condition{Type: fmt.Sprint("T", i)})
	}
	agent := v1beta1.AgentStatus{Type: v1beta1.AgentTypeMemberAgent}
	for i := range 100 {
		agent.Conditions = append(agent.Conditions, metav1.Condition{Type: fmt.Sprint("T", i), Status: "True", Reason: "R", Message: strings.Repeat("ü", 4000)})
	}
	report.AgentStatus = []v1beta1.AgentStatus{agent}
	got := Believe(cluster(false), &report, true, start).Status
	size := 0
	for _, p := range got.Properties {
		size += len(p.Value)
	}
	if size > mostValues || len(got.Properties) > mostProperties || len(got.Namespaces) != mostNamespaces || len(got.ResourceUsage.Capacity) != mostResources ||
		len(got.Conditions) > 0 || len(got.AgentStatus[0].Conditions) != mostConditions || len(got.AgentStatus[0].Conditions[0].Message) > mostMessage {
		t.Fatalf("%d properties of %d bytes, %d namespaces, %d resources, %d conditions, agent's %+v", len(got.Properties), size, len(got.Namespaces),
			len(got.ResourceUsage.Capacity), len(got.Conditions), got.AgentStatus)
	}
}

func TestATransitionInTheFutureIsWhenTheHubLearnedOfIt(t *testing.T) {
	c := cluster(false)
	report := reportOf{AgentStatus: []v1beta1.AgentStatus{{
		Type:       v1beta1.AgentTypeMemberAgent,
		Conditions: []metav1.Condition{{Type: v1beta1.ConditionHealthy, Status: "False", Reason: "R", LastTransitionTime: metav1.NewTime(start.Add(100 * time.Hour))}},
	}}}
	for _, later := range []time.Duration{0, time.Hour} {
		c.Status.AgentStatus = Believe(c, &report, true, start.Add(later)).Status.AgentStatus
		if at := c.Status.AgentStatus[0].Conditions[0].LastTransitionTime; !at.Time.Equal(start) {
			t.Fatalf("after %s it is %s", later, at)
		}
	}
}

// Since when a cluster is healthy, or not, is by the hub's clock, whatever the agent claims.
func TestHealthSince(t *testing.T) {
	at := func(ago time.Duration) *metav1.Time { return &metav1.Time{Time: start.Add(-ago)} }
	report := func(kind v1beta1.AgentType, status metav1.ConditionStatus, since *metav1.Time) []v1beta1.AgentStatus {
		return []v1beta1.AgentStatus{{Type: kind, HealthSince: since, Conditions: []metav1.Condition{{
			Type: v1beta1.ConditionHealthy, Status: status, Reason: "R", LastTransitionTime: *at(100 * time.Hour),
		}}}}
	}
	const agent = v1beta1.AgentTypeMemberAgent
	claim := at(50 * time.Hour)
	for name, tc := range map[string]struct {
		before, is []v1beta1.AgentStatus
		want       *metav1.Time
	}{
		"the first report":       {nil, report(agent, "True", claim), at(0)},
		"no longer healthy":      {report(agent, "True", at(time.Hour)), report(agent, "False", claim), at(0)},
		"healthy again":          {report(agent, "Unknown", at(time.Hour)), report(agent, "True", claim), at(0)},
		"as before":              {report(agent, "False", at(time.Hour)), report(agent, "False", claim), at(time.Hour)},
		"still not healthy":      {report(agent, "False", at(time.Hour)), report(agent, "Unknown", claim), at(time.Hour)},
		"not recorded then":      {report(agent, "False", nil), report(agent, "False", claim), nil},
		"the clock was set back": {report(agent, "False", at(-time.Hour)), report(agent, "False", claim), at(0)},
		"not reported before":    {[]v1beta1.AgentStatus{{Type: agent}}, report(agent, "True", claim), at(0)},
		"not reported":           {report(agent, "True", at(time.Hour)), []v1beta1.AgentStatus{{Type: agent, HealthSince: claim}}, nil},
		"another agent":          {nil, report(v1beta1.AgentTypeServiceExportImportAgent, "True", claim), nil},
	} {
		c := cluster(false)
		c.Status.AgentStatus = tc.before
		got := Believe(c, &reportOf{AgentStatus: tc.is}, true, start.Add(300*time.Millisecond)).Status.AgentStatus
		if !got[0].HealthSince.Equal(tc.want) {
			t.Errorf("%s: %v; want %v", name, got[0].HealthSince, tc.want)
		}
		if healthy := got[0].Conditions; len(healthy) > 0 && !healthy[0].LastTransitionTime.Equal(at(100*time.Hour)) {
			t.Errorf("%s: the agent's transition time was changed: %v", name, healthy)
		}
	}
}

func TestTheAdminPinsWhatCounts(t *testing.T) {
	const core, free = contract.PropertyCoreCost, contract.PropertyResourcePrefix + "available-cpu"
	for name, tc := range map[string]struct {
		annotation string
		want       []string
		mistakes   []string
	}{
		"nothing":              {want: []string{"available-cpu=6", core + "=0.001"}},
		"a value":              {annotation: core + "=0.2", want: []string{"available-cpu=6", core + "=0.2"}},
		"a floor":              {annotation: core + ">=0.1", want: []string{"available-cpu=6", core + "=0.1"}},
		"a floor below":        {annotation: core + ">=0.0001", want: []string{"available-cpu=6", core + "=0.001"}},
		"a cap, and a value":   {annotation: free + "<=4, " + core + "=1", want: []string{"available-cpu=4", core + "=1"}},
		"a cap above":          {annotation: free + "<=40", want: []string{"available-cpu=6", core + "=0.001"}},
		"what is not reported": {annotation: "region=west other>=3", want: []string{"available-cpu=6", core + "=0.001", "region=west"}},
		"no quantity": {
			annotation: core + ">=much," + free + "<=4", want: []string{"available-cpu=4"}, mistakes: []string{`"` + core + `>=much"`},
		},
		"no grammar": {
			annotation: "nonsense " + free + "<3 " + contract.PropertyResourcePrefix + "cpu=3", want: []string{core + "=0.001"},
			mistakes: []string{`"nonsense"`, `"` + free + `<3"`, `"` + contract.PropertyResourcePrefix + `cpu=3"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster(false)
			c.Annotations = map[string]string{contract.AnnotationBelieved: tc.annotation}
			report := reportOf{Properties: valued(core, "0.001"), ResourceUsage: v1beta1.ResourceUsage{Available: cpu("6")}}
			got := Believe(c, &report, true, start)
			if diff := cmp.Diff(tc.want, texts(got.Status)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tc.mistakes, got.Mistakes); diff != "" {
				t.Error(diff)
			}
			if len(got.Doubts) > 0 {
				t.Error(got.Doubts)
			}
		})
	}
}
