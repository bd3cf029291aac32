package main

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/pkg/trace"
)

// The agents' tracer and the receiver agree: on the protocol, and on the attributes.
func TestReceiver(t *testing.T) {
	received, address, err := receive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tracer, err := trace.Start(t.Context(), trace.Options{Endpoint: address, Sample: 1}, "test", "east")
	if err != nil {
		t.Fatal(err)
	}
	key := types.NamespacedName{Namespace: "app", Name: "web"}
	since := time.Now().Add(-time.Minute)
	_, end := tracer.Agent("applier").Begin(t.Context(), key, trace.Subject{Placement: key, Cluster: "east"}, since)
	end(nil)
	tracer.Close(t.Context())
	received.mu.Lock()
	defer received.mu.Unlock()
	if len(received.spans) != 1 {
		t.Fatalf("%d spans arrived; want 1", len(received.spans))
	}
	if s := received.spans[0]; s.name != "applier" || s.placement != "app/web" || s.cluster != "east" || s.queue < time.Minute || s.failed {
		t.Errorf("received %+v", s)
	}
}
