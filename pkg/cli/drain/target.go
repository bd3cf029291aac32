package drain

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/hubclient"
)

// target is the member that a command is about, and its hub.
type target struct {
	hub hubclient.Flags
	// cluster is the argument, or else named, which is --cluster-name.
	cluster, named string
	timeout        time.Duration
	genericiooptions.IOStreams
}

func newTarget(streams genericiooptions.IOStreams) target {
	return target{hub: hubclient.NewFlags(), IOStreams: streams}
}

func (t *target) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&t.named, "cluster-name", "", "name of the cluster, instead of the argument")
	flags.DurationVar(&t.timeout, "timeout", 5*time.Minute, "how long to wait at most")
	t.hub.AddTo(flags)
}

// Complete takes the cluster from the argument or from --cluster-name.
func (t *target) Complete(args []string) error {
	t.cluster = t.named
	if len(args) > 0 {
		t.cluster = args[0]
	}
	return nil
}

// Validate checks that one cluster is named.
func (t *target) Validate() error {
	switch {
	case t.cluster == "":
		return errors.New("name the cluster: as the argument, or with --cluster-name; \"kubectl get memberclusters\" lists them")
	case t.named != "" && t.named != t.cluster:
		return fmt.Errorf("the argument %s and --cluster-name %s differ: name one cluster", t.cluster, t.named)
	}
	return nil
}

func (t *target) connect() (client.WithWatch, error) {
	return t.hub.Connect(&clusterv1beta1.MemberCluster{})
}
