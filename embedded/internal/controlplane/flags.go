package controlplane

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
)

// parse sets flags by name. Options are set through their flags, not their fields: the flags are what Kubernetes
// documents and keeps stable.
func parse(sets cliflag.NamedFlagSets, values map[string]string) error {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, set := range sets.FlagSets {
		all.AddFlagSet(set)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if values[name] == "" {
			continue
		}
		if err := all.Set(name, values[name]); err != nil {
			return fmt.Errorf("set --%s: %w", name, err)
		}
	}
	return nil
}

// quiet are gates of features that write or poll for the sake of other replicas, of which there are none.
var quiet = map[string]bool{"APIServerIdentity": false, "UnknownVersionInteroperabilityProxy": false}

func featureGates(wanted map[string]bool) string {
	gates := maps.Clone(quiet)
	maps.Copy(gates, wanted)
	var list []string
	for _, name := range slices.Sorted(maps.Keys(gates)) {
		list = append(list, name+"="+strconv.FormatBool(gates[name]))
	}
	return strings.Join(list, ",")
}
