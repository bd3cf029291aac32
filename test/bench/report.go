package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"
)

// row is one measured duration with its floor.
type row struct {
	Figure     string  `json:"figure"`
	P50        float64 `json:"p50Seconds"`
	P90        float64 `json:"p90Seconds"`
	FloorP50   float64 `json:"floorP50Seconds"`
	FloorP90   float64 `json:"floorP90Seconds"`
	TimesFloor float64 `json:"timesFloorP50"`
	Whole      float64 `json:"wholeSeconds"`
	FloorWhole float64 `json:"floorWholeSeconds"`
	WholeTimes float64 `json:"timesFloorWhole"`
}

// count is API writes of agents in one phase.
type count struct {
	Phase string `json:"phase"`
	// Hub are writes to the hub by verb, by all agents; Member those to members.
	Hub    writes `json:"hub"`
	Member writes `json:"member"`
	// Routine are the heartbeats and lease renewals among them, counted as changes of the objects that they write.
	RoutineHub    int `json:"routineHub"`
	RoutineMember int `json:"routineMember"`
	// Pairs is the number of (placement, member) pairs in the phase.
	Pairs int `json:"pairs,omitempty"`
	// Objects is how many creates, patches and deletes of users' objects on members the phase needs at least.
	Objects int `json:"objects,omitempty"`
}

func (c count) hub() float64    { return c.Hub.total() - float64(c.RoutineHub) }
func (c count) member() float64 { return c.Member.total() - float64(c.RoutineMember) }

type results struct {
	When   time.Time        `json:"when"`
	Rows   []row            `json:"latency,omitempty"`
	Counts []count          `json:"writes,omitempty"`
	Agents map[string]usage `json:"agents,omitempty"`
	// Selection are the figures of that section.
	Selection *selectionFigures `json:"selection,omitempty"`
	// Scheduling are the figures of that section.
	Scheduling *schedulingFigures `json:"scheduling,omitempty"`
	// Member are the figures of that section.
	Member *memberFigures `json:"member,omitempty"`
	// Runs are the figures of that section.
	Runs *runsFigures `json:"runs,omitempty"`
	// Admission are the figures of that section.
	Admission *admissionFigures `json:"admission,omitempty"`
	// Failover are the figures of that section.
	Failover *failoverFigures `json:"failover,omitempty"`
	// Division are the figures of that section.
	Division *divisionFigures `json:"division,omitempty"`
	// Trace are the figures of that section.
	Trace *traceFigures `json:"trace,omitempty"`
	// Scale are the figures of that section.
	Scale *scaleFigures `json:"scale,omitempty"`

	Edits300 struct {
		Seconds float64 `json:"seconds"`
		Patches float64 `json:"patches"`
	} `json:"edits300,omitzero"`
}

func (r *results) latency(name string, ours, floor times) {
	add := func(what string, o, f figure, whole, floorWhole time.Duration) {
		if len(o) == 0 {
			return
		}
		line := row{
			Figure: name + ": " + what,
			P50:    o.percentile(50).Seconds(), P90: o.percentile(90).Seconds(),
			FloorP50: f.percentile(50).Seconds(), FloorP90: f.percentile(90).Seconds(),
			Whole: whole.Seconds(), FloorWhole: floorWhole.Seconds(),
		}
		if line.FloorP50 > 0 {
			line.TimesFloor = line.P50 / line.FloorP50
		}
		if line.FloorWhole > 0 {
			line.WholeTimes = line.Whole / line.FloorWhole
		}
		r.Rows = append(r.Rows, line)
	}
	add("placed on all", ours.placed, floor.placed, ours.placedWhole, floor.placedWhole)
	add("Available", ours.available, floor.available, 0, 0)
	add("edit on all", ours.edited, floor.edited, ours.editedWhole, floor.editedWhole)
	add("deleted from all", ours.deleted, floor.deleted, ours.deletedWhole, floor.deletedWhole)
}

// print prints the figures of every section that has run.
func (r *results) print(w io.Writer) error {
	if len(r.Rows) > 0 {
		if err := r.printMain(w); err != nil {
			return err
		}
	}
	if r.Selection != nil {
		r.Selection.print(w)
	}
	if r.Scheduling != nil {
		r.Scheduling.print(w)
	}
	if r.Member != nil {
		r.Member.print(w)
	}
	if r.Runs != nil {
		r.Runs.print(w)
	}
	if r.Admission != nil {
		if err := r.Admission.print(w); err != nil {
			return err
		}
	}
	if r.Failover != nil {
		if err := r.Failover.print(w); err != nil {
			return err
		}
	}
	if r.Division != nil {
		if err := r.Division.print(w); err != nil {
			return err
		}
	}
	if r.Trace != nil {
		if err := r.Trace.print(w); err != nil {
			return err
		}
	}
	if r.Scale != nil {
		return r.Scale.print(w)
	}
	return nil
}

func (r *results) printMain(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "latency\tp50 ms\tp90 ms\tfloor p50\tfloor p90\t× floor\twhole s\tfloor s\t× floor\t")
	for _, l := range r.Rows {
		fmt.Fprintf(table, "%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.1f\t%.2f\t%.2f\t%.1f\t\n", l.Figure, 1000*l.P50, 1000*l.P90, 1000*l.FloorP50,
			1000*l.FloorP90, l.TimesFloor, l.Whole, l.FloorWhole, l.WholeTimes)
	}
	fmt.Fprintln(table, "\t\t\t\t\t\t\t\t\t")
	fmt.Fprintln(table, "agents' API writes\thub\tPOST\tPUT\tPATCH\tDELETE\tper pair\tmembers\tper pair beside objects\t")
	for _, c := range r.Counts {
		perPair, beside := "", ""
		if c.Pairs > 0 {
			perPair = fmt.Sprintf("%.2f", c.hub()/float64(c.Pairs))
			beside = fmt.Sprintf("%.2f", (c.member()-float64(c.Objects))/float64(c.Pairs))
		}
		fmt.Fprintf(table, "%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%s\t%.0f\t%s\t\n", c.Phase, c.hub(), c.Hub["POST"], c.Hub["PUT"], c.Hub["PATCH"],
			c.Hub["DELETE"], perPair, c.member(), beside)
	}
	fmt.Fprintln(table, "\t\t\t\t\t\t\t\t\t")
	fmt.Fprintln(table, "agent\tCPU s\tpeak MiB\t\t\t\t\t\t\t")
	for name, u := range r.Agents {
		fmt.Fprintf(table, "%s\t%.1f\t%.0f\t\t\t\t\t\t\t\n", name, u.CPUSeconds, u.PeakMiB)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n300 config maps edited one after the other: %.1f s until all are on all members, %.0f patches\n", r.Edits300.Seconds, r.Edits300.Patches)
	for _, c := range r.Counts {
		if c.Pairs == 0 {
			fmt.Fprintf(w, "%s: %.0f hub and %.0f member writes, and %d + %d heartbeats and lease renewals\n", c.Phase, c.hub(), c.member(), c.RoutineHub, c.RoutineMember)
		}
	}
	return nil
}

func (r *results) save(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
