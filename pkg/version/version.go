// Package version contains the version of this build.
package version

// Version is set by the linker: a tag or a commit; dev for other builds.
var Version = "dev"
