// Package release is "kubectl fleet release": it lets a removal through that the removal policy of a placement holds.
package release

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/cli/hubclient"
	"github.com/flagship-fleet/flagship/pkg/cli/naming"
	"github.com/flagship-fleet/flagship/pkg/cli/terminal"
	"github.com/flagship-fleet/flagship/pkg/cli/verb"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/removal"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// Options are those of "kubectl fleet release".
type Options struct {
	hub hubclient.Flags
	key types.NamespacedName
	yes bool
	// asks reports whether there is a user to ask.
	asks func() bool
	genericiooptions.IOStreams
}

// NewCommand returns "kubectl fleet release".
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &Options{hub: hubclient.NewFlags(), IOStreams: streams}
	o.asks = func() bool { return terminal.Is(o.In) && terminal.Is(o.Out) }
	cmd := &cobra.Command{
		Use:   "release PLACEMENT",
		Short: "Let through what a placement would remove from clusters, and is held",
		Long: `Show what the changes of a placement would remove from clusters, and what is held because it is more than the placement's
strategy.removal, or the defaults of the hub agent, allow: objects that leave clusters, clusters that leave the placement, or
everything if the placement is deleted. Then ask, and let exactly that through.

If something else is held by the time of the answer, nothing is released. What is held later is not released, either: a rollout
that reaches further clusters needs another release for these. To end a hold without a removal, revert the change.

It needs the verb release-removal on the placement, which the roles hub-agent-operator and hub-agent-release-removal grant.

The name is that of a ClusterResourcePlacement; with --namespace, that of a ResourcePlacement. It may have the kind before it, as
in crp/NAME and rp/NAME.`,
		Example: `  # See what is held, and release it
  kubectl fleet release web

  # In a script that has read the status of the placement
  kubectl fleet release web -n shop --yes`,
		Args: cobra.ExactArgs(1),
		RunE: verb.Run(o),
	}
	cmd.Flags().StringVarP(&o.key.Namespace, "namespace", "n", "", "namespace of a ResourcePlacement; leave it out for a ClusterResourcePlacement")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "release without asking")
	o.hub.AddTo(cmd.Flags())
	return cmd
}

// Complete takes the placement from the argument.
func (o *Options) Complete(args []string) (err error) {
	o.key, err = naming.PlacementOf(args[0], o.key.Namespace)
	return err
}

// Validate has nothing to check.
func (o *Options) Validate() error { return nil }

// Run shows what is held, asks, and releases it.
func (o *Options) Run(ctx context.Context) error {
	hub, err := o.hub.Connect(scope.Placements.New(o.key))
	if err != nil {
		return err
	}
	return o.release(ctx, hub)
}

func (o *Options) release(ctx context.Context, hub client.Client) error {
	placement, holds, err := o.read(ctx, hub)
	if err != nil {
		return err
	}
	name := naming.Placement(o.key)
	if holds.None() {
		_, err := fmt.Fprintf(o.Out, "nothing of %s is held\n", name)
		return err
	}
	if err := o.show(placement, holds); err != nil {
		return err
	}
	text, of := removal.Release(holds.All())
	if placement.GetAnnotations()[contract.AnnotationReleaseRemoval] == text {
		_, err := fmt.Fprintf(o.Out, "%s is already released; the hub agent carries it out\n", name)
		return err
	}
	if ok, err := o.confirm(name); err != nil || !ok {
		return err
	}
	if err := o.write(ctx, hub, holds, text); err != nil {
		return err
	}
	if all := len(digests(holds)); of < all {
		_, err := fmt.Fprintf(o.Out, "%s: %d of %d removals are released; run the command again for the others\n", name, of, all)
		return err
	}
	_, err = fmt.Fprintf(o.Out, "%s: released\n", name)
	return err
}

