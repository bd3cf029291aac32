package brief

import (
	"strings"
	"testing"
)

func TestList(t *testing.T) {
	for words, want := range map[string]string{"": "", "a": "a", "a b c": "a, b, c", "a b c d": "a, b, c and 1 more", "a b c d e": "a, b, c and 2 more"} {
		if got := List(strings.Fields(words), 3); got != want {
			t.Errorf("%q is %q, want %q", words, got, want)
		}
	}
}
