package charts_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/flagship-fleet/flagship/charts"
)

func TestRemovalLimitOfAMember(t *testing.T) {
	for values, want := range map[string]map[string]string{
		"": {"removal-window": "1h"},
		"\nremoval: {max: 20%, protect: [Namespace, CustomResourceDefinition.apiextensions.k8s.io], window: 30m}": {
			"removal-max": "20%", "removal-protect": "Namespace,CustomResourceDefinition.apiextensions.k8s.io", "removal-window": "30m",
		},
		"\nremoval: {max: 0}": {"removal-max": "0", "removal-window": "1h"},
		"\nremoval: null":     {},
	} {
		expect(t, "flag", flags(t, get[appsv1.Deployment](t, render(t, charts.MemberAgent, member+values), "Deployment/"+charts.MemberAgent)), want)
	}
}
