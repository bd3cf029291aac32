package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/localfleet"
	"github.com/flagship-fleet/flagship/pkg/trace"
)

type traceSettings struct{ changes int }

func (s *traceSettings) addFlags() {
	flag.IntVar(&s.changes, "traced", 20, "placements that the section trace edits and deletes, one at a time")
}

// traceFigures are the hops of the median edit and of the median deletion. The agents of no other section are traced,
// because traces take time.
type traceFigures struct {
	Edit     waterfall `json:"edit"`
	Deletion waterfall `json:"deletion"`
}

// followChanges is the section "trace". It follows edits and deletions through the agents, whose spans it receives.
func followChanges(ctx context.Context, s settings, r *results) error {
	received, address, err := receive(ctx)
	if err != nil {
		return err
	}
	config := localfleet.Config{Members: localfleet.DefaultConfig().Members}
	values := map[string]any{"tracing": map[string]any{"endpoint": address}}
	config.Hub.Agent.Values = values
	for i := range config.Members {
		config.Members[i].Agent.Values = values
	}
	return onFleet(ctx, config, func(ctx context.Context, b *bench) error {
		progress(fmt.Sprintf("%d edits and deletions, traced", s.trace.changes))
		all := names("traced", s.trace.changes+1)
		if err := b.prepare(ctx, all, 1); err != nil {
			return err
		}
		var edits, deletions []change
		for i, name := range all {
			edit, deletion, err := b.traced(ctx, name)
			if err := errors.Join(err, b.rest(ctx)); err != nil {
				return err
			}
			if i > 0 { // the first one opens connections and watches
				edits, deletions = append(edits, edit), append(deletions, deletion)
			}
		}
		spans, err := received.all(ctx)
		if err != nil {
			return err
		}
		r.Trace = &traceFigures{Edit: waterfallOf(median(edits), spans), Deletion: waterfallOf(median(deletions), spans)}
		if len(r.Trace.Edit.Hops) == 0 || len(r.Trace.Deletion.Hops) == 0 {
			return errors.New("the agents have sent no spans of the median changes")
		}
		return nil
	})
}

// change is an edit or a deletion that was measured.
type change struct {
	placement string
	// sent and written are when the user's request began and ended, effect when the last member showed the result, and
	// end when the hub did. What agents do after over has other causes.
	sent, written, effect, end, over time.Time
	// last is that member.
	last string
}

// traced creates a placement, edits its objects and deletes it.
func (b *bench) traced(ctx context.Context, name string) (edit, deletion change, err error) {
	var unused sample
	if err := b.create(ctx, &unused, []string{name}, 1, 1); err != nil {
		return edit, deletion, err
	}
	if err := wait(ctx, time.Second); err != nil { // what the creation caused is over
		return edit, deletion, err
	}
	edit, err = b.measure(ctx, name, holds(payload("two")), reportsRevision("1"), func() error { return b.hub.Update(ctx, configMap(name, mapName(0), "two")) })
	if err != nil {
		return edit, deletion, fmt.Errorf("edit %s: %w", name, err)
	}
	deletion, err = b.measure(ctx, name, isGone, isGone, func() error { return b.hub.Delete(ctx, placement(name)) })
	if err != nil {
		return edit, deletion, fmt.Errorf("delete %s: %w", name, err)
	}
	return edit, deletion, nil
}

func (b *bench) measure(ctx context.Context, name string, effect, end func(event, bool) bool, write func() error) (c change, err error) {
	c.placement, c.sent = name, time.Now()
	if err := write(); err != nil {
		return c, err
	}
	c.written = time.Now()
	for _, m := range b.members {
		at, err := m.maps.when(ctx, key(name, mapName(0)), effect)
		if err != nil {
			return c, fmt.Errorf("%s: %w", m.name, err)
		}
		if at.After(c.effect) {
			c.effect, c.last = at, m.name
		}
	}
	if c.end, err = b.placements.when(ctx, key("", name), end); err != nil {
		return c, err
	}
	err = wait(ctx, time.Second) // agents tidy up
	c.over = time.Now()
	return c, err
}

func reportsRevision(index string) func(event, bool) bool {
	return func(e event, ok bool) bool {
		p, is := e.object.(*v1beta1.ClusterResourcePlacement)
		return is && isAvailable(e, ok) && p.Status.ObservedResourceIndex == index
	}
}

// median returns the change with the median time to its effect.
func median(all []change) change {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b change) int {
		return int(a.effect.Sub(a.sent) - b.effect.Sub(b.sent))
	})
	return sorted[(len(sorted)-1)/2]
}

// span is a span of an agent, of a step of its work, or of a request.
type span struct {
	id, parent, trace string
	name              string
	begin, end        time.Time
	// placement and cluster are set for agents, and queue is how long the change waited.
	placement, cluster string
	queue              time.Duration
	// method is set for requests.
	method string
	failed bool
}

// receiver is a collector of traces.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []span
}

// receive starts a receiver, until ctx ends, and returns its address.
func receive(ctx context.Context) (*receiver, string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", fmt.Errorf("listen for traces: %w", err)
	}
	r, server := &receiver{}, grpc.NewServer()
	collector.RegisterTraceServiceServer(server, r)
	context.AfterFunc(ctx, server.Stop)
	go func() { _ = server.Serve(listener) }()
	return r, listener.Addr().String(), nil
}

// Export receives spans.
func (r *receiver) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, process := range request.GetResourceSpans() {
		for _, scope := range process.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				r.spans = append(r.spans, spanOf(s))
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func spanOf(s *otlp.Span) span {
	at := func(nanoseconds uint64) time.Time { return time.Unix(0, int64(nanoseconds)) }
	out := span{
		id: fmt.Sprintf("%x", s.GetSpanId()), parent: fmt.Sprintf("%x", s.GetParentSpanId()), trace: fmt.Sprintf("%x", s.GetTraceId()),
		name: s.GetName(), begin: at(s.GetStartTimeUnixNano()), end: at(s.GetEndTimeUnixNano()),
	}
	values := map[string]*common.AnyValue{}
	for _, a := range s.GetAttributes() {
		values[a.GetKey()] = a.GetValue()
	}
	out.placement, out.cluster = values[trace.AttributePlacement].GetStringValue(), values[trace.AttributeCluster].GetStringValue()
	out.queue = time.Duration(values[trace.AttributeQueue].GetDoubleValue() * float64(time.Millisecond))
	out.method = values["http.request.method"].GetStringValue()
	out.failed = s.GetStatus().GetCode() == otlp.Status_STATUS_CODE_ERROR
	return out
}

// all returns the spans when the agents, which send them every five seconds, have no more.
func (r *receiver) all(ctx context.Context) ([]span, error) {
	for before := -1; ; {
		r.mu.Lock()
		spans := slices.Clone(r.spans)
		r.mu.Unlock()
		if len(spans) == before {
			return spans, nil
		}
		before = len(spans)
		if err := wait(ctx, 7*time.Second); err != nil {
			return nil, err
		}
	}
}