// read reads the placement, and what is held of it.
func (o *Options) read(ctx context.Context, hub client.Client) (v1beta1.PlacementObject, report.Holds, error) {
	placement, err := scope.Placements.Get(ctx, hub, o.key)
	if apierrors.IsNotFound(err) {
		return nil, report.Holds{}, fmt.Errorf("there is no %s", naming.Placement(o.key))
	}
	if err != nil {
		return nil, report.Holds{}, err
	}
	if since := placement.GetDeletionTimestamp(); !since.IsZero() {
		if meta.IsStatusConditionTrue(placement.GetStatus().Conditions, placement.ConditionType(v1beta1.ConditionRemovalHeld)) {
			return placement, report.Holds{Placement: &v1beta1.HeldRemoval{Digest: removal.DigestOfDeletion(placement.GetUID(), *since), Since: *since}}, nil
		}
		return placement, report.Holds{}, nil
	}
	of := client.MatchingLabels{contract.LabelPlacement: o.key.Name}
	bindings, err := scope.Bindings.List(ctx, hub, o.key.Namespace, of)
	if err != nil {
		return nil, report.Holds{}, err
	}
	policies, err := scope.PolicySnapshots.List(ctx, hub, o.key.Namespace, of)
	if err != nil {
		return nil, report.Holds{}, err
	}
	policies = slices.DeleteFunc(policies, func(p v1beta1.PolicySnapshotObject) bool { return !scope.OwnedBy(p, placement) })
	return placement, report.HoldsOf(scope.OnlyOf(placement, bindings), snapshot.LatestPolicy(policies)), nil
}

// shown is how many names of a removal are shown.
const shown = 5

func (o *Options) show(placement v1beta1.PlacementObject, holds report.Holds) error {
	if holds.Placement != nil {
		c := meta.FindStatusCondition(placement.GetStatus().Conditions, placement.ConditionType(v1beta1.ConditionRemovalHeld))
		_, err := fmt.Fprintf(o.Out, "%s is being deleted since %s. %s\n", naming.Placement(o.key), since(*holds.Placement), c.Message)
		return err
	}
	if c := holds.Clusters; c != nil {
		if _, err := fmt.Fprintf(o.Out, "The policy leaves %d of %d clusters, held since %s: %s\n", c.Removed, c.Total, since(*c), first(*c)); err != nil {
			return err
		}
	}
	if len(holds.Content) == 0 {
		return nil
	}
	table := terminal.Table{Columns: []string{"Cluster", "Removed", "Of", "Protected", "Held since", "Objects"}}
	for _, h := range holds.Content {
		table.Rows = append(table.Rows, []any{h.Cluster, h.Removed, h.Total, h.Protected, since(h.HeldRemoval), first(h.HeldRemoval)})
	}
	return table.Print(o.Out)
}

func since(h v1beta1.HeldRemoval) string { return h.Since.UTC().Format(time.RFC3339) }

// first names the first of what would be removed, and the number of the others. Others than the hub agent may have made
// the names of objects.
func first(h v1beta1.HeldRemoval) string {
	names := make([]string, 0, len(h.First))
	for _, name := range h.First {
		names = append(names, strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return -1
			}
			return r
		}, name))
	}
	named := min(len(names), shown)
	out := brief.List(names[:named], shown)
	if more := int(h.Removed) - named; more > 0 {
		out += fmt.Sprintf(" and %d more", more)
	}
	return out
}

// confirm asks the user.
func (o *Options) confirm(name string) (bool, error) {
	if o.yes {
		return true, nil
	}
	if !o.asks() {
		return false, errors.New("this is no terminal to ask on: nothing is released; use --yes to release what is shown")
	}
	if _, err := fmt.Fprintf(o.Out, "Remove this from the clusters? The objects of %s that leave are deleted there. [y/N] ", name); err != nil {
		return false, err
	}
	answer, err := bufio.NewReader(o.In).ReadString('\n')
	if err != nil && answer == "" {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer == "y" || answer == "yes" {
		return true, nil
	}
	_, err = fmt.Fprintln(o.Out, "nothing is released")
	return false, err
}

// write releases what was shown, if that is still what is held.
func (o *Options) write(ctx context.Context, hub client.Client, was report.Holds, text string) error {
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		placement, holds, err := o.read(ctx, hub)
		if err != nil {
			return err
		}
		if !slices.Equal(digests(was), digests(holds)) {
			return errChanged
		}
		before := placement.DeepCopyObject().(client.Object)
		annotations := placement.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[contract.AnnotationReleaseRemoval] = text
		placement.SetAnnotations(annotations)
		return hub.Patch(ctx, placement, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	})
	if err != nil {
		return fmt.Errorf("release %s: %w", naming.Placement(o.key), err)
	}
	return nil
}

var errChanged = errors.New("what is held has changed since it was shown: nothing is released; run the command again")

// digests identify what is held.
func digests(holds report.Holds) []string {
	var out []string
	for _, h := range holds.All() {
		out = append(out, h.Digest)
	}
	slices.Sort(out)
	return out
}
