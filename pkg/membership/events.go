package membership

import (
	"fmt"
	"hash/fnv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	// eventNames is how many names a member has for its events on the hub, and so how many of them there are at most. An agent records a
	// handful in the hour for which an API server keeps events; with the sizes that the policy bounds, a member that records all of them
	// fills less than 2 MiB of the hub's etcd.
	eventNames = 256
	// maxEventMessage is in bytes, as many as events.k8s.io allows characters in a note.
	maxEventMessage = 1024
)

// EventFor is event as a member may record it on the hub: its name is one of a few, so that a member fills the hub with no events, and made
// of what the event is about, so that the same event has the same name. The hub chart's policy member-events holds members to it, because
// quotas do not count events.
func EventFor(member string, event *corev1.Event) *corev1.Event {
	out := event.DeepCopy()
	about := fnv.New32a()
	fmt.Fprintf(about, "%s/%s/%s/%s", event.InvolvedObject.UID, event.Type, event.Reason, event.Message)
	out.Name = fmt.Sprintf("%s.%02x", member, about.Sum32()%eventNames)
	if len(out.Message) > maxEventMessage {
		const more = "…"
		out.Message = strings.ToValidUTF8(out.Message[:maxEventMessage-len(more)], "") + more
	}
	return out
}
