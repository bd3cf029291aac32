package failover

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/hubclient"
	"github.com/flagship-fleet/flagship/pkg/cli/naming"
	"github.com/flagship-fleet/flagship/pkg/cli/terminal"
	"github.com/flagship-fleet/flagship/pkg/cli/verb"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/liveness"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// formats are the output formats.
var formats = []string{"table", "json", "yaml"}

// StatusOptions are those of "kubectl fleet failover status".
type StatusOptions struct {
	hub            hubclient.Flags
	domain, output string
	genericiooptions.IOStreams
}

func newStatusCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &StatusOptions{hub: hubclient.NewFlags(), IOStreams: streams}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show silent clusters, and the placements that left a cluster",
		Long: `Show whether failovers are braked, each cluster that is away or was silent, and each placement that left a cluster and still
has a copy of its objects there.

A silent cluster is Suspected at first. It is Lost after three heartbeat periods if enough other clusters are heard; otherwise it
is Braked, and no placement leaves any cluster. Released means that an administrator declared it lost, and Over that the hub hears
it again. An Away cluster was announced with "kubectl fleet cordon CLUSTER --away".`,
		Example: `  # Why does a placement not leave a silent cluster?
  kubectl fleet failover status

  # For a script
  kubectl fleet failover status -o json`,
		Args: cobra.NoArgs,
		RunE: verb.Run(o),
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "table", "output format: "+strings.Join(formats, ", "))
	cmd.Flags().StringVar(&o.domain, "failover-domain-label", failover.DefaultDomain,
		"label of the clusters' domains, as the hub agent's flag of that name; empty for none")
	o.hub.AddTo(cmd.Flags())
	return cmd
}

// Complete has nothing to do.
func (o *StatusOptions) Complete([]string) error { return nil }

// Validate checks the output format.
func (o *StatusOptions) Validate() error {
	if !slices.Contains(formats, o.output) {
		return fmt.Errorf("--output %s is not supported: use one of %s", o.output, strings.Join(formats, ", "))
	}
	return nil
}

// Run shows the status.
func (o *StatusOptions) Run(ctx context.Context) error {
	hub, err := o.hub.Connect(&clusterv1beta1.MemberCluster{})
	if err != nil {
		return err
	}
	clusters, err := clustersOf(ctx, hub)
	if err != nil {
		return err
	}
	bindings, err := scope.Bindings.All(ctx, hub)
	if meta.IsNoMatchError(err) { // the hub does not serve the namespaced kind
		bindings, err = scope.Bindings.List(ctx, hub, "")
	}
	if err != nil {
		return err
	}
	now := time.Now()
	return statusOf(clusters, bindings, o.domain, now).print(o.Out, o.output, now)
}

