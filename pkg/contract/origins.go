package contract

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// originLength is how many characters an origin has, mostOrigins how many bytes the annotation of a list of them: half
// of what all annotations of an object may take together. A snapshot or a Work of more objects than fit has none.
const (
	originLength = 8
	mostOrigins  = 128 << 10
)

// Origin tells an object of the hub from others that had or will have its name: a short digest of its UID.
func Origin(uid string) string {
	sum := sha256.Sum256([]byte(uid))
	return hex.EncodeToString(sum[:])[:originLength]
}

// JoinOrigins is a list of origins as AnnotationOrigins holds it; an origin that is not known is empty. The list is
// empty if none is known, or if it would be too long.
func JoinOrigins(origins []string) string {
	text := strings.Join(origins, ",")
	if len(text) > mostOrigins || strings.Trim(text, ",") == "" {
		return ""
	}
	return text
}

// SplitOrigins reads a list of n origins. It is nil for a text that JoinOrigins does not make of so many.
func SplitOrigins(text string, n int) []string {
	if n == 0 || text == "" || len(text) > mostOrigins {
		return nil
	}
	origins := strings.Split(text, ",")
	if len(origins) != n {
		return nil
	}
	for _, origin := range origins {
		if origin != "" && (len(origin) != originLength || strings.Trim(origin, "0123456789abcdef") != "") {
			return nil
		}
	}
	return origins
}
