package membership

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestEventForHasFewNamesAndShortMessages(t *testing.T) {
	name, names := regexp.MustCompile(`^east\.[0-9a-f]{2}$`), map[string]bool{}
	for i := range 10_000 {
		event := &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: "fleet-member-east", Name: "east.17a3b4c5d6e7f809"},
			Reason:     "R", Message: fmt.Sprint(i), Type: corev1.EventTypeNormal,
		}
		first, again := EventFor("east", event), EventFor("east", event)
		if first.Name != again.Name || !name.MatchString(first.Name) || event.Name == first.Name {
			t.Fatalf("%q, then %q", first.Name, again.Name)
		}
		names[first.Name] = true
	}
	if len(names) != eventNames {
		t.Errorf("%d names are used, of %d", len(names), eventNames)
	}
	for _, message := range []string{"", "short", strings.Repeat("a", 1024), strings.Repeat("a", 1025), strings.Repeat("ü", 1024), "a" + strings.Repeat("🦆", 300)} {
		got := EventFor("east", &corev1.Event{Message: message}).Message
		whole := len(message) <= maxEventMessage
		if len(got) > maxEventMessage || !utf8.ValidString(got) || whole != (got == message) || !strings.HasPrefix(message, strings.TrimSuffix(got, "…")) {
			t.Errorf("%d bytes became %d: %q", len(message), len(got), got)
		}
	}
}
