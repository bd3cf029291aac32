package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// A Work that another client changes is changed back.
func TestEditedWorkIsRestored(t *testing.T) {
	besideOneAgent(t, "edited", func(s *scene) {
		s.snapshot(0, 1)
		s.bind(0)
		s.awaitWorks(1, 0)
		want := s.works()[0]
		for what, edit := range map[string]func(*v1beta1.Work){
			"a manifest": func(w *v1beta1.Work) {
				w.Spec.Workload.Manifests[0].Raw = []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"shop"},"data":{"index":"7"}}`)
			},
			"all manifests": func(w *v1beta1.Work) { w.Spec.Workload.Manifests = nil },
			"a manifest more": func(w *v1beta1.Work) {
				w.Spec.Workload.Manifests = append(w.Spec.Workload.Manifests, v1beta1.Manifest{RawExtension: runtime.RawExtension{
					Raw: []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"more","namespace":"shop"}}`),
				}})
			},
			"the strategy": func(w *v1beta1.Work) {
				w.Spec.ApplyStrategy = &v1beta1.ApplyStrategy{Type: v1beta1.ApplyStrategyTypeReportDiff}
			},
			"the strategy of deletion": func(w *v1beta1.Work) { w.Spec.DeleteStrategy = &v1beta1.DeleteStrategy{PropagationPolicy: "Abandon"} },
			"its revision":             func(w *v1beta1.Work) { w.Annotations[contract.AnnotationWorkSnapshot] = "other-0-snapshot" },
			"its index":                func(w *v1beta1.Work) { w.Labels[contract.LabelWorkResourceIndex] = "7" },
			"number and count":         func(w *v1beta1.Work) { w.Annotations[contract.AnnotationManifests] = "7" },
		} {
			work := s.works()[0]
			edit(&work)
			if err := s.Client.Update(s.Context(), &work); err != nil {
				s.Fatal(err)
			}
			testworld.Await(s, testworld.Soon, what+" to be as it was", func(context.Context) error {
				got := s.works()[0]
				if diff := cmp.Diff(want.Spec, got.Spec) + cmp.Diff(want.Labels, got.Labels) + cmp.Diff(want.Annotations, got.Annotations); diff != "" {
					return errors.New(diff)
				}
				return nil
			})
		}
	})
}

// A Work that another client deletes is created again when the member has removed its objects.
func TestDeletedWorkIsCreatedAgain(t *testing.T) {
	besideOneAgent(t, "byhand", func(s *scene) {
		s.snapshot(0, 1)
		s.bind(0)
		s.awaitWorks(1, 0)
		was := s.works()[0]
		if err := s.Client.Delete(s.Context(), &was); err != nil {
			s.Fatal(err)
		}
		s.freeWorks()
		testworld.Await(s, testworld.Soon, "another work", func(context.Context) error {
			if works := s.works(); len(works) != 1 || works[0].UID == was.UID {
				return fmt.Errorf("works %d", len(works))
			}
			return nil
		})
	})
}
