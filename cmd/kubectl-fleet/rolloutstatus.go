package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/stage"
)

// statusLook is how often "rollout status --watch" looks.
const statusLook = time.Second

func newRolloutStatus(streams genericiooptions.IOStreams) *cobra.Command {
	o := &rollout{streams: streams}
	watch := false
	cmd := o.command(&cobra.Command{
		Use:   "status PLACEMENT",
		Short: "Show how far the rollout of a placement is",
		Long: `Show the stages and clusters of the newest update run of a placement. For one that no run rolls out, show which revision its
clusters are at. With --watch, go on until the rollout is done; the exit code is 1 if it fails. In a pipe there is one line for each
piece of news.`,
		Example: `  kubectl fleet rollout status web --watch`,
	}, func(ctx context.Context, c client.Client) error {
		look, err := o.looker(ctx, c)
		if err != nil {
			return err
		}
		return show(ctx, o.streams.Out, watch, look)
	})
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on until the rollout is done")
	return cmd
}

// looker returns what reads the rollout again and again: that of the run which is the newest now, or of the placement.
func (o *rollout) looker(ctx context.Context, c client.Client) (func(context.Context) (view, error), error) {
	placement, err := o.placement(ctx, c)
	if err != nil {
		return nil, err
	}
	var runs []v1beta1.UpdateRunObject
	if byRuns(placement) {
		if runs, err = o.runs(ctx, c); err != nil {
			return nil, err
		}
	}
	if len(runs) == 0 {
		return func(ctx context.Context) (view, error) {
			placement, err := o.placement(ctx, c)
			if err != nil {
				return view{}, err
			}
			return viewOfClusters(placement), nil
		}, nil
	}
	run := runs[0]
	return func(ctx context.Context) (view, error) {
		if err := c.Get(ctx, client.ObjectKeyFromObject(run), run); err != nil {
			return view{}, fmt.Errorf("read update run %s: %w", run.GetName(), err)
		}
		return viewOfRun(run), nil
	}, nil
}

// view is what is shown of a rollout.
type view struct {
	lines []line
	// done is whether nothing more is to come; failed says why it ended badly.
	done   bool
	failed string
}

// line is one subject of a view: the rollout, a stage, or a cluster.
type line struct {
	// kind and name are the subject; a cluster's name begins with that of its stage.
	kind, name string
	// done of total clusters, for a bar; total is 0 without one.
	done, total int
	text        string
	// todo is the command that makes it go on; empty if it goes on by itself.
	todo string
	// still is whether a live view can do without the line: nothing happens there.
	still bool
}

// phases are the words for the phases of runs and stages.
var phases = map[stage.Phase]string{
	stage.Pending: "pending", stage.Active: "updating", stage.Waiting: "waiting", stage.Stuck: "stuck", stage.Stopping: "stopping",
	stage.Stopped: "stopped", stage.Skipped: "skipped, no clusters", stage.Succeeded: "succeeded", stage.Failed: "failed",
}

// viewOfRun shows an update run.
func viewOfRun(run v1beta1.UpdateRunObject) view {
	status := run.GetStatus()
	p := stage.Read(*status)
	head := line{kind: "run", name: run.GetName(), text: said(p.Phase, p.Message, p.Cause)}
	out := view{done: over(run)}
	if p.Phase == stage.Failed {
		out.failed = p.Cause
	}
	switch c := meta.FindStatusCondition(status.Conditions, v1beta1.ConditionInitialized); {
	case c != nil && c.Status == metav1.ConditionFalse:
		head.text, out.failed = "cannot be planned: "+c.Message, c.Message
	case p.Phase == stage.Pending && c != nil && run.GetSpec().State == v1beta1.UpdateRunInitialize:
		head.text, head.todo = "planned", "kubectl fleet rollout resume "+run.GetSpec().PlacementName+inNamespace(run.GetNamespace())
	}
	if status.ResourceSnapshotIndexUsed != "" {
		head.text = "revision " + status.ResourceSnapshotIndexUsed + ", " + head.text
	}
	var stages []line
	for _, s := range p.Stages {
		stages = append(stages, linesOfStage(s, run.GetNamespace())...)
	}
	if len(p.Deletion.Clusters) > 0 {
		p.Deletion.Name = "removal"
		stages = append(stages, linesOfStage(p.Deletion, run.GetNamespace())...)
	}
	for i, l := range stages {
		if l.kind == "stage" {
			head.done, head.total = head.done+l.done, head.total+l.total
		}
		if out.done { // what a failed run waited for is of no use any more
			stages[i].todo = ""
		}
	}
	out.lines = append([]line{head}, stages...)
	return out
}

func inNamespace(namespace string) string {
	if namespace == "" {
		return ""
	}
	return " -n " + namespace
}

// said puts a phase and what is known about it into words.
func said(phase stage.Phase, message, cause string) string {
	switch {
	case phase == stage.Failed && cause != "":
		return phases[phase] + ": " + cause
	case (phase == stage.Waiting || phase == stage.Stuck || phase == stage.Stopped) && message != "":
		return phases[phase] + ": " + message
	}
	return phases[phase]
}

func linesOfStage(s stage.Stage, namespace string) []line {
	head := line{kind: "stage", name: s.Name, total: len(s.Clusters), text: said(s.Phase, s.Message, s.Cause)}
	out := []line{head}
	for _, c := range s.Clusters {
		if c.Phase == stage.Succeeded {
			out[0].done++
		}
		out = append(out, line{
			kind: "cluster", name: s.Name + "/" + c.Name, text: said(c.Phase, "", c.Cause), still: s.Phase == stage.Pending || s.Phase.Done(),
		})
	}
	if request := waitsFor(s); request != "" {
		kind := "careq"
		if namespace != "" {
			kind = "areq"
		}
		out[0].todo = fmt.Sprintf("kubectl fleet approve %s --name %s%s", kind, request, inNamespace(namespace))
	}
	return out
}

