package testworld

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Recorder keeps the events that an agent records, so that a test can await them: an agent records an event after the
// write that the event describes. Unlike the fake recorder of client-go it never blocks the agent. The zero value is
// ready.
type Recorder struct {
	mu   sync.Mutex
	list []Event
}

// Event is one event as it was recorded.
type Event struct {
	Type, Reason, Message string
	Annotations           map[string]string
	// About is the object that the event is recorded on.
	About runtime.Object
}

// String has the type, the reason and the message of the event.
func (e Event) String() string { return e.Type + " " + e.Reason + " " + e.Message }

// Event implements record.EventRecorder, as the other two do.
func (r *Recorder) Event(about runtime.Object, kind, reason, message string) {
	r.add(Event{Type: kind, Reason: reason, Message: message, About: about})
}

// Eventf formats the message.
func (r *Recorder) Eventf(about runtime.Object, kind, reason, format string, args ...any) {
	r.Event(about, kind, reason, fmt.Sprintf(format, args...))
}

// AnnotatedEventf formats the message of an event with annotations.
func (r *Recorder) AnnotatedEventf(about runtime.Object, annotations map[string]string, kind, reason, format string, args ...any) {
	r.add(Event{Type: kind, Reason: reason, Message: fmt.Sprintf(format, args...), Annotations: annotations, About: about})
}

func (r *Recorder) add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, e)
}

// All returns the events so far, without those that were awaited or taken.
func (r *Recorder) All() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

// Take returns All and forgets them. It is for agents that the test itself calls, which have recorded their events
// when the call returns.
func (r *Recorder) Take() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.list
	r.list = nil
	return out
}

// Await waits for an event with all of these words in its type, reason and message, and removes the event.
func (r *Recorder) Await(t testing.TB, words ...string) Event {
	t.Helper()
	var found Event
	Await(t, Workload, fmt.Sprintf("an event with %q", words), func(context.Context) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		i := slices.IndexFunc(r.list, func(e Event) bool {
			return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(e.String(), word) })
		})
		if i < 0 {
			return fmt.Errorf("events %q", r.list)
		}
		found = r.list[i]
		r.list = slices.Delete(r.list, i, i+1)
		return nil
	})
	return found
}

// AwaitEvents waits until enough returns true for the events in a namespace of an API server, and returns them. Agents
// write an event after the write that it describes: await the events before you stop an agent.
func AwaitEvents(t testing.TB, c client.Client, namespace, what string, enough func([]corev1.Event) bool) []corev1.Event {
	t.Helper()
	var list corev1.EventList
	Await(t, Workload, what, func(ctx context.Context) error {
		list = corev1.EventList{}
		if err := c.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			return err
		}
		if !enough(list.Items) {
			return fmt.Errorf("%d events:%s", len(list.Items), lines(list.Items))
		}
		return nil
	})
	return list.Items
}

func lines(events []corev1.Event) string {
	var out strings.Builder
	for _, e := range events {
		fmt.Fprintf(&out, "\n  %s %s on %s %s, counted %d: %s", e.Type, e.Reason, e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Count, e.Message)
	}
	return out.String()
}
