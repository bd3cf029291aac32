// Package which is "kubectl fleet which": why an object is on a member cluster, and what has changed it there.
package which

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/pkg/cli/verb"
)

// Options are those of "kubectl fleet which".
type Options struct {
	member *genericclioptions.ConfigFlags
	// objects are the arguments, in kubectl's syntax.
	objects []string
	output  string
	genericiooptions.IOStreams
}

// NewCommand returns "kubectl fleet which".
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &Options{member: genericclioptions.NewConfigFlags(true), IOStreams: streams}
	cmd := &cobra.Command{
		Use:   "which (TYPE NAME | TYPE/NAME ...)",
		Short: "Show why an object is on a member cluster, and what changed it there",
		Long: `Show why objects are on a member cluster: their placement, resource snapshot, overrides and Work, when they were
applied, and which field managers have changed them since. Run it against the member cluster.`,
		Example: `  # Why is this config map here?
  kubectl fleet which configmap/settings -n shop

  # Several objects of a member, as JSON
  kubectl fleet which deployments/web services/web -n shop --context member-1 -o json`,
		Args: cobra.MinimumNArgs(1),
		RunE: verb.Run(o),
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "output format: json or yaml; text by default")
	o.member.AddFlags(cmd.Flags())
	return cmd
}

// Complete takes the objects from the arguments.
func (o *Options) Complete(args []string) error {
	o.objects = args
	return nil
}

// Validate checks the output format.
func (o *Options) Validate() error {
	if !slices.Contains([]string{"", "json", "yaml"}, o.output) {
		return fmt.Errorf("--output %q is not supported: use json or yaml", o.output)
	}
	return nil
}

// Run explains the objects that could be read, and returns the errors of the others.
func (o *Options) Run(ctx context.Context) error {
	answers, err := o.answers(ctx)
	return errors.Join(printAnswers(o.Out, o.output, answers, time.Now()), err)
}

// answers reads the objects, and the AppliedWorks that own them, from the member cluster. It returns an answer for
// each object that could be read, and the errors of the others.
func (o *Options) answers(ctx context.Context) ([]answer, error) {
	namespace, _, err := o.member.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config, err := o.member.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	cluster, err := client.New(config, client.Options{Scheme: apis.Scheme()})
	if err != nil {
		return nil, fmt.Errorf("connect to the member cluster: %w", err)
	}
	var answers []answer
	err = resource.NewBuilder(o.member).Unstructured().NamespaceParam(namespace).DefaultNamespace().
		ResourceTypeOrNameArgs(false, o.objects...).ContinueOnError().Flatten().Latest().Do().
		Visit(func(info *resource.Info, err error) error {
			if err != nil {
				return err
			}
			obj, ok := info.Object.(*unstructured.Unstructured)
			if !ok {
				return fmt.Errorf("read %s: got %T", info.Name, info.Object)
			}
			ledger, err := ledgerOf(ctx, cluster, obj)
			answers = append(answers, answerOf(obj, ledger))
			return err
		})
	return answers, err
}
