package explain

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/cli/naming"
	"github.com/flagship-fleet/flagship/pkg/cli/terminal"
	"github.com/flagship-fleet/flagship/pkg/schedule"
)

// formats are the output formats.
var formats = []string{"table", "json", "yaml"}

func (e *explanation) print(w io.Writer, format string, detailed bool) error {
	switch {
	case format == "json":
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(e)
	case format == "yaml":
		text, err := yaml.Marshal(e)
		if err != nil {
			return fmt.Errorf("write the explanation: %w", err)
		}
		_, err = w.Write(text)
		return err
	case detailed:
		_, err := io.WriteString(w, e.heading()+e.Clusters[0].text())
		return err
	}
	if _, err := io.WriteString(w, e.heading()+"\n"); err != nil {
		return err
	}
	if err := e.table().Print(w); err != nil {
		return fmt.Errorf("write the explanation: %w", err)
	}
	return nil
}

// heading is the lines about the placement as a whole.
func (e *explanation) heading() string {
	name := naming.Object(types.NamespacedName{Namespace: e.Namespace, Name: e.Name})
	lines := []string{fmt.Sprintf("%s %s: %s, %d of %d clusters picked.", e.Kind, name, e.PolicyType, e.Found, e.Wanted)}
	if e.PolicyType == placementv1beta1.PlacementTypePickAll {
		lines[0] = fmt.Sprintf("%s %s: %s, %d clusters picked.", e.Kind, name, e.PolicyType, e.Found)
	}
	for _, note := range e.Notes {
		lines = append(lines, "Note: "+note)
	}
	if e.After != nil {
		lines = append(lines, "After scheduling: "+e.After.text())
	}
	return strings.Join(lines, "\n") + "\n"
}

func (a *after) text() string {
	out := a.Stage + ": " + a.Message + "."
	if a.Next != "" {
		out += " Next: " + a.Next
	}
	return out
}

// fewKeys is how many keys of annotations a line names.
const fewKeys = 5

func (t *takenAlong) text() string {
	from := ""
	if t.From != "" {
		from = " from cluster " + t.From
	}
	return fmt.Sprintf("%d annotation(s) of objects%s: %s", t.Annotations, from, brief.List(t.Keys, fewKeys))
}

func (e *explanation) table() terminal.Table {
	table := terminal.Table{Columns: []string{"Cluster", "Picked", "Affinity", "Spread", "Why", "Nearest change"}}
	for _, a := range e.Clusters {
		change := "-"
		if len(a.NearestChanges) > 0 {
			change = changeText(a.NearestChanges[0])
		}
		why := strings.Join(append([]string{a.reason()}, a.Notes...), "; ")
		table.Rows = append(table.Rows, []any{a.Cluster, yesNo(a.Picked), number(a.Affinity), number(a.Spread), why, change})
	}
	return table
}

// reason is why the cluster is picked or not, with the filter that decided.
func (a *account) reason() string {
	if a.Filter == "" {
		return a.Why
	}
	return string(a.Filter) + ": " + a.Why
}

func yesNo(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

func number(n *int32) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

func changeText(change schedule.NearestChange) string {
	var steps []string
	for _, step := range change {
		steps = append(steps, step.On+": "+step.Do)
	}
	return strings.Join(steps, ", and ")
}

// text is everything known about one cluster.
func (a *account) text() string {
	var b strings.Builder
	line := func(what, text string) { fmt.Fprintf(&b, "%-16s %s\n", what+":", text) }
	line("Cluster", a.Cluster)
	line("Picked", yesNo(a.Picked)+" ("+string(a.Outcome)+")")
	line("Why", a.reason())
	if a.Affinity != nil || a.Spread != nil {
		line("Scores", fmt.Sprintf("affinity %s, topology spread %s", number(a.Affinity), number(a.Spread)))
	}
	if a.Binding != "" {
		line("Binding", fmt.Sprintf("%s (%s)", a.Binding, a.BindingState))
	}
	for _, share := range a.Replicas {
		line("Replicas", share.String())
	}
	if a.TakenAlong != nil {
		line("Taken along", a.TakenAlong.text())
	}
	for _, note := range a.Notes {
		line("Note", note)
	}
	for i, change := range a.NearestChanges {
		what := "Nearest change"
		if i > 0 {
			what = "or"
		}
		line(what, changeText(change))
	}
	if len(a.NearestChanges) == 0 {
		line("Nearest change", "none found")
	}
	if a.After != nil {
		line("Then", a.After.text())
	}
	return b.String()
}
