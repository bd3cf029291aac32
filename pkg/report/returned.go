package report

import (
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/decode"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/validate"
)

// Origin is the object on the hub that was placed as an object on a member.
type Origin struct {
	schema.GroupVersionKind
	types.NamespacedName
}

// Returned is the status of an object on a member, for its origin on the hub.
type Returned struct {
	Origin
	// Status is the JSON value of the field status.
	Status json.RawMessage
}

// ReturnsStatus reports whether a placement requests that the status of its objects is copied to their origins.
// mistake is why the spec does not allow that, for the user; wanted is then false.
func ReturnsStatus(spec *v1beta1.PlacementSpec) (wanted bool, mistake string) {
	s := spec.Strategy.ReportBackStrategy
	if s == nil || s.Type != v1beta1.ReportBackTypeMirror || s.Destination == nil || *s.Destination != v1beta1.ReportBackDestinationOriginalResource {
		return false, ""
	}
	if wrong := validate.ReportBack(spec); len(wrong) > 0 {
		return false, wrong[0].Detail
	}
	return true, ""
}

// Returns lists the statuses that a Work reports of objects that its placement has selected. Objects from envelopes
// are omitted: they have no origin. A status that cannot be decoded is omitted and is part of the error.
func Returns(work *v1beta1.Work, selected []v1beta1.ResourceIdentifier) ([]Returned, error) {
	if !work.DeletionTimestamp.IsZero() || work.Labels[contract.LabelEnvelopeKind] != "" ||
		!delivery.IsTrue(work.Status.Conditions, v1beta1.ConditionApplied, work.Generation) {
		return nil, nil
	}
	known := map[Origin]bool{}
	for _, s := range selected {
		if s.Envelope == nil {
			known[originOf(s.Group, s.Version, s.Kind, s.Namespace, s.Name)] = true
		}
	}
	var out []Returned
	var errs []error
	for _, m := range work.Status.ManifestConditions {
		id := m.Identifier
		from := originOf(id.Group, id.Version, id.Kind, id.Namespace, id.Name)
		if m.BackReportedStatus == nil || !known[from] {
			continue
		}
		var object struct {
			Status json.RawMessage `json:"status"`
		}
		if err := decode.JSON(m.BackReportedStatus.ObservedStatus.Raw, &object); err != nil {
			errs = append(errs, fmt.Errorf("read the status that work %s reports of %s %s: %w", work.Name, id.Kind, from.NamespacedName, err))
		} else if len(object.Status) > 0 {
			out = append(out, Returned{from, object.Status})
		}
	}
	return out, errors.Join(errs...)
}

func originOf(group, version, kind, namespace, name string) Origin {
	return Origin{schema.GroupVersionKind{Group: group, Version: version, Kind: kind}, types.NamespacedName{Namespace: namespace, Name: name}}
}
