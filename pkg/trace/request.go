package trace

import "strings"

// resourceIn returns the resource that the path of a request names, with its subresource; the path itself if it is of
// another form.
func resourceIn(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:] // after the version
	case len(parts) > 3 && parts[0] == "apis":
		parts = parts[3:] // after group and version
	default:
		return path
	}
	if len(parts) > 2 && parts[0] == "namespaces" && parts[2] != "status" && parts[2] != "finalize" {
		parts = parts[2:]
	}
	if len(parts) > 2 {
		return parts[0] + "/" + strings.Join(parts[2:], "/")
	}
	return parts[0]
}
