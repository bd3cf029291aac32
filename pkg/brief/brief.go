// Package brief cuts lists short for messages, which conditions and people have little room for.
package brief

import (
	"fmt"
	"strings"
)

// List is the first of words, up to most of them, and how many more there are. Words that come in another order each time have to be sorted
// before, or the message changes with them.
func List(words []string, most int) string {
	if len(words) <= most {
		return strings.Join(words, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(words[:most], ", "), len(words)-most)
}
