package trace

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/secrecy"
)

// Attributes of the spans of agents.
const (
	// AttributePlacement and AttributeUID are the placement, by its name and by its UID.
	AttributePlacement = "placement"
	AttributeUID       = "placement.uid"
	// AttributeCluster is the member whose share of the change it is; absent if it concerns all of them.
	AttributeCluster = "cluster"
	// AttributeQueue is for how many milliseconds the change was known to the agent before it began to work on it.
	AttributeQueue = "queue.ms"
)

// Agent records the spans of one agent. Each of its methods that opens a span returns a context for the work, and a
// function that ends the span with the error of the work.
type Agent struct {
	name    string
	tracer  oteltrace.Tracer
	sampler sdktrace.Sampler
	now     func() time.Time
	times   times
}

// Subject is the placement, and the member, that work concerns.
type Subject struct {
	Placement types.NamespacedName
	// UID is that of the placement; empty if it is not known.
	UID types.UID
	// Cluster is empty for work that concerns all members.
	Cluster string
}

// Begin begins the trace of a change. since is when the agent first saw the change; zero for when the request became
// due.
func (a *Agent) Begin(ctx context.Context, request types.NamespacedName, s Subject, since time.Time) (context.Context, func(error)) {
	if a == nil {
		return ctx, ignore
	}
	return a.open(ctx, request, s, since)
}

// Continue continues the trace of the change that object carries. Without one, or after a while, it does nothing.
func (a *Agent) Continue(ctx context.Context, request types.NamespacedName, s Subject, object metav1.Object) (context.Context, func(error)) {
	if a == nil {
		return ctx, ignore
	}
	from := carriedBy(object)
	if !from.IsSampled() || !recent(began(from.TraceID()), a.now()) {
		return ctx, ignore
	}
	return a.open(oteltrace.ContextWithRemoteSpanContext(ctx, from), request, s, time.Time{})
}

// Remove continues the trace of the removal of a placement, or of a part of it, which began at since.
func (a *Agent) Remove(ctx context.Context, request types.NamespacedName, s Subject, since *metav1.Time) (context.Context, func(error)) {
	if a == nil || since == nil || !recent(since.Time, a.now()) {
		return ctx, ignore
	}
	id, span := removal(s)
	flags := oteltrace.TraceFlags(0)
	if a.sampler.ShouldSample(sdktrace.SamplingParameters{ParentContext: ctx, TraceID: id}).Decision == sdktrace.RecordAndSample {
		flags = oteltrace.FlagsSampled
	}
	from := oteltrace.NewSpanContext(oteltrace.SpanContextConfig{TraceID: id, SpanID: span, TraceFlags: flags, Remote: true})
	return a.open(oteltrace.ContextWithRemoteSpanContext(ctx, from), request, s, time.Time{})
}

func (a *Agent) open(ctx context.Context, request types.NamespacedName, s Subject, since time.Time) (context.Context, func(error)) {
	turn := a.times.of(reconcile.Request{NamespacedName: request})
	if turn.taken.IsZero() {
		turn.taken = a.now()
	}
	if since.IsZero() {
		since = turn.due
	}
	attributes := []attribute.KeyValue{attribute.String(AttributePlacement, scope.Name(s.Placement))}
	if s.UID != "" {
		attributes = append(attributes, attribute.String(AttributeUID, string(s.UID)))
	}
	if s.Cluster != "" {
		attributes = append(attributes, attribute.String(AttributeCluster, s.Cluster))
	}
	if !since.IsZero() {
		waited := max(0, turn.taken.Sub(since))
		attributes = append(attributes, attribute.Float64(AttributeQueue, float64(waited.Microseconds())/1000))
	}
	ctx, span := a.tracer.Start(ctx, a.name, oteltrace.WithTimestamp(turn.taken), oteltrace.WithAttributes(attributes...))
	return ctx, func(err error) {
		if err = secrecy.Discreet(err); err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}

// ignore is the end of no span.
func ignore(error) {}
