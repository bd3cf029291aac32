package applier

import (
	"errors"
	"slices"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

// The member continues the trace that a Work carries until it has reported the outcome, and records the removal.
func TestAWorkIsTracedUntilItsOutcomeIsReported(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	tracer := trace.New(sdktrace.NewSimpleSpanProcessor(spans), 1, "test", "")
	w := newWorld(t, func(a *Applier) { a.Trace = tracer.Agent("applier") })
	ctx, end := tracer.Agent("dispatcher").Begin(t.Context(), trace.Subject{}.Placement, trace.Subject{}, time.Time{})
	work := &v1beta1.Work{}
	work.Namespace, work.Name, work.Finalizers = w.namespace, "traced", []string{contract.FinalizerWork}
	work.Labels = map[string]string{contract.LabelPlacement: "web"}
	work.Spec.Workload.Manifests = w.manifests([]string{
		`{apiVersion: v1, kind: Namespace, metadata: {name: traced}}`, `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: traced}, data: {k: v}}`,
	})
	trace.PutOnWork(ctx, work, "uid")
	w.must(w.hub.Create(t.Context(), work))
	end(nil)
	w.settled("traced", metav1.ConditionTrue, metav1.ConditionTrue)
	begun := spans.GetSpans()[0].SpanContext.TraceID()
	// names returns the traces of passes, and the steps in them.
	names := func() (agents, steps []string) {
		for _, s := range spans.GetSpans() {
			if s.Name == "applier" {
				agents = append(agents, s.SpanContext.TraceID().String())
			} else {
				steps = append(steps, s.Name)
			}
		}
		return agents, steps
	}
	w.eventually("spans of the passes", func() error {
		agents, steps := names()
		for _, id := range agents {
			if id != begun.String() {
				t.Fatalf("a pass has trace %s; want %s", id, begun)
			}
		}
		if len(agents) == 0 || !slices.Contains(steps, "list in ledger") || !slices.Contains(steps, "report") ||
			!slices.Contains(steps, "apply wave 0") || !slices.Contains(steps, "record in ledger") {
			return errors.New("some are missing")
		}
		return nil
	})
	w.quiet(time.Second)

	spans.Reset()
	w.change("v1 ConfigMap traced/a", func(o *unstructured.Unstructured) {
		w.must(unstructured.SetNestedField(o.Object, "drift", "data", "k"))
	})
	w.value("v1 ConfigMap traced/a", "v", "data", "k")
	w.quiet(time.Second)
	if agents, steps := names(); len(agents)+len(steps) > 0 {
		t.Errorf("a correction that has another cause is in a trace: %v, %v", agents, steps)
	}

	w.writes.take()
	w.alter("traced", func(work *v1beta1.Work) { work.Annotations[contract.AnnotationTrace] = "00-nonsense" })
	w.quiet(time.Second)
	if writes := w.writes.take(); len(writes) > 0 {
		t.Errorf("an annotation of a trace caused %q", writes)
	}

	w.deleteWork("traced")
	w.workGone("traced")
	w.eventually("spans of the removal", func() error {
		agents, _ := names()
		if slices.Sort(agents); len(agents) < 2 || len(slices.Compact(agents)) != 1 || agents[0] == begun.String() {
			return errors.New("want the passes of the removal in one trace of their own")
		}
		return nil
	})
}
