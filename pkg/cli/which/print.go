package which

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/cli/naming"
)

func printAnswers(out io.Writer, format string, answers []answer, now time.Time) error {
	if len(answers) == 0 {
		return nil
	}
	var data []byte
	var err error
	switch format {
	case "json":
		data, err = json.MarshalIndent(answers, "", "  ")
		data = append(data, '\n')
	case "yaml":
		data, err = yaml.Marshal(answers)
	default:
		return printText(out, answers, now)
	}
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	return err
}

func printText(out io.Writer, answers []answer, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, a := range answers {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s %s\n", a.Kind, naming.Object(types.NamespacedName{Namespace: a.Namespace, Name: a.Name}))
		if !a.Placed {
			fmt.Fprintln(w, "  No fleet placed it here: no AppliedWork owns it.")
			continue
		}
		line := func(title, text string) {
			if text != "" {
				fmt.Fprintf(w, "  %s\t%s\n", title, text)
			}
		}
		line("Placement", cmp.Or(a.Placement, "unknown (applied by an older agent)"))
		line("Hub", a.Hub)
		line("Snapshot", a.Snapshot)
		line("Overrides", cmp.Or(strings.Join(a.Overrides, ", "), "none"))
		line("Work", a.Work)
		line("Applied", ago(a.Applied, now))
		line("Held", a.Held)
		for _, c := range a.Changes {
			title := "Also set"
			if c.Drift {
				title = "Drifted"
			}
			line(title, fmt.Sprintf("by %s, %s: %s", c.By, ago(c.When, now), brief.List(c.Fields, mostFields)))
		}
		if len(a.Changes) == 0 {
			line("Changes", "no changes by other managers")
		}
	}
	return w.Flush()
}

func ago(t *metav1.Time, now time.Time) string {
	if t == nil {
		return "at an unknown time"
	}
	return fmt.Sprintf("%s (%s ago)", t.UTC().Format(time.RFC3339), duration.HumanDuration(max(0, now.Sub(t.Time))))
}

// mostFields is the most fields of a change that are printed.
const mostFields = 5
