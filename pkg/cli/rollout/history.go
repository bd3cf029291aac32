package rollout

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/naming"
	"github.com/flagship-fleet/flagship/pkg/cli/verb"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// HistoryOptions are those of "kubectl fleet rollout history".
type HistoryOptions struct{ target }

func newHistoryCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &HistoryOptions{newTarget(streams)}
	cmd := &cobra.Command{
		Use:   "history PLACEMENT",
		Short: "List the revisions of a placement, and what each changed",
		Long: `List the revisions of a placement that are kept: their age, the clusters that have them, and the objects that each
added (+), removed (-) or changed (~) compared with the revision before it, if that is kept.`,
		Example: `  kubectl fleet rollout history web`,
		Args:    onePlacement,
		RunE:    verb.Run(o),
	}
	o.addTo(cmd.Flags())
	return cmd
}

// Run lists the revisions.
func (o *HistoryOptions) Run(ctx context.Context) error {
	hub, err := o.connect()
	if err != nil {
		return err
	}
	if _, err := o.placement(ctx, hub); err != nil {
		return err
	}
	ours := client.MatchingLabels{contract.LabelPlacement: o.key.Name}
	snapshots, err := scope.ResourceSnapshots.List(ctx, hub, o.key.Namespace, ours)
	if err != nil {
		return err
	}
	bindings, err := scope.Bindings.List(ctx, hub, o.key.Namespace, ours)
	if err != nil {
		return err
	}
	if len(snapshots) == 0 {
		_, err := fmt.Fprintf(o.Out, "%s has no revision yet; with rollout strategy External, its first update run creates one\n", o.subject())
		return err
	}
	return printHistory(o.Out, history(snapshots, bindings), time.Now())
}

// revision is one line of the history.
type revision struct {
	index    string
	created  time.Time
	clusters []string
	changes  []string
}

// history lists the revisions of a placement, the oldest first.
func history(snapshots []v1beta1.ResourceSnapshotObject, bindings []v1beta1.BindingObject) []revision {
	groups := snapshot.Groups(snapshots)
	latest, _ := snapshot.Latest(groups)
	at := map[string][]string{}
	for _, b := range bindings {
		at[b.GetSpec().ResourceSnapshotName] = append(at[b.GetSpec().ResourceSnapshotName], b.GetSpec().TargetCluster)
	}
	var out []revision
	var before *snapshot.Group
	for _, g := range groups {
		if g.Master == nil {
			continue
		}
		r := revision{index: g.IndexLabel(), created: g.Master.GetCreationTimestamp().Time, clusters: at[g.Master.GetName()]}
		slices.Sort(r.clusters)
		if g.Index == latest.Index {
			r.index += " (latest)"
		}
		r.changes = between(before, g)
		before = &g
		out = append(out, r)
	}
	return out
}

// between describes what a revision changed.
func between(before *snapshot.Group, after snapshot.Group) []string {
	now, err := after.Items()
	if err != nil {
		return []string{"unknown: " + err.Error()}
	}
	if before == nil {
		return []string{"objects: " + strconv.Itoa(len(now))}
	}
	was, err := before.Items()
	if err != nil {
		return []string{"unknown: " + err.Error()}
	}
	out := changes(was, now)
	if len(out) == 0 {
		out = []string{"only the order changed"}
	}
	if before.Index != after.Index-1 {
		out = append([]string{fmt.Sprintf("compared with %d:", before.Index)}, out...)
	}
	return out
}

// changes names the objects that differ, without their contents, which may be secret.
func changes(was, now []snapshot.Item) []string {
	key := func(id v1beta1.ResourceIdentifier) v1beta1.ResourceIdentifier { id.Version = ""; return id }
	old := map[v1beta1.ResourceIdentifier]snapshot.Item{}
	for _, item := range was {
		old[key(item.ID)] = item
	}
	var out []string
	add := func(sign string, id v1beta1.ResourceIdentifier) { out = append(out, sign+" "+objectName(id)) }
	for _, item := range now {
		before, there := old[key(item.ID)]
		delete(old, key(item.ID))
		switch {
		case !there:
			add("+", item.ID)
		case !same(before.Raw, item.Raw):
			add("~", item.ID)
		}
	}
	for _, item := range old {
		add("-", item.ID)
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(cmp.Compare(a[2:], b[2:]), cmp.Compare(a, b)) })
	return out
}

func objectName(id v1beta1.ResourceIdentifier) string {
	kind := id.Kind
	if id.Group != "" {
		kind += "." + id.Group
	}
	return kind + " " + naming.Object(types.NamespacedName{Namespace: id.Namespace, Name: id.Name})
}

// same compares JSON values, not their formatting.
func same(a, b []byte) bool {
	var x, y any
	return decode.JSON(a, &x) == nil && decode.JSON(b, &y) == nil && reflect.DeepEqual(x, y)
}

func printHistory(out io.Writer, revisions []revision, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "REVISION\tAGE\tCLUSTERS\tCHANGES")
	for _, r := range revisions {
		age := duration.HumanDuration(now.Sub(r.created))
		for i, change := range r.changes {
			if i == 0 {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.index, age, cmp.Or(strings.Join(r.clusters, ","), "-"), change)
			} else {
				fmt.Fprintf(w, "\t\t\t%s\n", change)
			}
		}
	}
	return w.Flush()
}
