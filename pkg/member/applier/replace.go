package applier

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// reasonReplaced is the reason of the event on an object that is replaced.
const reasonReplaced = "Replaced"

// errReplaced means that the object was deleted, and is created from the manifest once it is gone.
var errReplaced = errors.New("the object was deleted, because the hub's object was recreated and fields are immutable; it is created next")

// errInherited means that the object is ours now, so that the next decision may differ.
var errInherited = errors.New("the object belonged to another Work of the placement and cannot be changed; it is replaced next if that is permitted")

// unreplaced is a refusal to change an object that is not replaced either, with the reason.
type unreplaced struct {
	error
	why string
}

func (e unreplaced) Unwrap() error { return e.error }

func (e unreplaced) hint() string {
	return "; the hub's object was recreated, but the object on the member cluster is not replaced: " + e.why +
		". To create it from the manifest, delete it on the member cluster"
}

// replace deletes the live object if the API server refuses, with refusal, to change it to the manifest, if it was
// made from another object of the hub, and if the API server would create it. Otherwise it returns the refusal. An
// object of another Work of the placement is made ours first.
func (p *pass) replace(ctx context.Context, it *item, at place, in apply.Input, refusal error) error {
	claim, err := apply.Inherit(in)
	if err != nil {
		return err
	}
	if claim != nil {
		return p.inheritObject(ctx, at, claim, refusal)
	}
	may, why := apply.Replaceable(in, p.ledger.entries[it.Key()])
	if why != "" {
		return unreplaced{refusal, why}
	}
	if !may {
		return refusal
	}
	kind := in.Live.GroupVersionKind().GroupKind()
	if err := p.creatable(ctx, at, in); err != nil {
		return unreplaced{refusal, "it could not be created again: " + explain(err, kind)}
	}
	uid, version := in.Live.GetUID(), in.Live.GetResourceVersion()
	err = p.agent.at(at).Delete(ctx, at.Name, metav1.DeleteOptions{
		// The decision holds for the object as it was read.
		Preconditions:     &metav1.Preconditions{UID: &uid, ResourceVersion: &version},
		PropagationPolicy: ptr.To(metav1.DeletePropagationBackground),
	})
	switch {
	case apierrors.IsNotFound(err):
		return errReplaced
	case apierrors.IsConflict(err):
		return err
	case err != nil:
		return unreplaced{refusal, "it cannot be deleted: " + explain(err, kind)}
	}
	ctrl.LoggerFrom(ctx).Info("Replaced object", "work", p.work.Name, "object", it.Key().String(), "reason", explain(refusal, kind))
	if p.agent.Recorder != nil {
		p.agent.Recorder.Event(in.Live, corev1.EventTypeNormal, reasonReplaced, cut("A fleet places this object. The hub's object was recreated, and this one "+
			"cannot be changed to match it, so it is deleted and created from the manifest: "+explain(refusal, kind)))
	}
	return errReplaced
}

// inheritObject makes a live object ours. If the API server refuses that too, it returns the refusal of the content,
// which explains more.
func (p *pass) inheritObject(ctx context.Context, at place, claim []byte, refusal error) error {
	_, err := p.agent.patch(ctx, at, types.MergePatchType, claim, false)
	switch {
	case err == nil:
		return errInherited
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return err
	}
	return refusal
}

// creatable is why the API server would not create the manifest if the live object were gone. An existing object of
// the name is checked last by the API server, so that error means it would be created.
func (p *pass) creatable(ctx context.Context, at place, in apply.Input) error {
	in.Live, in.Trial = nil, nil
	action, err := apply.Decide(in)
	if err != nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	_, err = p.agent.at(at).Create(ctx, action.Object, metav1.CreateOptions{FieldManager: contract.ManagerMember, DryRun: []string{metav1.DryRunAll}})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
