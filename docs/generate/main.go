// Command generate writes docs/metrics.md from the metrics that the agents define. It runs in docs.
package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	_ "github.com/flagship-fleet/flagship/pkg/hub"
	_ "github.com/flagship-fleet/flagship/pkg/member"
	"github.com/flagship-fleet/flagship/pkg/metrics"
)

const head = `# Metrics

<!-- Written by "make generate" from the definitions in the agents' packages; change those. -->

Both agents serve ` + "`/metrics`" + ` over HTTPS, to [those who may read them](security.md#metrics). Beside what stands here are the metrics of
controller-runtime (` + "`controller_runtime_*`, `workqueue_*`" + `, one series for each controller), of client-go (` + "`rest_client_*`" + `) and of the Go
runtime.

Names and labels of metrics that KubeFleet has are KubeFleet's, so that dashboards go on working. Two of KubeFleet's are not served:
` + "`work_apply_time_seconds`" + `, which KubeFleet registers and never feeds, and the series of the controller ` + "`resource-change-controller`" + `, a queue
that Flagship does not have: a change of a selected object wakes its placements directly.
`

func main() {
	if err := os.WriteFile("metrics.md", []byte(page(metrics.All())), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func page(all []metrics.Definition) string {
	var b strings.Builder
	b.WriteString(head)
	for _, agent := range []metrics.Agent{metrics.Hub, metrics.Member} {
		fmt.Fprintf(&b, "\n## %s\n", strings.ToUpper(string(agent[:1]))+string(agent[1:]))
		for _, d := range all {
			if slices.Contains(d.Agents, agent) {
				section(&b, d)
			}
		}
	}
	return b.String()
}

func section(b *strings.Builder, d metrics.Definition) {
	fmt.Fprintf(b, "\n### `%s`\n\nA %s. %s\n", d.Name, d.Kind(), d.Help)
	if len(d.Buckets) > 0 {
		bounds := make([]string, len(d.Buckets))
		for i, bound := range d.Buckets {
			bounds[i] = strconv.FormatFloat(bound, 'f', -1, 64)
		}
		fmt.Fprintf(b, "Its buckets end at %s.\n", strings.Join(bounds, ", "))
	}
	if len(d.Labels) == 0 {
		return
	}
	b.WriteString("\n| Label | Values |\n|---|---|\n")
	for _, l := range d.Labels {
		fmt.Fprintf(b, "| `%s` | %s |\n", l.Name, l.Values)
	}
}
