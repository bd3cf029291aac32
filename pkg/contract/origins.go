package contract

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// originLength is the length of an origin in characters. mostOrigins is the maximum size in bytes of the annotation
// with a list of origins: half of the space for all annotations of an object. A snapshot or a Work with too many
// objects has no such annotation.
const (
	originLength = 8
	mostOrigins  = 128 << 10
)

// Origin distinguishes an object of the hub from earlier and later objects with its name: a short digest of its UID.
func Origin(uid string) string {
	sum := sha256.Sum256([]byte(uid))
	return hex.EncodeToString(sum[:])[:originLength]
}

// JoinOrigins formats a list of origins for AnnotationOrigins; an unknown origin is empty. The result is empty if no
// origin is known, or if it would be too long.
func JoinOrigins(origins []string) string {
	text := strings.Join(origins, ",")
	if len(text) > mostOrigins || strings.Trim(text, ",") == "" {
		return ""
	}
	return text
}

// SplitOrigins parses a list of n origins. It returns nil for a text that JoinOrigins does not produce for n origins.
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
