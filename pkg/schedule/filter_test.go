package schedule

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// The table of docs/explain.md has all filters in the order in which they check.
func TestFiltersAreDocumentedInTheirOrder(t *testing.T) {
	text, err := os.ReadFile("../../docs/explain.md")
	if err != nil {
		t.Fatal(err)
	}
	table := regexp.MustCompile(`(?m)^\| Filter \|.*\n(?:\|.*\n)+`).FindString(string(text))
	var documented, filters []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)`").FindAllStringSubmatch(table, -1) {
		documented = append(documented, row[1])
	}
	for _, f := range allFilters {
		filters = append(filters, string(f.name()))
	}
	if !slices.Equal(documented, filters) {
		t.Errorf("documented are %q; the filters are %q", documented, filters)
	}
}
