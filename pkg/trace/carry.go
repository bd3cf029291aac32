package trace

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"go.opentelemetry.io/otel/propagation"
	oteltrace "go.opentelemetry.io/otel/trace"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// followed is for how long a change is traced. Later work on the objects that carried it has other causes.
const followed = 10 * time.Minute

// longest is the length of a context in version 00 of W3C Trace Context. A longer annotation is not read.
const longest = 55

// Put makes an object that is about to be written carry the trace of the work that ctx belongs to. If that is not
// traced, the object loses the trace of the change that it carried before.
func Put(ctx context.Context, object metav1.Object) {
	if span := oteltrace.SpanContextFromContext(ctx); !span.IsSampled() {
		if _, has := object.GetAnnotations()[contract.AnnotationTrace]; has {
			annotations := object.GetAnnotations()
			delete(annotations, contract.AnnotationTrace)
			object.SetAnnotations(annotations)
		}
		return
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[contract.AnnotationTrace] = carrier.Get("traceparent")
	object.SetAnnotations(annotations)
}

// PutOnWork is Put for a Work of the placement with this UID, by which the member finds the trace of its removal.
func PutOnWork(ctx context.Context, work metav1.Object, placement types.UID) {
	Put(ctx, work)
	if annotations := work.GetAnnotations(); annotations[contract.AnnotationTrace] != "" && placement != "" {
		annotations[contract.AnnotationPlacementUID] = string(placement)
		work.SetAnnotations(annotations)
	}
}

// PlacementUID returns the placement's UID that a binding, or a traced Work, has; empty if it is none.
func PlacementUID(object metav1.Object) types.UID {
	uid := object.GetAnnotations()[contract.AnnotationPlacementUID]
	if len(uid) > 2*len("00000000-0000-0000-0000-000000000000") {
		return "" // others may write it, and it becomes an attribute of spans
	}
	return types.UID(uid)
}

// carriedBy returns the context of the trace that an object carries; an invalid one if there is none.
func carriedBy(object metav1.Object) oteltrace.SpanContext {
	text := object.GetAnnotations()[contract.AnnotationTrace]
	if text == "" || len(text) > longest {
		return oteltrace.SpanContext{}
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": text})
	return oteltrace.SpanContextFromContext(ctx)
}

// ids makes ids of traces that begin with the time, in seconds since 1970, so that an agent knows how old the change
// is that an object carries.
type ids struct{}

// NewIDs returns the ids of a new trace and of its first span.
func (g ids) NewIDs(ctx context.Context) (oteltrace.TraceID, oteltrace.SpanID) {
	var id oteltrace.TraceID
	binary.BigEndian.PutUint32(id[:4], uint32(time.Now().Unix())) //nolint:gosec // until 2106
	_, _ = rand.Read(id[4:])                                      // it never fails
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID returns the id of another span.
func (ids) NewSpanID(context.Context, oteltrace.TraceID) oteltrace.SpanID {
	var id oteltrace.SpanID
	for !id.IsValid() {
		_, _ = rand.Read(id[:])
	}
	return id
}

// began returns when a trace of ids began.
func began(id oteltrace.TraceID) time.Time {
	return time.Unix(int64(binary.BigEndian.Uint32(id[:4])), 0)
}

// recent reports whether what began then is still traced now. The clocks of hub and members differ.
func recent(then, now time.Time) bool { return now.Sub(then).Abs() < followed }

// removal returns the ids of the trace in which a placement is removed. Without its UID it is that of one member.
func removal(s Subject) (oteltrace.TraceID, oteltrace.SpanID) {
	of := string(s.UID)
	if of == "" {
		of = scope.Key(s.Placement) + "/" + s.Cluster
	}
	hash := sha256.Sum256([]byte("removal of " + of))
	return oteltrace.TraceID(hash[:16]), oteltrace.SpanID(hash[16:24])
}
