// Package version says which Flagship this is.
package version

// Version is set by the linker: a tag, a commit, or dev for a build by hand.
var Version = "dev"
