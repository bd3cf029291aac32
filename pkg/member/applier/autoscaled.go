package applier

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/pkg/apply"
)

// autoscaled reports whether an autoscaler of the member controls the replicas of live, and watches it for the item.
// If the agent may not read autoscalers, it assumes one: replicas set through the scale subresource stay.
func (p *pass) autoscaled(ctx context.Context, it *item, live *unstructured.Unstructured) (bool, error) {
	mapping, err := p.agent.Mapper.RESTMapping(apply.Autoscalers)
	if meta.IsNoMatchError(err) {
		return false, nil
	}
	if err != nil {
		return false, readError{err}
	}
	list, err := p.agent.Dynamic.Resource(mapping.Resource).Namespace(live.GetNamespace()).List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		return true, nil
	}
	if err != nil {
		return false, readError{fmt.Errorf("list autoscalers: %w", err)}
	}
	for i := range list.Items {
		found := &list.Items[i]
		if !apply.Scales(found, live) {
			continue
		}
		// Watch first, then read: a later removal is an event.
		at := place{mapping.Resource, types.NamespacedName{Namespace: found.GetNamespace(), Name: found.GetName()}}
		p.watch(it, at)
		if found, err = p.agent.live(ctx, at); err != nil {
			return false, readError{err}
		}
		if found != nil && apply.Scales(found, live) {
			it.autoscaler = &reliance{place: at, resourceVersion: found.GetResourceVersion()}
			return true, nil
		}
	}
	return false, nil
}
