package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// Scripts use these names: one may be added, and none goes away.
func TestEveryVerbIsThere(t *testing.T) {
	want := []string{
		"approve", "cordon", "down", "drain", "draincluster", "explain", "explain placement", "failover", "failover release", "failover status", "rebalance", "release", "rollout", "rollout history", "rollout pause", "rollout resume",
		"rollout status", "rollout undo", "uncordon", "uncordoncluster", "up", "version", "which",
	}
	root := NewCommand(genericiooptions.NewTestIOStreamsDiscard())
	for _, name := range want {
		cmd, rest, err := root.Find(strings.Fields(name))
		if err != nil || len(rest) > 0 || cmd.RunE == nil || cmd.Short == "" {
			t.Errorf("%s is not there: found %s, error %v", name, cmd.CommandPath(), err)
		}
	}
	var got []string
	walk(root, "", func(name string) { got = append(got, name) })
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the commands are %q", got)
	}
}

func walk(cmd *cobra.Command, path string, visit func(string)) {
	for _, c := range cmd.Commands() {
		for _, name := range append(c.Aliases, c.Name()) {
			visit(path + name)
		}
		walk(c, path+c.Name()+" ", visit)
	}
}

func TestHelpIsOfKubectlFleet(t *testing.T) {
	for args, want := range map[string]string{
		"":                  "Usage:\n  kubectl fleet [flags]",
		"rollout":           "Usage:\n  kubectl fleet rollout [flags]",
		"explain":           "Usage:\n  kubectl fleet explain [flags]",
		"failover":          "Usage:\n  kubectl fleet failover [flags]",
		"drain --help":      "Usage:\n  kubectl fleet drain CLUSTER [flags]",
		"version":           "dev\n",
		"completion --help": "autocompletion",
	} {
		streams, _, out, _ := genericiooptions.NewTestIOStreams()
		root := NewCommand(streams)
		root.SetArgs(strings.Fields(args))
		if err := root.ExecuteContext(t.Context()); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%q: error %v, printed\n%s\nwant %q", args, err, out, want)
		}
	}
}
