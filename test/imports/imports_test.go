// Package imports checks that packages import only packages of lower layers, as docs/architecture.md describes.
package imports

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/flagship-fleet/flagship/"

type layer struct {
	name     string
	packages []string
	// beside is whether packages of this layer may import each other.
	beside bool
}

// layers are sorted from top to bottom: a package may import packages of lower layers, and, where beside allows it, of
// its own. Packages are listed by prefix; the longest match counts.
var layers = []layer{
	{"commands and test suites", []string{"cmd/", "docs", "test/"}, true},
	{"the plugin", []string{"pkg/cli"}, false},
	{"its verbs", []string{"pkg/cli/"}, false},
	{"what verbs share", []string{"pkg/cli/follow", "pkg/cli/hubclient", "pkg/cli/naming", "pkg/cli/terminal", "pkg/cli/verb"}, false},
	{"fleets for people and tests", []string{"pkg/localfleet", "pkg/testworld", "charts", "examples"}, true},
	{"wiring", []string{"pkg/hub", "pkg/member"}, false},
	{"agents", []string{"pkg/hub/", "pkg/member/"}, false},
	{"what some agents share", []string{"pkg/hub/give", "pkg/hub/objects", "pkg/hub/policies", "pkg/hub/revise"}, false},
	{"what agents share", []string{"pkg/loop", "pkg/process", "pkg/trace"}, false},
	{"decisions", []string{"pkg/admission", "pkg/apply", "pkg/capacity", "pkg/division", "pkg/evict", "pkg/failover", "pkg/health", "pkg/membership", "pkg/override", "pkg/removal", "pkg/replicas", "pkg/report", "pkg/rollout", "pkg/schedule",
		"pkg/secrecy", "pkg/selection", "pkg/snapshot", "pkg/stage", "pkg/work"}, true},
	{"what is wrong in a spec", []string{"pkg/validate"}, false},
	{"twins", []string{"pkg/scope"}, false},
	{"deliveries", []string{"pkg/delivery"}, false},
	{"the wire", []string{"pkg/brief", "pkg/contract", "pkg/decode", "pkg/liveness", "pkg/metrics", "pkg/version"}, false},
	{"types", []string{"apis"}, true},
}

// pure are packages of decisions, which take and return values.
var pure = slices.Concat(packagesOf("decisions"), packagesOf("what is wrong in a spec"), packagesOf("deliveries"))

func packagesOf(name string) []string {
	return layers[slices.IndexFunc(layers, func(l layer) bool { return l.name == name })].packages
}

// impure are packages that a decision must not import.
var impure = []string{"sigs.k8s.io/controller-runtime/pkg/client", "k8s.io/client-go/kubernetes", "k8s.io/client-go/dynamic",
	"k8s.io/client-go/rest", "github.com/go-logr/logr", "k8s.io/klog/v2", "sigs.k8s.io/controller-runtime", "net/http", "os"}

func TestImportsPointOneWay(t *testing.T) {
	for pkg, imports := range importsOfAll(t) {
		from, beside := layerOf(pkg)
		if from < 0 {
			t.Errorf("%s belongs to no layer: add it to layers and to docs/architecture.md", pkg)
			continue
		}
		for _, imp := range imports {
			local, ok := strings.CutPrefix(imp, module)
			if !ok {
				continue
			}
			to, _ := layerOf(local)
			if to < from || to == from && !beside {
				t.Errorf("%s (%s) imports %s (%s): only imports of lower layers are allowed", pkg, layers[from].name, local, layers[max(0, to)].name)
			}
		}
	}
}

func TestDecisionsArePure(t *testing.T) {
	for pkg, imports := range importsOfAll(t) {
		if !matches(pkg, pure) {
			continue
		}
		for _, imp := range imports {
			for _, bad := range impure {
				if imp == bad {
					t.Errorf("%s imports %s: a decision takes values and returns values", pkg, imp)
				}
			}
		}
	}
}

// The plugin runs on the user's machine: it reads what agents write and shares decisions with them, but contains no
// agent.
func TestThePluginHoldsNoAgent(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", module+"cmd/kubectl-fleet").Output()
	if err != nil {
		t.Fatalf("list the packages of the plugin: %v", err)
	}
	for _, pkg := range strings.Fields(string(out)) {
		if local, ok := strings.CutPrefix(pkg, module); ok && matches(local, []string{"pkg/hub", "pkg/member"}) {
			t.Errorf("the plugin imports %s", local)
		}
	}
}

// importsOfAll lists the packages of this module, without the module's name, and what each imports outside its tests.
func importsOfAll(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"...").Output()
	if err != nil {
		t.Fatalf("list packages: %v", err)
	}
	all := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		all[strings.TrimPrefix(fields[0], module)] = fields[1:]
	}
	if len(all) < 10 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}

func layerOf(pkg string) (index int, beside bool) {
	index = -1
	longest := 0
	for i, layer := range layers {
		for _, prefix := range layer.packages {
			if covers(prefix, pkg) && len(prefix) > longest {
				index, beside, longest = i, layer.beside, len(prefix)
			}
		}
	}
	return index, beside
}

func matches(pkg string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if covers(prefix, pkg) {
			return true
		}
	}
	return false
}

// covers reports whether prefix is a parent of pkg, or, if it does not end in a slash, pkg itself.
func covers(prefix, pkg string) bool {
	if strings.HasSuffix(prefix, "/") {
		return strings.HasPrefix(pkg, prefix)
	}
	return pkg == prefix || strings.HasPrefix(pkg, prefix+"/")
}
