package lenient

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
)

// ReasonUnreadable is the reason of the event about an object that cannot be read.
const ReasonUnreadable = "CannotBeRead"

// mostEvents is the most events that are written concurrently; further faults are only logged.
const mostEvents = 100

// eventTimeout is how long the write of an event may take.
const eventTimeout = 10 * time.Second

// notifier returns a function that logs a fault and records an event about the object, without waiting for the write.
func (s Settings) notifier(cfg *rest.Config, httpClient *http.Client) (func(Fault), error) {
	if s.Component == "" {
		return logFault, nil
	}
	clients, err := corev1client.NewForConfigAndClient(cfg, httpClient)
	if err != nil {
		return nil, fmt.Errorf("make a client for events: %w", err)
	}
	as := s.EventAs
	if as == nil {
		as = func(event *corev1.Event) *corev1.Event { return event }
	}
	slots := make(chan struct{}, mostEvents)
	return func(f Fault) {
		logFault(f)
		select {
		case slots <- struct{}{}:
			go func() {
				defer func() { <-slots }()
				record(clients, as(s.event(f)))
			}()
		default:
		}
	}, nil
}

func record(events corev1client.EventsGetter, event *corev1.Event) {
	ctx, cancel := context.WithTimeout(context.Background(), eventTimeout)
	defer cancel()
	_, err := events.Events(event.Namespace).Create(ctx, event, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		ctrl.Log.WithName("cache").V(1).Info("Failed to record event", "namespace", event.Namespace, "object", event.InvolvedObject.Name, "reason", err.Error())
	}
}

func logFault(f Fault) {
	ctrl.Log.WithName("cache").Info("Skipped unreadable object", "kind", f.Kind, "namespace", f.meta.Namespace, "object", f.meta.Name,
		"statusOnly", f.StatusOnly, "reason", f.Why)
}

// event derives the name of the event from the object: an agent that restarts and finds the same object unreadable
// creates no second event, and neither does an object that becomes unreadable repeatedly.
func (s Settings) event(f Fault) *corev1.Event {
	namespace := f.meta.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	hash := fnv.New64a()
	fmt.Fprintf(hash, "%s/%t", f.meta.UID, f.StatusOnly)
	now := metav1.Now()
	text := "The object cannot be decoded and is skipped until it is corrected or deleted: " + f.Why
	if f.StatusOnly {
		text = "The status cannot be decoded and is ignored until it is written again: " + f.Why
	}
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%.200s.%x", f.meta.Name, hash.Sum64())},
		InvolvedObject: f.reference(),
		Reason:         ReasonUnreadable, Message: text, Type: corev1.EventTypeWarning, Count: 1,
		Source: corev1.EventSource{Component: s.Component}, FirstTimestamp: now, LastTimestamp: now,
	}
}
