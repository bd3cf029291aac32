package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	testImports = `import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

`
	testList = `
// ThingList is a list of Things.
type ThingList struct {
	metav1.TypeMeta ` + "`json:\",inline\"`" + `
	Items           []Thing ` + "`json:\"items\"`" + `
}
`
)

func TestDeriveTypes(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"a kind comes with its list, without our markers and the storage marker": {
			in: `
// Thing is a thing.
// +flagship:versions=v1
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
type Thing struct {
	metav1.TypeMeta ` + "`json:\",inline\"`" + `
}
` + testList,
			want: `
// Thing is a thing.
// +kubebuilder:object:root=true
type Thing struct {
	metav1.TypeMeta ` + "`json:\",inline\"`" + `
}
` + testList,
		},
		"only types that are reached come along, with their constants": {
			in: `
// Thing is a thing.
// +flagship:versions=v1
type Thing struct {
	// Parts by name.
	Parts map[string][]*Part
}
` + testList + `
// Part is a part.
type Part struct {
	Color ` + "`json:\",inline\"`" + `
}

// Color is a colour.
type Color string

// Colours, and what is none.
const (
	// Red is the best one.
	Red Color = "Red"
	// Ready is a condition.
	Ready = "Ready"
	// Old is gone.
	// +flagship:not-in=v1
	Old Color = "Old"
)

// Unused stays behind.
type Unused string

// None stays behind.
const None Unused = "None"

// Paint stays behind.
func Paint(Color) {}
`,
			want: `
// Thing is a thing.
type Thing struct {
	// Parts by name.
	Parts map[string][]*Part
}
` + testList + `
// Part is a part.
type Part struct {
	Color ` + "`json:\",inline\"`" + `
}

// Color is a colour.
type Color string

// Colours, and what is none.
const (
	// Red is the best one.
	Red Color = "Red"
)
`,
		},
		"a field that does not exist goes with its comment and with what only it reaches": {
			in: `
// Thing is a thing.
// +flagship:versions=v1
type Thing struct {
	// Gone is gone,
	// altogether.
	// +flagship:not-in=v1
	Gone *Gone ` + "`json:\"gone\"`" + ` // whole line

	// Kept in v1, whatever other versions do.
	// +flagship:not-in=v2
	Kept string ` + "`json:\"kept\"`" + `

	// Last is gone too.
	// +flagship:not-in=v1
	Last string
}
` + testList + `
// Gone is gone.
type Gone struct{}

// Other makes v2 a version.
// +flagship:versions=v2
type Other struct{}

// OtherList is its list.
type OtherList struct{}
`,
			want: `
// Thing is a thing.
type Thing struct {
	// Kept in v1, whatever other versions do.
	Kept string ` + "`json:\"kept\"`" + `
}
` + testList,
		},
		"markers, text and types differ": {
			in: `
// Thing is a thing.
// +flagship:versions=v1
// +rule=beta
// +flagship:previous-not-in=v1
// +flagship:only-in=v1 +rule=one
type Thing struct {
	// Wait is a time.
	// +optional
	// +flagship:previous-not-in=v1
	// +flagship:only-in=v1 +required
	// +pattern=beta
	// +flagship:only-in=v1 It was different once.
	// +flagship:type-in=v1 metav1.Duration
	Wait *Time ` + "`json:\"wait\"`" + ` // a remark
}
` + testList + `
// Time is not reached.
type Time string
`,
			want: `
// Thing is a thing.
// +rule=one
type Thing struct {
	// Wait is a time.
	// +required
	// +pattern=beta
	// It was different once.
	Wait metav1.Duration ` + "`json:\"wait\"`" + ` // a remark
}
` + testList,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			src, err := load(write(t, testImports+test.in))
			if err != nil {
				t.Fatal(err)
			}
			got, err := src.derive("v1")
			if err != nil {
				t.Fatal(err)
			}
			want := header + "package v1\n\nimport (\n\tmetav1 \"k8s.io/apimachinery/pkg/apis/meta/v1\"\n)\n" + test.want
			if string(got.types) != want {
				t.Errorf("got:\n%s\nwant:\n%s", got.types, want)
			}
		})
	}
}

func TestDeriveRegistersKindsOfTheVersion(t *testing.T) {
	dir := write(t, `
// Thing is served in both.
// +flagship:versions=v1,v2
type Thing struct{}

type ThingList struct{}

// Other is served in one.
// +flagship:versions=v2
type Other struct{}

type OtherList struct{}
`)
	if err := deriveGroup(dir); err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]string{
		"v1": "\tscheme.AddKnownTypes(GroupVersion,\n\t\t&Thing{}, &ThingList{},\n\t)\n",
		"v2": "\tscheme.AddKnownTypes(GroupVersion,\n\t\t&Thing{}, &ThingList{},\n\t\t&Other{}, &OtherList{},\n\t)\n",
	} {
		content, err := os.ReadFile(filepath.Join(filepath.Dir(dir), version, registerFile))
		if err != nil {
			t.Fatal(err)
		}
		got := string(content)
		for _, part := range []string{
			want, header, "\npackage " + version + "\n", "// +groupName=things.example.com\n",
			`schema.GroupVersion{Group: "things.example.com", Version: "` + version + `"}`,
		} {
			if !strings.Contains(got, part) {
				t.Errorf("%s: no %q in:\n%s", version, part, got)
			}
		}
	}
}

func TestDeriveRefuses(t *testing.T) {
	thing := "// +flagship:versions=v1\ntype Thing struct{}\n"
	tests := map[string]struct{ in, want string }{
		"an unknown marker": {
			in:   thing + testList + "\n// +flagship:notin=v1\ntype A int\n",
			want: `unknown marker "notin"`,
		},
		"a version no kind is served in": {
			in:   thing + testList + "\ntype A struct {\n\t// +flagship:not-in=v7\n\tB int\n}\n",
			want: `names version "v7", which no kind is served in`,
		},
		"a marker without the text it needs": {
			in:   thing + testList + "\n// +flagship:only-in=v1\ntype A int\n",
			want: "marker only-in needs something after its versions",
		},
		"text behind the versions of a marker that takes none": {
			in:   thing + testList + "\n// +flagship:versions=v1, v2\ntype A int\n",
			want: `marker versions takes only versions, found "v2"`,
		},
		"dropping the line above where there is none": {
			in:   thing + testList + "\n// +flagship:previous-not-in=v1\ntype A int\n",
			want: "marker previous-not-in has no line above it",
		},
		"a kind without a list": {
			in:   thing,
			want: "kind Thing has no list",
		},
		"grouped types": {
			in:   "type (\n\tA int\n\tB int\n)\n",
			want: "grouped type declarations are not supported",
		},
		"a type from a package that is not imported": {
			in:   "// +flagship:versions=v1\ntype Thing struct {\n\t// +flagship:type-in=v1 core.Pod\n\tA int\n}\n" + testList,
			want: "no import is named core",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := deriveGroup(write(t, testImports+test.in))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

// write makes a source package with one file of that content, and returns its folder.
func write(t *testing.T, content string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), sourceVersion)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	content = "// +groupName=things.example.com\npackage v1beta1\n\n" + content
	if err := os.WriteFile(filepath.Join(dir, "thing.go"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}
