package delivery

import (
	"reflect"
	"testing"
	"time"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// What older agents left on bindings must be read, and what is written now must be read by them.
func TestMarksOnTheWire(t *testing.T) {
	r1, r2 := v1beta1.Revision{ResourceSnapshotName: "r1"}, v1beta1.Revision{ResourceSnapshotName: "r2"}
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		mark             Mark
		annotation, text string
	}{
		"a rolling update": {
			Mark{To: r2, At: noon, Before: &r1}, contract.AnnotationRollout,
			`{"to":{"resourceSnapshotName":"r2"},"at":"2026-01-01T12:00:00Z","before":{"resourceSnapshotName":"r1"}}`,
		},
		"a rolling update on the way back": {
			Mark{To: r1, At: noon, Before: &r1, Back: true}, contract.AnnotationRollout,
			`{"to":{"resourceSnapshotName":"r1"},"at":"2026-01-01T12:00:00Z","before":{"resourceSnapshotName":"r1"},"back":true}`,
		},
		"a rolling update of what was never healthy": {
			Mark{To: r1, At: noon}, contract.AnnotationRollout, `{"to":{"resourceSnapshotName":"r1"},"at":"2026-01-01T12:00:00Z","before":null}`,
		},
		"an update run": {Mark{Run: "uid", Before: &r1}, contract.AnnotationUpdateRun, `{"run":"uid","before":{"resourceSnapshotName":"r1"}}`},
		"an update run of what was never healthy": {Mark{Run: "uid"}, contract.AnnotationUpdateRun, `{"run":"uid","before":null}`},
	} {
		b := &v1beta1.ClusterResourceBinding{}
		shared := map[string]string{"other": "stays", tc.annotation: "an earlier one"}
		b.Annotations = shared
		if err := tc.mark.Put(b); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"other": "stays", tc.annotation: tc.text}
		if !reflect.DeepEqual(b.Annotations, want) || shared[tc.annotation] != "an earlier one" {
			t.Errorf("%s: annotations %v; want %v, and those before as they were", name, b.Annotations, want)
		}
		read, other := RolloutMark(b), RunMark(b, "uid")
		if tc.mark.Run != "" {
			read, other = other, read
		}
		if read == nil || !reflect.DeepEqual(*read, tc.mark) || other != nil {
			t.Errorf("%s: read %+v, and of the other kind %+v; want %+v alone", name, read, other, tc.mark)
		}
	}
}

func TestMarksThatDoNotCount(t *testing.T) {
	b := &v1beta1.ClusterResourceBinding{}
	b.Annotations = map[string]string{contract.AnnotationRollout: `{"before":7}`, contract.AnnotationUpdateRun: `{"run":"another","before":null}`}
	if RolloutMark(b) != nil || RunMark(b, "uid") != nil {
		t.Error("a mark counts that cannot be read, or is of another run")
	}
}
