package local

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/terminal"
	"github.com/flagship-fleet/flagship/pkg/localfleet"
)

// summary prints every placement with its clusters, or, if there is none, the members.
func (o *UpOptions) summary(ctx context.Context, fleet *localfleet.Fleet) error {
	hub, err := fleet.HubClient()
	if err != nil {
		return err
	}
	var placements placementv1beta1.ClusterResourcePlacementList
	if err := hub.List(ctx, &placements); err != nil && !meta.IsNoMatchError(err) {
		return fmt.Errorf("list placements: %w", err)
	}
	table := placementTable(placements.Items)
	if len(table.Rows) == 0 {
		var members clusterv1beta1.MemberClusterList
		if err := hub.List(ctx, &members); err != nil && !meta.IsNoMatchError(err) {
			return fmt.Errorf("list members: %w", err)
		}
		table = memberTable(fleet.Members(), members.Items)
	}
	if err := table.Print(o.Out); err != nil {
		return fmt.Errorf("print the summary: %w", err)
	}
	return nil
}

func placementTable(placements []placementv1beta1.ClusterResourcePlacement) terminal.Table {
	table := terminal.Table{Columns: []string{"Placement", "Cluster", "Scheduled", "Applied", "Available"}}
	for _, placement := range placements {
		for _, cluster := range placement.Status.PerClusterPlacementStatuses {
			row := []any{placement.Name, cluster.ClusterName}
			for _, kind := range []string{placementv1beta1.ConditionScheduled, placementv1beta1.ConditionApplied, placementv1beta1.ConditionAvailable} {
				row = append(row, status(cluster.Conditions, kind))
			}
			table.Rows = append(table.Rows, row)
		}
	}
	return table
}

func memberTable(names []string, members []clusterv1beta1.MemberCluster) terminal.Table {
	table := terminal.Table{Columns: []string{"Member", "Joined", "Labels"}}
	for _, name := range names {
		joined, labels := "-", ""
		at := slices.IndexFunc(members, func(m clusterv1beta1.MemberCluster) bool { return m.Name == name })
		if at >= 0 {
			joined = status(members[at].Status.Conditions, clusterv1beta1.ConditionJoined)
			labels = labelText(members[at].Labels)
		}
		table.Rows = append(table.Rows, []any{name, joined, labels})
	}
	return table
}

// status is the status of a condition, or a dash if the condition is missing.
func status(conditions []metav1.Condition, kind string) string {
	condition := meta.FindStatusCondition(conditions, kind)
	if condition == nil {
		return "-"
	}
	return string(condition.Status)
}

func labelText(labels map[string]string) string {
	var parts []string
	for key, value := range labels {
		parts = append(parts, key+"="+value)
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}
