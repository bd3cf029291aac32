package contract

import (
	"slices"
	"strings"
	"testing"
)

func TestOrigins(t *testing.T) {
	a, b := Origin("a"), Origin("b")
	if a == b || a != Origin("a") || len(a) != originLength {
		t.Fatalf("origins %q and %q", a, b)
	}
	for _, origins := range [][]string{{a}, {a, b}, {"", b}, {a, "", ""}} {
		if got := SplitOrigins(JoinOrigins(origins), len(origins)); !slices.Equal(got, origins) {
			t.Errorf("%q becomes %q", origins, got)
		}
	}
	for name, origins := range map[string][]string{
		"nothing": nil, "one unknown": {""}, "all unknown": {"", "", ""}, "too many": slices.Repeat([]string{a}, mostOrigins/originLength),
	} {
		if text := JoinOrigins(origins); text != "" {
			t.Errorf("%s: the list takes %d bytes", name, len(text))
		}
	}
}

func TestOriginsThatAreNoList(t *testing.T) {
	a := Origin("a")
	for text, n := range map[string]int{
		"": 1, a: 2, a + "," + a: 1, a + ",": 1, strings.ToUpper(Origin("b")) + "Z": 1, a + "0": 1, a[1:]: 1, "ABCDEFGH": 1, " " + a[1:]: 1,
		strings.Repeat(",", mostOrigins+1): mostOrigins + 2,
	} {
		if got := SplitOrigins(text, n); got != nil {
			t.Errorf("%.40q of %d is read as %.40q", text, n, got)
		}
	}
}
