package loop

import (
	"strconv"
	"strings"
)

// Refusal is what an API server says when it refuses a write, without the object: of a patch whose outcome it cannot read, it quotes all of
// it before it says why, and in it may be Secrets.
func Refusal(message string) string {
	const quoting = "patch: Invalid value: "
	before, rest, found := strings.Cut(message, quoting)
	if !found {
		return message
	}
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		return before + "the patch leads to an object that cannot be read"
	}
	return strings.TrimPrefix(rest[len(quoted):], ": ")
}
