package overrider

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/override"
	"github.com/flagship-fleet/flagship/pkg/scope"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// RecorderName is the name of the recorder for Overrider.Recorder.
const RecorderName = "overrider"

// Patience is how long a new or edited override may match no cluster before an event reports it: its placement may be
// created after it.
const Patience = 30 * time.Second

// Reasons of the events on an override without an effect.
const (
	eventIdle      = "OverrideSelectsNothing"
	eventNoCluster = "OverrideMatchesNoCluster"
	// eventNameTooLong is recorded at once, as waiting does not help.
	eventNameTooLong = "OverrideNameTooLong"
	// eventTooDeep is recorded at once, too.
	eventTooDeep = "OverrideTooDeep"
)

// young holds the snapshots that were created a moment ago and whose effect is not known yet. It is lost with the
// process: a start records no events.
type young struct {
	mu   sync.Mutex
	born map[types.NamespacedName]birth
}

type birth struct {
	snapshot string
	at       time.Time
}

func (y *young) add(override types.NamespacedName, b birth) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.born == nil {
		y.born = map[types.NamespacedName]birth{}
	}
	y.born[override] = b
}

func (y *young) of(override types.NamespacedName) (birth, bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	b, ok := y.born[override]
	return b, ok
}

func (y *young) forget(override types.NamespacedName) {
	y.mu.Lock()
	defer y.mu.Unlock()
	delete(y.born, override)
}

// examine reports, after Patience, a young override that changes nothing anywhere. No event shows that, so it uses a
// timer.
func (o *Overrider) examine(ctx context.Context, obj v1beta1.OverrideObject, existing []v1beta1.OverrideSnapshotObject,
	inUse map[string]bool) (ctrl.Result, error) {
	key := client.ObjectKeyFromObject(obj)
	b, ok := o.young.of(key)
	if !ok {
		return ctrl.Result{}, nil
	}
	if wait := o.Patience - o.Now().Sub(b.at); wait > 0 && !inUse[b.snapshot] {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	at := slices.IndexFunc(existing, func(s v1beta1.OverrideSnapshotObject) bool { return s.GetName() == b.snapshot })
	if at >= 0 && !inUse[b.snapshot] {
		reason, message, err := o.uselessness(ctx, existing[at])
		if err != nil {
			return ctrl.Result{}, err
		}
		if reason != "" {
			o.Recorder.Event(obj, corev1.EventTypeWarning, reason, message)
		}
	}
	o.young.forget(key)
	return ctrl.Result{}, nil
}

// uselessness is why an override has no effect; reason is empty if it has one, or if another agent reports it. An
// override that selects no object of the one placement it is made for is reported with that placement.
func (o *Overrider) uselessness(ctx context.Context, s v1beta1.OverrideSnapshotObject) (reason, message string, err error) {
	placements, limited, err := o.placements(ctx, s)
	if err != nil {
		return "", "", err
	}
	if limited && len(placements) == 0 {
		return eventIdle, "The placement in spec.placement does not exist", nil
	}
	var fleet clusterv1beta1.MemberClusterList
	if err := o.Client.List(ctx, &fleet, scope.Fast()...); err != nil {
		return "", "", fmt.Errorf("list member clusters: %w", err)
	}
	clusters := make([]override.Cluster, 0, len(fleet.Items))
	for i := range fleet.Items {
		clusters = append(clusters, override.Cluster{Name: fleet.Items[i].Name, Labels: fleet.Items[i].Labels})
	}
	selects := false
	for _, placement := range placements {
		contents, err := o.contents(ctx, placement)
		if err != nil {
			return "", "", err
		}
		matching := override.Match(placement, []v1beta1.OverrideSnapshotObject{s}, contents)
		if selects = selects || !matching.None(); len(matching.Lists(clusters)) > 0 {
			return "", "", nil
		}
	}
	switch {
	case selects:
		return eventNoCluster, "None of its rules matches a cluster; compare their clusterSelectors with the labels of the MemberClusters", nil
	case limited:
		return "", "", nil
	}
	return eventIdle, "Selects no object of any placement; compare its selectors with status.selectedResources of the placement", nil
}

// placements are those that an override may apply to; limited is whether it is made for a single one, which may not
// exist.
func (o *Overrider) placements(ctx context.Context, s v1beta1.OverrideSnapshotObject) (keys []types.NamespacedName, limited bool, err error) {
	if limit, limited := scope.LimitOf(s); limited {
		if limit.Namespace != "" && !o.Namespaced {
			return nil, true, nil
		}
		_, err := scope.Placements.Get(ctx, o.Client, limit)
		if apierrors.IsNotFound(err) {
			return nil, true, nil
		}
		return []types.NamespacedName{limit}, true, err
	}
	all, err := scope.Placements.AllServed(ctx, o.Client, o.Namespaced, scope.Fast()...)
	for _, placement := range all {
		if s.GetNamespace() == "" || placement.GetNamespace() == "" || placement.GetNamespace() == s.GetNamespace() {
			keys = append(keys, client.ObjectKeyFromObject(placement))
		}
	}
	return keys, false, err
}

// contents are the objects that a placement places at present.
func (o *Overrider) contents(ctx context.Context, placement types.NamespacedName) (override.Contents, error) {
	all, err := scope.ResourceSnapshots.List(ctx, o.Client, placement.Namespace, scope.Fast(scope.OfPlacement(placement))...)
	if err != nil {
		return override.Contents{}, err
	}
	latest, ok := snapshot.Latest(snapshot.Groups(all))
	if !ok {
		return override.Contents{}, nil
	}
	return override.ContentsOf(latest.Objects()), nil
}
