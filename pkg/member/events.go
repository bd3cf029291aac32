package member

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flagship-fleet/flagship/pkg/member/joiner"
	"github.com/flagship-fleet/flagship/pkg/membership"
)

// recorder writes events on the hub until ctx ends. They are of the core group, the only one that the member's Role on
// the hub permits. Events that the hub refuses are logged once and dropped.
func (s *sessions) recorder(ctx context.Context, hub ctrl.Manager) (record.EventRecorder, error) {
	clients, err := corev1client.NewForConfigAndClient(hub.GetConfig(), hub.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("make a client for events on the hub: %w", err)
	}
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(sink{&corev1client.EventSinkImpl{Interface: clients.Events("")}, s.eventFor})
	return broadcaster.NewRecorder(hub.GetScheme(), corev1.EventSource{Component: joiner.RecorderName}), nil
}

// eventFor returns event under the name that the hub permits this member to use.
func (s *sessions) eventFor(event *corev1.Event) *corev1.Event {
	return membership.EventFor(s.options.Hub.Member, event)
}

// sink writes events under the names that as returns. An event replaces an existing one of the same name.
type sink struct {
	record.EventSink
	as func(*corev1.Event) *corev1.Event
}

func (s sink) Create(event *corev1.Event) (*corev1.Event, error) {
	event = s.as(event)
	made, err := s.EventSink.Create(event)
	if !apierrors.IsAlreadyExists(err) {
		return made, err //nolint:wrapcheck // the recorder checks its type
	}
	content, err := json.Marshal(event)
	if err != nil {
		return nil, fmt.Errorf("write event %s as JSON: %w", event.Name, err)
	}
	return s.Patch(event, content) //nolint:wrapcheck // as above
}
