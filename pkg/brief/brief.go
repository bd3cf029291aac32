// Package brief shortens lists for messages in conditions and output, which have limited space.
package brief

import (
	"fmt"
	"strings"
)

// List returns the first most words, and the number of the others. The caller must sort words that have no stable
// order; otherwise the message changes with it.
func List(words []string, most int) string {
	if len(words) <= most {
		return strings.Join(words, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), len(words)-most)
}
