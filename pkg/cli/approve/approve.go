// Package approve is "kubectl fleet approve": it approves the request that an update run waits for.
package approve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/hubclient"
	"github.com/flagship-fleet/flagship/pkg/cli/verb"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// Options are those of "kubectl fleet approve".
type Options struct {
	hub     hubclient.Flags
	kind    string
	key     types.NamespacedName
	timeout time.Duration
	genericiooptions.IOStreams
}

// NewCommand returns "kubectl fleet approve".
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &Options{hub: hubclient.NewFlags(), IOStreams: streams}
	cmd := &cobra.Command{
		Use:   "approve KIND",
		Short: "Approve a stage of an update run",
		Long: `Approve the request of an update run that waits before or after a stage. The kind is clusterapprovalrequest
(careq), for a ClusterStagedUpdateRun, or approvalrequest (areq), for a StagedUpdateRun. "kubectl get careq" and
"kubectl get areq -A" list the requests.

An approval cannot be revoked once the run has accepted it.`,
		Example: `  # Approve that the run "web-3" starts its stage "prod"
  kubectl fleet approve clusterapprovalrequest --name web-3-before-prod

  # The same for a run in namespace "shop", on another hub than the current one
  kubectl fleet approve approvalrequest --name web-3-before-prod -n shop --hub-cluster-context hub`,
		Args: cobra.ExactArgs(1),
		RunE: verb.Run(o),
	}
	cmd.Flags().StringVar(&o.key.Name, "name", "", "name of the approval request (required)")
	cmd.Flags().StringVarP(&o.key.Namespace, "namespace", "n", "", "namespace of an ApprovalRequest; a ClusterApprovalRequest has none")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long to wait at most")
	o.hub.AddTo(cmd.Flags())
	return cmd
}

// Complete takes the kind from the argument.
func (o *Options) Complete(args []string) error {
	o.kind = args[0]
	return nil
}

// Validate checks the kind, and that a namespace is given exactly for the namespaced kind.
func (o *Options) Validate() error {
	if o.key.Name == "" {
		return errors.New("--name is required: the name of the approval request, as in the status of the update run")
	}
	switch strings.ToLower(o.kind) {
	case "clusterapprovalrequest", "clusterapprovalrequests", "careq":
		if o.key.Namespace != "" {
			return fmt.Errorf("--namespace %s: a ClusterApprovalRequest has no namespace; leave the flag out, or approve an approvalrequest", o.key.Namespace)
		}
	case "approvalrequest", "approvalrequests", "areq":
		if o.key.Namespace == "" {
			return errors.New("--namespace is required for an ApprovalRequest; without a namespace, approve a clusterapprovalrequest")
		}
	default:
		return fmt.Errorf("kind %q is not known: use clusterapprovalrequest (careq) or approvalrequest (areq)", o.kind)
	}
	return nil
}

// reason is the reason of the condition Approved.
func (o *Options) reason() string {
	if o.key.Namespace == "" {
		return "ClusterApprovalRequestApproved"
	}
	return "ApprovalRequestApproved"
}

// Run approves the request.
func (o *Options) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	c, err := o.hub.Connect(scope.ApprovalRequests.New(o.key))
	if err != nil {
		return err
	}
	return o.approve(ctx, c)
}

func (o *Options) approve(ctx context.Context, c client.Client) error {
	already := false
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		request, err := scope.ApprovalRequests.Get(ctx, c, o.key)
		if err != nil {
			return err
		}
		already, err = o.set(ctx, c, request)
		return err
	})
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("approval request %s not found: an update run creates it when it reaches the stage", o.key.Name)
	case err != nil:
		return fmt.Errorf("approve %s: %w", o.key.Name, err)
	}
	text := "approved"
	if already {
		text = "is already approved"
	}
	_, err = fmt.Fprintf(o.Out, "%s %s\n", o.key.Name, text)
	return err
}

// set writes the approval, unless the request is already approved.
func (o *Options) set(ctx context.Context, c client.Client, request v1beta1.ApprovalRequestObject) (already bool, err error) {
	changed := meta.SetStatusCondition(request.GetConditions(), metav1.Condition{
		Type: v1beta1.ConditionApproved, Status: metav1.ConditionTrue, ObservedGeneration: request.GetGeneration(),
		Reason: o.reason(), Message: "Approved with kubectl fleet approve",
	})
	if !changed {
		return true, nil
	}
	return false, c.Status().Update(ctx, request)
}
