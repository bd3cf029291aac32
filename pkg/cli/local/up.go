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
		Long: `Start a fleet on this machine: a hub and its members, each a Kubernetes cluster in one process with simulated nodes, with
the agents' charts installed and the agents running. It runs until "kubectl fleet down".

By default there are a hub and three members, spoke-1 to spoke-3, with the labels region and env. If the directory holds a
stopped fleet, "up" starts that fleet again. A file describes another fleet. All fields are optional:

  hub:
    name: hub
    port: 6443                     # of the API server; any free one by default
    agent:
      flags: {v: "4"}              # of the agent, without dashes
      values: {hubAPIQPS: 500}     # of the agent's chart
    nodes: [{count: 1}]            # for workloads on the hub itself, with enableWorkload: true in values; none by default
  members:
  - name: paris
    labels: {region: europe}       # for the cluster selectors of placements
    nodes:
    - {count: 2}
    - {count: 1, namePrefix: gpu, labels: {gpu: "yes"}, capacity: {cpu: "64", memory: 256Gi}}
    identity: {name: paris-agent}  # ServiceAccount in fleet-system on the hub
    heartbeatPeriodSeconds: 5
    join: false                    # you create the MemberCluster

The directory holds the kubeconfig, whose contexts are the names of the clusters, and for each cluster its data and logs:
<cluster>/cluster.log and <cluster>/agent.log. After "down --keep", "up" starts the fleet with its former state. If a process has
ended in the meantime, "up" starts it again and does not change the others.`,
		Example: `  # A hub and three members, with an application placed on all of them
  kubectl fleet up --example

  # The fleet that a file describes
  kubectl fleet up -f fleet.yaml

  # Two fleets side by side
  kubectl fleet up --dir /tmp/a
  kubectl fleet up --dir /tmp/b`,
		Args: cobra.NoArgs,
		RunE: verb.Run(o),
	}
	cmd.Flags().StringVarP(&o.file, "filename", "f", "", "file that describes the fleet")
	cmd.Flags().StringVar(&o.dir, "dir", ".fleet", "directory for the fleet's state")
	cmd.Flags().StringVar(&o.charts, "charts", "", "directory with the charts hub-agent and member-agent, instead of the built-in charts")
	cmd.Flags().BoolVar(&o.example, "example", false, "place an example application on all members and wait until it is available")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 3*time.Minute, "how long a single step may take")
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

// Validate does nothing: localfleet completes the description and validates it.
func (o *UpOptions) Validate() error { return nil }

// Run starts the fleet, places the example if requested, and prints a summary.
func (o *UpOptions) Run(ctx context.Context) error {
	shown := terminal.NewProgress(o.ErrOut)
	defer shown.Close()
	fleet, err := localfleet.Start(ctx, localfleet.Options{
		Config:   o.config,
		Dir:      o.dir,
		ChartDir: o.charts,
		Detached: true,
		Patience: o.timeout,
		Progress: func(e localfleet.Event) { shown.Update(e.Cluster, e.Text, e.Done) },
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

// failed adds to the error of an incomplete start what the user can do.
func (o *UpOptions) failed(ctx context.Context, err error) error {
	var unfinished *localfleet.UnfinishedError
	if !errors.As(err, &unfinished) {
		return err
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	return fmt.Errorf("%w\n\nProcesses that were started keep running.\n  to continue:  %s\n  to stop them: %s\n  their logs:   %s",
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

// next prints commands that the user may want to run next.
func (o *UpOptions) next(w io.Writer, fleet *localfleet.Fleet) error {
	k := kubectl() + " --kubeconfig " + filepath.Join(o.dir, "kubeconfig")
	commands := []string{"Look at the fleet:", k + " get memberclusters,clusterresourceplacements"}
	if members := fleet.Members(); o.example && len(members) > 0 {
		last := members[len(members)-1]
		in := k + " -n " + quickstart.Namespace
		commands = append(commands,
			"Look at the placed objects on a member:", fmt.Sprintf("%s --context %s get all,configmaps,books", in, last),
			"Change an object on the hub, and see the change on the member:",
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