// waitsFor is the approval request that a stage waits for; empty if it waits for none.
func waitsFor(s stage.Stage) string {
	for _, t := range slices.Concat(s.Before, s.After) {
		if !s.Phase.Done() && t.Request != "" && t.Asked && !t.Done {
			return t.Request
		}
	}
	return ""
}

// viewOfClusters shows which revision the clusters of a placement are at.
func viewOfClusters(p v1beta1.PlacementObject) view {
	status := p.GetStatus()
	head := line{kind: "rollout", name: p.GetName(), total: len(status.PerClusterPlacementStatuses)}
	var clusters []line
	for _, c := range status.PerClusterPlacementStatuses {
		text, finished := standing(c.Conditions)
		if finished && c.ObservedResourceIndex == status.ObservedResourceIndex {
			head.done++
		}
		text = fmt.Sprintf("revision %s, %s", cmp.Or(c.ObservedResourceIndex, "none"), text)
		clusters = append(clusters, line{kind: "cluster", name: cmp.Or(c.ClusterName, "not found yet"), text: text})
	}
	text, finished := standing(*p.GetConditions())
	head.text = text
	if status.ObservedResourceIndex != "" {
		head.text = "revision " + status.ObservedResourceIndex + ", " + text
	}
	current := !slices.ContainsFunc(*p.GetConditions(), func(c metav1.Condition) bool { return c.ObservedGeneration != p.GetGeneration() })
	return view{lines: append([]line{head}, clusters...), done: finished && current}
}

// standing is the first condition that does not hold, or the last that does; finished is whether that is the end.
func standing(conditions []metav1.Condition) (text string, finished bool) {
	text = "pending"
	for _, c := range conditions {
		if c.Status != metav1.ConditionTrue {
			return fmt.Sprintf("%s %s (%s): %s", c.Type, c.Status, c.Reason, c.Message), false
		}
	}
	for _, c := range conditions {
		for _, last := range []string{v1beta1.ConditionAvailable, v1beta1.ConditionDiffReported} {
			if strings.HasSuffix(c.Type, last) {
				return "available", true
			}
		}
		text = c.Reason
	}
	return text, false
}

// show prints views, once or until the rollout is done.
func show(ctx context.Context, out io.Writer, watch bool, look func(context.Context) (view, error)) error {
	s := screen{out: out, size: terminalSize(out), said: map[string]string{}}
	var v view
	err := wait.PollUntilContextCancel(ctx, statusLook, true, func(ctx context.Context) (bool, error) {
		var err error
		if v, err = look(ctx); err != nil {
			return false, err
		}
		s.show(v.lines, watch && !v.done)
		return v.done || !watch, nil
	})
	switch {
	case ctx.Err() != nil:
		return nil //nolint:nilerr // the user has seen enough
	case err != nil:
		return err
	case watch && v.failed != "":
		return fmt.Errorf("the rollout failed: %s", v.failed)
	}
	return nil
}

// screen shows views one after the other: on a terminal in one place, elsewhere by what is new.
type screen struct {
	out io.Writer
	// size of the terminal; nil if out is none.
	size func() (width, height int)
	// drawn is what is on the terminal of the view before, and above how many lines that is.
	drawn string
	above int
	// said is what was last said of each subject.
	said map[string]string
}

func (s *screen) show(lines []line, live bool) {
	if s.size == nil {
		for _, l := range lines {
			if text := l.plain(); s.said[l.kind+l.name] != text {
				s.said[l.kind+l.name] = text
				fmt.Fprintln(s.out, text)
			}
		}
		return
	}
	width, height := s.size()
	var rows []string
	for _, l := range lines {
		if !live || !l.still {
			rows = append(rows, l.drawn()...)
		}
	}
	if live {
		rows = rows[:min(len(rows), height-1)]
	}
	for i, row := range rows {
		if r := []rune(row); live && len(r) >= width { // a line that is broken in two could not be taken back
			rows[i] = string(r[:max(0, width-2)]) + "…"
		}
	}
	drawn := strings.Join(rows, "\n") + "\n"
	if drawn == s.drawn {
		return
	}
	back := ""
	if s.above > 0 {
		back = fmt.Sprintf("\033[%dA\033[J", s.above)
	}
	fmt.Fprint(s.out, back, drawn)
	s.drawn, s.above = drawn, len(rows)
}

// plain is the line in a pipe.
func (l line) plain() string {
	out := l.kind + " " + l.name + ": "
	if l.total > 0 {
		out += fmt.Sprintf("%d/%d ", l.done, l.total)
	}
	out += l.text
	if l.todo != "" {
		out += "; go on with: " + l.todo
	}
	return out
}

// drawn are the rows of the line on a terminal.
func (l line) drawn() []string {
	if l.kind == "cluster" {
		return []string{fmt.Sprintf("    %-16s  %s", l.name[strings.LastIndex(l.name, "/")+1:], l.text)}
	}
	const width = 20
	full := 0
	if l.total > 0 {
		full = width * l.done / l.total
	}
	bar := strings.Repeat("█", full) + strings.Repeat("░", width-full)
	out := []string{fmt.Sprintf("%-7s %-10s  %s %3d/%-3d  %s", l.kind, l.name, bar, l.done, l.total, l.text)}
	if l.todo != "" {
		out = append(out, "    go on with: "+l.todo)
	}
	return out
}
