package controlplane

import (
	"fmt"
	"strings"
	_ "unsafe" // for go:linkname

	"k8s.io/component-base/version"
)

// KubernetesVersion is the version of k8s.io/kubernetes in go.mod (TestVersionIsTheModules compares them).
const KubernetesVersion = "v1.36.3"

// Kubernetes' release build sets these with -ldflags -X; setting them from here keeps our own build a plain go build.
// Clients read all three: kubectl the version, Helm also major and minor.

//go:linkname gitVersion k8s.io/component-base/version.gitVersion
var gitVersion string

//go:linkname gitMajor k8s.io/component-base/version.gitMajor
var gitMajor string

//go:linkname gitMinor k8s.io/component-base/version.gitMinor
var gitMinor string

//go:linkname gitCommit k8s.io/component-base/version.gitCommit
var gitCommit string

func init() {
	parts := strings.SplitN(strings.TrimPrefix(KubernetesVersion, "v"), ".", 3)
	gitVersion, gitMajor, gitMinor, gitCommit = KubernetesVersion, parts[0], parts[1], ""
	// The version package has copied the placeholder by now; this makes it copy again.
	if err := version.SetDynamicVersion(KubernetesVersion); err != nil {
		panic(fmt.Sprintf("set the version %s: %v", KubernetesVersion, err))
	}
}
