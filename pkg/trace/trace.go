// Package trace follows changes through the agents. What an agent does about a change is a span of OpenTelemetry: how
// long the change waited in the agent's queue, the steps of the work, and the requests to API servers.
//
// The spans of one change have one trace id. The placer begins the trace of a change, and the objects that carry the
// change on have its context in an annotation: snapshots, bindings and Works. It is written only with writes that are
// made anyway, and compared with nothing. A deletion writes nothing that could carry an annotation, so the trace id of
// a removal is a hash of the placement's UID.
//
// Without an endpoint there is no Tracer, and nil pointers of all types in this package record nothing.
package trace

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flagship-fleet/flagship/pkg/version"
)

// library is the name of this package in spans.
const library = "github.com/flagship-fleet/flagship/pkg/trace"

// flushing is how long the last spans may take to be sent when a process ends.
const flushing = 2 * time.Second

// Tracer records the spans of one process.
type Tracer struct {
	provider *sdktrace.TracerProvider
	sampler  sdktrace.Sampler
}

// Start makes a Tracer that sends spans to the endpoint of o; nil if o has none. service names the process, and cluster
// the member that it runs in, if any. Start does not wait for the endpoint: spans that cannot be sent are dropped.
func Start(ctx context.Context, o Options, service, cluster string) (*Tracer, error) {
	if o.Endpoint == "" {
		return nil, nil
	}
	exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(o.url()))
	if err != nil {
		return nil, fmt.Errorf("set up traces for %s: %w", o.Endpoint, err)
	}
	log := ctrl.LoggerFrom(ctx)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Info("Failed to send traces", "reason", err.Error()) }))
	return New(sdktrace.NewBatchSpanProcessor(exporter), o.Sample, service, cluster), nil
}

// New makes a Tracer that passes its spans to processor, for this share of the changes.
func New(processor sdktrace.SpanProcessor, share float64, service, cluster string) *Tracer {
	about := []attribute.KeyValue{attribute.String("service.name", service), attribute.String("service.version", version.Version)}
	if cluster != "" {
		about = append(about, attribute.String("k8s.cluster.name", cluster))
	}
	sampler := sdktrace.TraceIDRatioBased(share)
	return &Tracer{sampler: sampler, provider: sdktrace.NewTracerProvider(
		sdktrace.WithSpanProcessor(processor),
		sdktrace.WithSampler(sdktrace.ParentBased(sampler)),
		sdktrace.WithIDGenerator(ids{}),
		sdktrace.WithResource(resource.NewSchemaless(about...)),
	)}
}

// Close sends the last spans. It waits a moment for the endpoint.
func (t *Tracer) Close(ctx context.Context) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushing)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		ctrl.LoggerFrom(ctx).Info("Failed to send the last traces", "reason", err.Error())
	}
}

// Wrap makes the clients of cfg record their requests, if these belong to a span.
func (t *Tracer) Wrap(cfg *rest.Config) {
	if t == nil {
		return
	}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return otelhttp.NewTransport(next,
			otelhttp.WithTracerProvider(t.provider),
			// An API server that has tracing enabled adds its own spans.
			otelhttp.WithPropagators(propagation.TraceContext{}),
			otelhttp.WithFilter(func(r *http.Request) bool { return oteltrace.SpanFromContext(r.Context()).IsRecording() }),
			otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return r.Method + " " + resourceIn(r.URL.Path) }),
		)
	})
}

// Agent returns what records the spans of one agent of the process.
func (t *Tracer) Agent(name string) *Agent {
	if t == nil {
		return nil
	}
	return &Agent{name: name, tracer: t.provider.Tracer(library), sampler: t.sampler, now: time.Now}
}

// Step opens a span for a part of the work that the span in ctx records. Without one it does nothing.
func Step(ctx context.Context, name string) (context.Context, func()) {
	parent := oteltrace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, func() {}
	}
	ctx, span := parent.TracerProvider().Tracer(library).Start(ctx, name)
	return ctx, func() { span.End() }
}
