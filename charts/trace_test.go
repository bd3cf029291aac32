package charts_test

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/flagship-fleet/flagship/charts"
)

func TestTracesAreSentOnDemand(t *testing.T) {
	for chart, values := range map[string]string{charts.HubAgent: "", charts.MemberAgent: member} {
		agent := func(values string) map[string]string {
			t.Helper()
			return flags(t, get[appsv1.Deployment](t, render(t, chart, values), "Deployment/"+chart))
		}
		for _, off := range []string{"", "\ntracing: null", "\ntracing: {sample: 0.5}"} {
			for name := range agent(values + off) {
				if strings.HasPrefix(name, "trace-") {
					t.Errorf("%s has flag %s without an endpoint", chart, name)
				}
			}
		}
		expect(t, "flag", agent(values+"\ntracing: {endpoint: 'https://collector.example:4317', sample: 0.25}"), map[string]string{
			"trace-endpoint": "https://collector.example:4317", "trace-sample": "0.25",
		})
		expect(t, "flag", agent(values+"\ntracing: {endpoint: 'collector:4317'}"), map[string]string{"trace-endpoint": "collector:4317", "trace-sample": "1"})

		objects := render(t, chart, values+"\nnetworkPolicy: {enabled: true}\ntracing: {endpoint: 'collector:4317'}")
		policy := get[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy/"+chart)
		if ports := policy.Spec.Egress[len(policy.Spec.Egress)-1].Ports; len(ports) != 1 || ports[0].Port.IntValue() != 4317 {
			t.Errorf("%s may send to ports %v; want that of the collector", chart, ports)
		}
		if _, err := tryRender(chart, values+"\ntracing: {endpoint: collector}"); err == nil || !strings.Contains(err.Error(), `tracing.endpoint "collector"`) {
			t.Errorf("%s with an endpoint without a port: error %v", chart, err)
		}
	}
}