func clustersOf(ctx context.Context, hub client.Client) ([]*clusterv1beta1.MemberCluster, error) {
	var list clusterv1beta1.MemberClusterList
	if err := hub.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("list member clusters: %w", err)
	}
	out := make([]*clusterv1beta1.MemberCluster, len(list.Items))
	for i := range list.Items {
		out[i] = &list.Items[i]
	}
	slices.SortFunc(out, func(a, b *clusterv1beta1.MemberCluster) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// status is what the command shows.
type status struct {
	// Braked is whether the hub agent stops all failovers.
	Braked bool `json:"braked"`
	// Suspected is how many clusters are Suspected or Braked, of the Counted clusters that joined and are not away.
	Suspected int       `json:"suspected"`
	Counted   int       `json:"counted"`
	Clusters  []cluster `json:"clusters"`
	Left      []left    `json:"left"`
}

// cluster is a cluster that is away or was silent.
type cluster struct {
	Name string `json:"name"`
	// State is that of the silence, or Away.
	State  string       `json:"state"`
	Since  *metav1.Time `json:"since,omitempty"`
	Heard  *metav1.Time `json:"lastHeartbeat,omitempty"`
	Domain string       `json:"domain,omitempty"`
}

// left is a placement that left a cluster.
type left struct {
	Namespace string          `json:"namespace,omitempty"`
	Placement string          `json:"placement"`
	From      string          `json:"from"`
	To        string          `json:"to"`
	Reason    failover.Reason `json:"reason"`
	Since     metav1.Time     `json:"since"`
	// OldCopy is how long the objects stay on the first cluster.
	OldCopy string `json:"oldCopy"`
}

// away is the state of a cluster that is away.
const away = "Away"

// statusOf reads the status from the clusters, sorted by name, and all bindings.
func statusOf(clusters []*clusterv1beta1.MemberCluster, bindings []v1beta1.BindingObject, domain string, now time.Time) status {
	out := status{Braked: failover.Braked(clusters), Clusters: []cluster{}, Left: leftOf(clusters, bindings, now)}
	for _, c := range clusters {
		silence := c.Status.Silence
		if failover.Watched(c) {
			out.Counted++
			if failover.Suspicious(silence) {
				out.Suspected++
			}
		}
		shown := cluster{Name: c.Name, Domain: c.Labels[domain]}
		if last := liveness.LastHeard(c); !last.IsZero() {
			shown.Heard = &metav1.Time{Time: last}
		}
		switch {
		case failover.Away(c):
			shown.State = away
		case silence != nil:
			shown.State, shown.Since = string(silence.State), &silence.Since
		default:
			continue
		}
		out.Clusters = append(out.Clusters, shown)
	}
	return out
}

// leftOf are the exchanges whose second binding exists, by placement and cluster.
func leftOf(clusters []*clusterv1beta1.MemberCluster, bindings []v1beta1.BindingObject, now time.Time) []left {
	type place struct {
		placement types.NamespacedName
		cluster   string
	}
	living := map[place]bool{}
	for _, b := range bindings {
		if key, ok := scope.PlacementOf(b); ok && b.GetDeletionTimestamp().IsZero() {
			living[place{key, b.GetSpec().TargetCluster}] = true
		}
	}
	out := []left{}
	for _, b := range bindings {
		key, ok := scope.PlacementOf(b)
		exchange := failover.ReplacedBy(b)
		if !ok || exchange == nil || !living[place{key, exchange.With}] {
			continue
		}
		out = append(out, left{
			Namespace: key.Namespace, Placement: key.Name, From: b.GetSpec().TargetCluster, To: exchange.With,
			Reason: exchange.Reason, Since: exchange.Since, OldCopy: oldCopy(clusters, b, exchange.With, now),
		})
	}
	slices.SortFunc(out, func(a, b left) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Placement, b.Placement), cmp.Compare(a.From, b.From))
	})
	return out
}

// oldCopy describes how long the objects of a left binding stay on its cluster.
func oldCopy(clusters []*clusterv1beta1.MemberCluster, b v1beta1.BindingObject, to string, now time.Time) string {
	at := slices.IndexFunc(clusters, func(c *clusterv1beta1.MemberCluster) bool { return c.Name == b.GetSpec().TargetCluster })
	switch {
	case !b.GetDeletionTimestamp().IsZero():
		return "is being removed"
	case at < 0:
		return "waits; its cluster left the fleet"
	case liveness.Of(clusters[at], now) != liveness.Heard:
		return "waits until its cluster is heard"
	default:
		return "waits until " + to + " is available"
	}
}

func (s status) print(out io.Writer, format string, now time.Time) error {
	switch format {
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(s)
	case "yaml":
		text, err := yaml.Marshal(s)
		if err != nil {
			return fmt.Errorf("write the status: %w", err)
		}
		_, err = out.Write(text)
		return err
	}
	fmt.Fprintln(out, s.heading())
	clusters := terminal.Table{Columns: []string{"Cluster", "State", "Since", "Last heartbeat", "Domain"}}
	for _, c := range s.Clusters {
		clusters.Rows = append(clusters.Rows, []any{c.Name, c.State, age(c.Since, now), age(c.Heard, now), cmp.Or(c.Domain, "-")})
	}
	placements := terminal.Table{Columns: []string{"Placement", "From", "To", "Reason", "Since", "Old copy"}}
	for _, l := range s.Left {
		key := types.NamespacedName{Namespace: l.Namespace, Name: l.Placement}
		placements.Rows = append(placements.Rows, []any{naming.Placement(key), l.From, l.To, string(l.Reason), age(&l.Since, now), l.OldCopy})
	}
	for _, table := range []terminal.Table{clusters, placements} {
		if len(table.Rows) == 0 {
			continue
		}
		fmt.Fprintln(out)
		if err := table.Print(out); err != nil {
			return fmt.Errorf("write the status: %w", err)
		}
	}
	return nil
}

// heading is the first line.
func (s status) heading() string {
	suspected := fmt.Sprintf("%d of %d clusters suspected", s.Suspected, s.Counted)
	if !s.Braked {
		return "Failovers are not braked: " + suspected + "."
	}
	return "Failovers are braked: " + suspected + ". The hub's own network may be the cause; if it is not, run: " +
		naming.Command("", "fleet failover release", "CLUSTER")
}

func age(t *metav1.Time, now time.Time) string {
	if t == nil {
		return "-"
	}
	return duration.HumanDuration(now.Sub(t.Time)) + " ago"
}
