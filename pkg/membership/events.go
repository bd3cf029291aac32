package membership

import (
	"fmt"
	"hash/fnv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	// eventNames is the number of names that a member uses for its events on the hub, and thus the maximum number of
	// its events. An agent records only a few in the hour for which an API server keeps events. With the sizes that
	// the policy allows, a member that records all of them uses less than 2 MiB of the hub's etcd.
	eventNames = 256
	// maxEventMessage is a limit in bytes; events.k8s.io allows as many characters in a note.
	maxEventMessage = 1024
)

// EventFor returns event as a member may record it on the hub: its name is one of a fixed number, so that a member
// cannot fill the hub, and is derived from the event's object, type, reason and message, so that the same event has
// the same name. The hub chart's policy member-events enforces this, because quotas do not count events.
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
