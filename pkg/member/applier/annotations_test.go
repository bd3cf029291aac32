package applier

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// annotated adds an annotation to a manifest, so that left bytes of what its annotations may have are free.
func annotated(manifest string, left int) string {
	const most, key = 256 * 1024, "note"
	return strings.Replace(manifest, "metadata: {", "metadata: {annotations: {"+key+": "+strings.Repeat("x", most-left-len(key))+"}, ", 1)
}

// A hub accepts 262,144 bytes of annotations. What the agent adds never makes such an object invalid on the member.
func TestAnnotationsUpToTheirLimit(t *testing.T) {
	w := newWorld(t)
	const ns = "limit"
	w.onMember(namespaceText(ns))
	type one struct {
		work, ref string
		left      int
	}
	var all []one
	for name, s := range map[string]*v1beta1.ApplyStrategy{"client": strategy(), "server": strategy(serverSide), "careful": strategy(ifNotDrifted)} {
		for _, left := range []int{0, 1, 100, 1000} {
			o := one{work: fmt.Sprintf("%s-%d", name, left), left: left}
			o.ref = "v1 ConfigMap " + ns + "/" + o.work
			w.work(o.work, s, annotated(configMap(ns, o.work, "a"), left))
			all = append(all, o)
		}
	}
	applied := func(what, value string) {
		w.eventually(what, func() error {
			var missing error
			for _, o := range all {
				obj, err := w.object(o.ref)
				if err == nil {
					err = w.isApplied(o.work)
				}
				if got := at(obj.Object, "data.key"); err == nil && fmt.Sprint(got) != value {
					err = fmt.Errorf("%s has %v", o.work, got)
				}
				missing = errors.Join(missing, err)
			}
			return missing
		})
	}
	applied("all to be created", "a")
	for _, o := range all {
		w.edit(o.work, annotated(configMap(ns, o.work, "b"), o.left))
	}
	applied("all to be changed", "b")
	for _, o := range all {
		if hash := w.mustObject(o.ref).GetAnnotations()[contract.AnnotationSpecHash]; (hash != "") != (o.left == 1000) {
			t.Errorf("%s has the hash %q", o.work, hash)
		}
		// Where the last manifest has no room, client-side apply goes server-side without force, and does not overrule
		// others.
		if strings.HasPrefix(o.work, "server") {
			w.change(o.ref, edited(map[string]any{"key": "drifted"}))
		}
	}
	applied("drift to be undone", "b")
	for _, o := range all { // to none, and back
		w.edit(o.work, configMap(ns, o.work, "c"))
	}
	applied("annotations to go", "c")
	for _, o := range all {
		if annotations := w.mustObject(o.ref).GetAnnotations(); annotations["note"] != "" || annotations[contract.AnnotationPlacedWork] == "" {
			t.Errorf("%s has annotations %v", o.work, annotations)
		}
		w.edit(o.work, annotated(configMap(ns, o.work, "d"), o.left))
	}
	applied("annotations to be back", "d")
	w.quiet(2 * time.Second)
	w.writes.take()
	w.restart()
	w.quiet(2 * time.Second)
	if got := w.writes.take(); len(got) > 0 {
		t.Errorf("a restart wrote %q", got)
	}
	for _, o := range all {
		w.deleteWork(o.work)
	}
	for _, o := range all {
		w.gone(o.ref)
	}
}
