package property

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

// nodes sums up nodes of types, each with 4 cores and 8 GiB.
func nodes(region string, sizes ...string) total {
	sum := newTotal()
	for _, size := range sizes {
		sum.moveNode(nil, nodeOf(&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{corev1.LabelInstanceType: size, corev1.LabelTopologyRegion: region}},
			Status:     corev1.NodeStatus{Capacity: resources("4", "8Gi")},
		}))
	}
	return sum
}

const someprices = `
asOf: "2031-05-01T00:00:00Z"
prices: {small: 0.2, large: 0.4}
regions: {west: {small: 0.3}}
`

func TestCosts(t *testing.T) {
	asOf := time.Date(2031, 5, 1, 0, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		prices string
		sums   total
		region string
		age    time.Duration
		// core and gib are what is reported; "": nothing.
		core, gib, reason, says string
	}{
		"all nodes have a price":                {someprices, nodes("", "small", "large"), "", time.Hour, "0.075", "0.038", "CostsCalculated", ""},
		"a region has prices of its own":        {someprices, nodes("west", "small", "large"), "", time.Hour, "0.087", "0.044", "CostsCalculated", ""},
		"the flag knows the region better":      {someprices, nodes("west", "small", "large"), "east", time.Hour, "0.075", "0.038", "CostsCalculated", ""},
		"no nodes cost nothing":                 {someprices, nodes(""), "", time.Hour, "0.000", "0.000", "CostsCalculated", ""},
		"old prices are used, and said to be":   {someprices, nodes("", "small"), "", 25 * time.Hour, "0.050", "0.025", "CostsCalculationDegraded", "2031-05-01"},
		"prices without a date do not age":      {"prices: {small: 0.2}", nodes("", "small"), "", 9999 * time.Hour, "0.050", "0.025", "CostsCalculated", ""},
		"one type without a price spoils it":    {someprices, nodes("", "small", "tiny"), "", time.Hour, "", "", "CostsCalculationFailed", "tiny"},
		"a node that does not say what it is":   {someprices, nodes("", ""), "", time.Hour, "", "", "CostsCalculationFailed", "undefined"},
		"a wrong list is said to be":            {"prices: {small: -1}", nodes("", "small"), "", 0, "", "", "CostsCalculationFailed", "prices.small is -1"},
		"a list with a word of its own as well": {"price: {small: 1}", nodes("", "small"), "", 0, "", "", "CostsCalculationFailed", "unknown field"},
		"an empty one too":                      {"{}", nodes("", "small"), "", 0, "", "", "CostsCalculationFailed", "has no price"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "prices.yaml")
			if err := os.WriteFile(file, []byte(tc.prices), 0o600); err != nil {
				t.Fatal(err)
			}
			source, err := pricesOf(file)
			if err != nil {
				t.Fatal(err)
			}
			a := &azure{prices: source, region: tc.region, now: func() time.Time { return asOf.Add(tc.age) }}
			properties := map[clusterv1beta1.PropertyName]string{}
			condition := a.addCosts(properties, tc.sums)
			if core, gib := properties["kubernetes.azure.com/per-cpu-core-cost"], properties["kubernetes.azure.com/per-gb-memory-cost"]; core != tc.core || gib != tc.gib {
				t.Errorf("a core costs %q and a GiB %q; want %q and %q", core, gib, tc.core, tc.gib)
			}
			if condition.Reason != tc.reason || !strings.Contains(condition.Message, tc.says) {
				t.Errorf("condition %+v; want %s with %q", condition, tc.reason, tc.says)
			}
		})
	}
}

func TestPriceFileIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "prices.yaml")
	a := &azure{prices: &priceFile{path: file}, now: time.Now}
	step := func(text, core, reason string) {
		t.Helper()
		if text != "" {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		properties := map[clusterv1beta1.PropertyName]string{}
		condition := a.addCosts(properties, nodes("", "small"))
		if got := properties["kubernetes.azure.com/per-cpu-core-cost"]; got != core || condition.Reason != reason {
			t.Errorf("a core costs %q, %+v; want %q, %s", got, condition, core, reason)
		}
	}
	step("", "", "CostsCalculationFailed") // it is mounted later
	step("prices: {small: 0.4}", "0.100", "CostsCalculated")
	step("prices: {small: 10.4}", "2.600", "CostsCalculated")
	step("prices: {small: cheap}", "2.600", "CostsCalculationDegraded")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	step("", "2.600", "CostsCalculationDegraded")
}

func TestExamplePricesAreValidAndMarked(t *testing.T) {
	source, err := pricesOf("")
	if err != nil {
		t.Fatal(err)
	}
	a := &azure{prices: source, now: time.Now}
	properties := map[clusterv1beta1.PropertyName]string{}
	condition := a.addCosts(properties, nodes("", "Standard_D4s_v3"))
	if properties["kubernetes.azure.com/per-cpu-core-cost"] != "0.048" || !meta.IsStatusConditionTrue([]metav1.Condition{condition}, condition.Type) ||
		condition.Reason != "CostsCalculationDegraded" {
		t.Errorf("properties %v, condition %+v", properties, condition)
	}
}
