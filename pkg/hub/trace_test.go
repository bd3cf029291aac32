package hub

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

// traced is a hub with all its agents, one placement on one member, and the spans of the agents.
type traced struct {
	*fleet
	// writes are those of the agents.
	writes *testworld.Writes
	p      *v1beta1.ClusterResourcePlacement
	spans  *tracetest.InMemoryExporter
}

// settle waits until the placement reports revision index as available and nothing is written any more.
func (f *traced) settle(index int) {
	f.Helper()
	testworld.Await(f, testworld.Workload, f.p.Name+" to be available", func(ctx context.Context) error {
		if err := f.Client.Get(ctx, client.ObjectKeyFromObject(f.p), f.p); err != nil {
			return err
		}
		return testworld.Complete("east").At(fmt.Sprint(index)).Check(f.p)
	})
	still(f, f.writes)
}

// still waits until agents have not written anything about placements for a while.
func still(t testing.TB, writes *testworld.Writes) {
	t.Helper()
	testworld.AwaitStill(t, time.Second, "writes", func(context.Context) (int, error) { return len(about(writes.All())), nil })
}

// about returns the writes without those about members, which have heartbeats, and without events.
func about(writes []string) []string {
	return slices.DeleteFunc(writes, func(w string) bool { return strings.Contains(w, "memberclusters") || strings.Contains(w, "/events") })
}

// carriers returns the contexts of traces that objects carry, by kind and name, without older snapshots.
func (f *traced) carriers() map[string]string {
	f.Helper()
	out := map[string]string{}
	for _, kind := range stored {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		f.must(f.Client.List(f.Context(), list))
		for _, o := range list.Items {
			if text := o.GetAnnotations()[contract.AnnotationTrace]; text != "" && o.GetLabels()[contract.LabelLatest] != "false" {
				out[kind.Kind+" "+o.GetName()] = text
			}
		}
	}
	return out
}

// agents returns which agents have spans in a trace, and which requests they sent.
func (f *traced) agents(id oteltrace.TraceID) (agents, requests []string) {
	f.Helper()
	for _, s := range f.spans.GetSpans() {
		if s.SpanContext.TraceID() != id {
			continue
		}
		for _, a := range s.Attributes {
			switch a.Key {
			case trace.AttributePlacement:
				agents = append(agents, s.Name)
			case "http.request.method":
				requests = append(requests, s.Name)
			}
		}
	}
	slices.Sort(agents)
	slices.Sort(requests)
	return slices.Compact(agents), slices.Compact(requests)
}

// take returns the kinds of writes since the last call, without the numbers of objects.
func (f *traced) take() []string {
	numbers := regexp.MustCompile(`[0-9]+`)
	var out []string
	for _, w := range about(f.writes.Take()) {
		out = append(out, numbers.ReplaceAllString(w, "N"))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// restart starts the agents again, with a tracer or without one, and expects that they write nothing.
func (f *traced) restart(tracer *trace.Tracer) {
	f.Helper()
	f.stop()
	f.writes.Take()
	f.tracer = tracer
	f.start()
	still(f, f.writes)
	if writes := f.take(); len(writes) > 0 {
		f.Errorf("after a restart the agents wrote %q", writes)
	}
}

// change edits the placed object, and waits until its revision is available.
func (f *traced) change(index int) {
	f.Helper()
	f.must(f.Client.Update(f.Context(), testworld.ConfigMap("shop", fmt.Sprint(index))))
	f.settle(index)
}

// A change has one trace through all agents of the hub, which is carried in annotations of objects that are written
// anyway. Nothing is written because of a trace, neither with nor without a tracer, nor when that changes.
func TestAChangeIsTraced(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	f := &traced{
		fleet: &fleet{T: t, whole: t, Cluster: testworld.StartHub(t).Cluster}, writes: &testworld.Writes{},
		p: testworld.ClusterPlacement("web", "shop"), spans: tracetest.NewInMemoryExporter(),
	}
	f.through = func(cfg *rest.Config) *rest.Config {
		cfg = f.writes.Of(cfg)
		f.tracer.Wrap(cfg)
		return cfg
	}
	f.start()
	watching, err := client.NewWithWatch(f.Config, client.Options{Scheme: apis.Scheme()})
	f.must(err)
	member := testworld.StartModelMember(t, watching, testworld.NewMemberCluster("east"))
	defer member.Left()
	member.Healthy()
	f.p.Finalizers = nil
	for _, o := range []client.Object{testworld.Namespace("shop"), testworld.ConfigMap("shop", "0"), f.p} {
		f.must(f.Client.Create(t.Context(), o))
	}
	f.settle(0)
	f.take()
	f.change(1)
	untraced := f.take()
	if carriers := f.carriers(); len(carriers) > 0 {
		t.Errorf("without a tracer objects carry traces: %v", carriers)
	}

	tracer := trace.New(sdktrace.NewSimpleSpanProcessor(f.spans), 1, "hub", "")
	f.restart(tracer)
	f.change(2)
	if diff := cmp.Diff(untraced, f.take()); diff != "" {
		t.Errorf("writes of a change without and with a tracer:\n%s", diff)
	}
	var id oteltrace.TraceID
	for name, text := range f.carriers() {
		_, rest, _ := strings.Cut(text, "-")
		text, _, _ = strings.Cut(rest, "-")
		is, err := oteltrace.TraceIDFromHex(text)
		if err != nil || id.IsValid() && is != id {
			t.Errorf("%s carries trace %s, others %s, %v", name, text, id, err)
		}
		id = is
	}
	if names := len(f.carriers()); names != 3 {
		t.Errorf("%v carry the trace; want a snapshot, a binding and a Work", f.carriers())
	}
	agents, requests := f.agents(id)
	if want := []string{"dispatcher", "placer", "roller"}; !slices.Equal(agents, want) {
		t.Errorf("agents in the trace of a change: %v; want %v", agents, want)
	}
	for _, want := range []string{
		"GET configmaps", "POST clusterresourcesnapshots", "PUT clusterresourcebindings", "PATCH works", "PUT clusterresourcebindings/status",
		"PUT clusterresourceplacements/status",
	} {
		if !slices.Contains(requests, want) {
			t.Errorf("no span of the change is request %q: %q", want, requests)
		}
	}

	f.restart(tracer)
	f.restart(nil)
	f.change(3)
	if carriers := f.carriers(); len(carriers) > 0 {
		t.Errorf("after a change without a tracer objects carry the trace of an earlier one: %v", carriers)
	}

	f.restart(tracer)
	f.spans.Reset()
	f.must(f.Client.Delete(t.Context(), f.p))
	testworld.AwaitGone(t, f.Client, f.p, nil)
	testworld.Await(t, testworld.Soon, "the trace of the removal", func(context.Context) error {
		for _, s := range f.spans.GetSpans() {
			if agents, _ := f.agents(s.SpanContext.TraceID()); slices.Equal(agents, []string{"dispatcher", "placer", "scheduler"}) {
				return nil
			}
		}
		return errors.New("no trace has spans of all agents that take part")
	})
}
