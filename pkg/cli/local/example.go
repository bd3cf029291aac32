package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/examples/quickstart"
	"github.com/flagship-fleet/flagship/pkg/cli/terminal"
	"github.com/flagship-fleet/flagship/pkg/localfleet"
)

// pollInterval is how often an object is read while the user waits for it.
const pollInterval = 100 * time.Millisecond

// placeExample applies the quickstart on the hub and returns when it is available on all members. An existing one is
// not changed, because the user may have edited it.
func placeExample(ctx context.Context, fleet *localfleet.Fleet, shown *terminal.Progress, timeout time.Duration) error {
	if len(fleet.Members()) == 0 {
		return errors.New("there is no member to place the example on; add members to the fleet's file")
	}
	hub, err := fleet.HubClient()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	placement := &placementv1beta1.ClusterResourcePlacement{}
	err = hub.Get(ctx, client.ObjectKey{Name: quickstart.Placement}, placement)
	if client.IgnoreNotFound(err) != nil && !meta.IsNoMatchError(err) {
		return fmt.Errorf("look for the example: %w", err)
	}
	if err != nil {
		shown.Update("example", "applying", false)
		if err := applyExample(ctx, hub); err != nil {
			return err
		}
	}
	return awaitAvailable(ctx, hub, shown)
}

func applyExample(ctx context.Context, hub client.Client) error {
	contents, err := quickstart.YAML()
	if err != nil {
		return err
	}
	for _, content := range contents {
		decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
		for {
			object := &unstructured.Unstructured{}
			if err := decoder.Decode(object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return fmt.Errorf("read the example: %w", err)
			}
			if len(object.Object) == 0 {
				continue
			}
			if err := apply(ctx, hub, object); err != nil {
				return fmt.Errorf("apply %s %s: %w", object.GetKind(), object.GetName(), err)
			}
		}
	}
	return nil
}

// apply applies an object. It waits until the API server serves the object's kind, whose CRD may be new.
func apply(ctx context.Context, hub client.Client, object *unstructured.Unstructured) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		last = hub.Apply(ctx, client.ApplyConfigurationFromUnstructured(object.DeepCopy()), client.FieldOwner("kubectl-fleet"), client.ForceOwnership)
		if meta.IsNoMatchError(last) || apierrors.IsNotFound(last) || apierrors.IsServiceUnavailable(last) {
			return false, nil
		}
		return true, last
	})
	if err != nil && last != nil {
		return last
	}
	return err
}

func awaitAvailable(ctx context.Context, hub client.Client, shown *terminal.Progress) error {
	placement := &placementv1beta1.ClusterResourcePlacement{}
	text := "its status is empty"
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		if err := hub.Get(ctx, client.ObjectKey{Name: quickstart.Placement}, placement); err != nil {
			return false, err
		}
		text = state(placement)
		done := isTrue(placement.Status.Conditions, placement.Generation, placementv1beta1.ClusterResourcePlacementConditionPrefix+placementv1beta1.ConditionAvailable)
		if done {
			text = fmt.Sprintf("available on %d clusters", len(placement.Status.PerClusterPlacementStatuses))
		}
		shown.Update("example", text, done)
		return done, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the example is not available on all members: %s\nfor details, run: %s describe clusterresourceplacement %s", text, kubectl(), quickstart.Placement)
	}
	return err
}

// state describes a placement's progress in one line: the clusters on which it is available and those on which it is
// not, or, before it has clusters, its first condition that is not True.
func state(placement *placementv1beta1.ClusterResourcePlacement) string {
	var available, waiting []string
	for _, cluster := range placement.Status.PerClusterPlacementStatuses {
		if isTrue(cluster.Conditions, placement.Generation, placementv1beta1.ConditionAvailable) {
			available = append(available, cluster.ClusterName)
		} else if cluster.ClusterName != "" {
			waiting = append(waiting, cluster.ClusterName)
		}
	}
	if len(available)+len(waiting) > 0 {
		return fmt.Sprintf("available on %s, not yet on %s", orNone(available), orNone(waiting))
	}
	for _, condition := range placement.Status.Conditions {
		if condition.Status != metav1.ConditionTrue {
			return fmt.Sprintf("%s is %s (%s): %s", condition.Type, condition.Status, condition.Reason, condition.Message)
		}
	}
	return "waiting for the hub agent to process it"
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func isTrue(conditions []metav1.Condition, generation int64, kind string) bool {
	condition := meta.FindStatusCondition(conditions, kind)
	return condition != nil && condition.Status == metav1.ConditionTrue && condition.ObservedGeneration == generation
}
