// Package local is "kubectl fleet up" and "kubectl fleet down": a fleet on the user's machine.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/flagship-fleet/flagship/examples/quickstart"
	"github.com/flagship-fleet/flagship/pkg/cli/terminal"
	"github.com/flagship-fleet/flagship/pkg/cli/verb"
	"github.com/flagship-fleet/flagship/pkg/localfleet"
)

// UpOptions are those of "kubectl fleet up".
type UpOptions struct {
	file, dir, charts string
	example           bool
	timeout           time.Duration
	// config is read from the file.
	config localfleet.Config
	genericiooptions.IOStreams
}

// NewUpCommand returns "kubectl fleet up".
func NewUpCommand(streams genericiooptions.IOStreams) *cobra.Command {
	o := &UpOptions{IOStreams: streams}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a fleet on this machine",
		Long: `Start a fleet on this machine: a hub and its members, each a whole Kubernetes cluster in one process with simulated nodes, with
the agents' charts installed and the agents running. It stays until "kubectl fleet down".

Without a file there are a hub and three members, spoke-1 to spoke-3, with the labels region and env; or, if the folder holds a
stopped fleet, that one. A file describes another fleet. Everything in it may be left out:

  hub:
    name: hub
    port: 6443                     # of the API server; any free one by default
    agent:
      flags: {v: "4"}              # of the agent, without dashes
      values: {hubAPIQPS: 500}     # of the agent's chart
    nodes: [{count: 1}]            # for workloads of the hub's own, with enableWorkload: true in values; none by default
  members:
  - name: paris
    labels: {region: europe}       # by which placements choose clusters
    nodes:
    - {count: 2}
    - {count: 1, namePrefix: gpu, labels: {gpu: "yes"}, capacity: {cpu: "64", memory: 256Gi}}
    identity: {name: paris-agent}  # ServiceAccount in fleet-system on the hub
    heartbeatPeriodSeconds: 5
    join: false                    # leaves the MemberCluster to you

The folder holds the kubeconfig, whose contexts are the names of the clusters, and for each cluster its data and logs:
<cluster>/cluster.log and <cluster>/agent.log. Started again after "down --keep", the fleet has what it had. If a process ended in
the meantime, "up" starts it again and leaves the others alone.`,
		Example: `  # A hub and three members, with an application placed on all of them
  kubectl fleet up --example

  # A fleet of one's own
  kubectl fleet up -f fleet.yaml

  # Two fleets side by side
  kubectl fleet up --dir /tmp/a
  kubectl fleet up --dir /tmp/b`,
		Args: cobra.NoArgs,
		RunE: verb.Run(o),
	}
	cmd.Flags().StringVarP(&o.file, "filename", "f", "", "file that describes the fleet")
	cmd.Flags().StringVar(&o.dir, "dir", ".fleet", "folder for the fleet's state")
	cmd.Flags().StringVar(&o.charts, "charts", "", "folder with the charts hub-agent and member-agent, instead of those built in")
	cmd.Flags().BoolVar(&o.example, "example", false, "place an example application on all members and wait until it is available")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 3*time.Minute, "how long any single step may take")
	return cmd
}

// Complete reads the file that describes the fleet.
func (o *UpOptions) Complete([]string) error {
	if o.file == "" {
		return nil
	}
	var err error
	o.config, err = localfleet.LoadConfig(o.file)
	return err
}

// Validate leaves the description to localfleet, which completes it first.
func (o *UpOptions) Validate() error { return nil }

// Run starts the fleet, places the example if that is wanted, and shows what there is.
func (o *UpOptions) Run(ctx context.Context) error {
	shown := terminal.NewProgress(o.ErrOut)
	defer shown.Close()
	fleet, err := localfleet.Start(ctx, localfleet.Options{
		Config:   o.config,
		Dir:      o.dir,
		ChartDir: o.charts,
		Detached: true,
		Patience: o.timeout,
		Progress: func(e localfleet.Event) { shown.Say(e.Cluster, e.Text, e.Done) },
	})
	var running *localfleet.RunningError
	switch {
	case errors.As(err, &running) && running.Changed:
		return fmt.Errorf("%w\nstop it: %s", err, o.command("down"))
	case errors.As(err, &running):
		fmt.Fprintf(o.Out, "The fleet in %s is already running. To stop it: %s\n\n", o.dir, o.command("down"))
	case err != nil:
		return o.failed(ctx, err)
	}
	if o.example {
		if err := placeExample(ctx, fleet, shown, o.timeout); err != nil {
			return o.failed(ctx, &localfleet.UnfinishedError{Err: err})
		}
	}
	shown.Close()
	if err := o.summary(ctx, fleet); err != nil {
		return err
	}
	return o.next(o.Out, fleet)
}

// failed adds to an error what the user can do about a fleet that has come only half the way.
func (o *UpOptions) failed(ctx context.Context, err error) error {
	var unfinished *localfleet.UnfinishedError
	if !errors.As(err, &unfinished) {
		return err
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	return fmt.Errorf("%w\n\nWhat was started goes on running.\n  to go on:    %s\n  to stop it:  %s\n  its logs:    %s",
		err, o.command("up"), o.command("down"), filepath.Join(o.dir, "*", "*.log"))
}

// command is a command of this plugin for the same fleet.
func (o *UpOptions) command(name string) string {
	command := plugin() + " " + name
	if name == "up" && o.file != "" {
		command += " -f " + o.file
	}
	if o.dir != ".fleet" {
		command += " --dir " + o.dir
	}
	return command
}

// next tells what may be typed next.
func (o *UpOptions) next(w io.Writer, fleet *localfleet.Fleet) error {
	k := kubectl() + " --kubeconfig " + filepath.Join(o.dir, "kubeconfig")
	commands := []string{"Look at the fleet:", k + " get memberclusters,clusterresourceplacements"}
	if members := fleet.Members(); o.example && len(members) > 0 {
		last := members[len(members)-1]
		in := k + " -n " + quickstart.Namespace
		commands = append(commands,
			"Look at what was placed on a member:", fmt.Sprintf("%s --context %s get all,configmaps,books", in, last),
			"Change it on the hub, and find the change on the member:",
			fmt.Sprintf(`%s patch configmap greeting --type merge -p '{"data":{"text":"Good evening"}}'`, in),
			fmt.Sprintf("%s --context %s get configmap greeting -o yaml", in, last))
	} else {
		commands = append(commands, "Place an example application on all members:", o.command("up")+" --example")
	}
	commands = append(commands, "Stop the fleet:", o.command("down"))
	fmt.Fprintln(w)
	for i, line := range commands {
		if !isHeading(line) {
			line = "  " + line
		} else if i > 0 {
			fmt.Fprintln(w)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

func isHeading(line string) bool { return line[len(line)-1] == ':' }
