package local

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

func command(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	streams, _, stdout, _ := genericiooptions.NewTestIOStreams()
	cmd := &cobra.Command{Use: "kubectl-fleet", SilenceErrors: true, SilenceUsage: true}
	cmd.SetOut(stdout)
	cmd.AddCommand(NewUpCommand(streams), NewDownCommand(streams))
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return stdout.String(), err
}

func TestHelpTeachesWithExamples(t *testing.T) {
	for _, verb := range []string{"up", "down"} {
		out, err := command(t, verb, "--help")
		if err != nil || !strings.Contains(out, "Examples:\n") || !strings.Contains(out, "kubectl fleet "+verb) {
			t.Errorf("%s --help: error %v, output:\n%s", verb, err, out)
		}
	}
}

func TestDownWithoutAFleetSaysSo(t *testing.T) {
	dir := t.TempDir()
	out, err := command(t, "down", "--dir", dir)
	if err != nil || !strings.Contains(out, "no fleet in "+dir) {
		t.Errorf("error %v, output %q", err, out)
	}
}

func condition(kind string, status metav1.ConditionStatus) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, ObservedGeneration: 1}
}

// onTwo is a placement that is available on one cluster and not yet applied on another.
func onTwo() placementv1beta1.ClusterResourcePlacement {
	placement := placementv1beta1.ClusterResourcePlacement{ObjectMeta: metav1.ObjectMeta{Name: "p", Generation: 1}}
	placement.Status.PerClusterPlacementStatuses = []placementv1beta1.PerClusterPlacementStatus{
		{ClusterName: "a", Conditions: []metav1.Condition{condition("Scheduled", "True"), condition("Applied", "True"), condition("Available", "True")}},
		{ClusterName: "b", Conditions: []metav1.Condition{condition("Scheduled", "True"), condition("Applied", "Unknown")}},
	}
	return placement
}

func TestTableOfPlacements(t *testing.T) {
	var out bytes.Buffer
	if err := placementTable([]placementv1beta1.ClusterResourcePlacement{onTwo()}).Print(&out); err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"PLACEMENT", "CLUSTER", "SCHEDULED", "APPLIED", "AVAILABLE"},
		{"p", "a", "True", "True", "True"},
		{"p", "b", "True", "Unknown", "-"},
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, line := range lines {
		if i >= len(want) || strings.Join(strings.Fields(line), " ") != strings.Join(want[i], " ") {
			t.Errorf("line %d is %q", i, line)
		}
	}
	if len(lines) != len(want) {
		t.Errorf("%d lines", len(lines))
	}
}

func TestStateOfAPlacement(t *testing.T) {
	some := onTwo()
	if got := state(&some); got != "available on a, not yet on b" {
		t.Errorf("%q", got)
	}
	// A condition of an older generation does not count.
	some.Generation = 2
	if got := state(&some); got != "available on none, not yet on a, b" {
		t.Errorf("%q", got)
	}
	none := placementv1beta1.ClusterResourcePlacement{}
	if got := state(&none); got != "waiting for the hub agent to process it" {
		t.Errorf("%q", got)
	}
	none.Status.Conditions = []metav1.Condition{{Type: "ClusterResourcePlacementScheduled", Status: "False", Reason: "R", Message: "m"}}
	if got := state(&none); got != "ClusterResourcePlacementScheduled is False (R): m" {
		t.Errorf("%q", got)
	}
}
