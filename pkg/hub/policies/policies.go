// Package policies writes the ValidatingAdmissionPolicies of the admission policy manager to the hub, when an agent
// starts.
package policies

import (
	"context"
	"errors"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/flagship-fleet/flagship/pkg/admission/policy"
)

// tries is the back-off between attempts of a request to the API server.
var tries = wait.Backoff{Steps: 4, Duration: time.Second, Factor: 2}

// Write creates and updates the policies that config requires, each policy before its binding, and then deletes those
// of an earlier configuration. It does not write objects that are up to date. hub must read from the API server. A
// failed request is retried three times.
func Write(ctx context.Context, hub client.Client, config policy.Config) error {
	wanted := sets.New[string]()
	for _, p := range policy.Generate(config) {
		wanted.Insert(p.Policy.Name, p.Binding.Name)
		is := &admissionv1.ValidatingAdmissionPolicy{}
		is.Name = p.Policy.Name
		if err := put(ctx, hub, is, func() { is.Spec = p.Policy.Spec }); err != nil {
			return err
		}
		binding := &admissionv1.ValidatingAdmissionPolicyBinding{}
		binding.Name = p.Binding.Name
		if err := put(ctx, hub, binding, func() { binding.Spec = p.Binding.Spec }); err != nil {
			return err
		}
	}
	// Only what the manager itself can have written is deleted: a copy that an administrator made keeps its labels.
	// A binding is deleted before its policy: a binding without a policy makes every matching request fail.
	for _, kind := range []client.ObjectList{&admissionv1.ValidatingAdmissionPolicyBindingList{}, &admissionv1.ValidatingAdmissionPolicyList{}} {
		if err := prune(ctx, hub, kind, wanted); err != nil {
			return err
		}
	}
	return nil
}

// put creates obj, or updates it with set.
func put(ctx context.Context, hub client.Client, obj client.Object, set func()) error {
	var done controllerutil.OperationResult
	err := try(ctx, func() error {
		var err error
		done, err = controllerutil.CreateOrUpdate(ctx, hub, obj, func() error {
			set()
			labels := obj.GetLabels()
			if labels == nil {
				labels = map[string]string{}
			}
			for key, value := range policy.Labels() {
				labels[key] = value
			}
			obj.SetLabels(labels)
			return nil
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("write admission policy object %s: %w", obj.GetName(), err)
	}
	if done != controllerutil.OperationResultNone {
		ctrl.LoggerFrom(ctx).Info("Wrote admission policy object", "name", obj.GetName(), "operation", string(done))
	}
	return nil
}

// prune deletes the objects of a kind that have the manager's labels and are not wanted.
func prune(ctx context.Context, hub client.Client, kind client.ObjectList, wanted sets.Set[string]) error {
	if err := try(ctx, func() error { return hub.List(ctx, kind, client.MatchingLabels(policy.Labels())) }); err != nil {
		return fmt.Errorf("list admission policy objects: %w", err)
	}
	var left []client.Object
	switch list := kind.(type) {
	case *admissionv1.ValidatingAdmissionPolicyList:
		for i := range list.Items {
			left = append(left, &list.Items[i])
		}
	case *admissionv1.ValidatingAdmissionPolicyBindingList:
		for i := range list.Items {
			left = append(left, &list.Items[i])
		}
	}
	for _, obj := range left {
		if wanted.Has(obj.GetName()) || !policy.Names().Has(obj.GetName()) {
			continue
		}
		if err := try(ctx, func() error { return client.IgnoreNotFound(hub.Delete(ctx, obj)) }); err != nil {
			return fmt.Errorf("delete admission policy object %s: %w", obj.GetName(), err)
		}
		ctrl.LoggerFrom(ctx).Info("Deleted admission policy object", "name", obj.GetName())
	}
	return nil
}

// try repeats a failed request, unless the error is permanent or ctx ends.
func try(ctx context.Context, request func() error) error {
	again := func(err error) bool {
		return ctx.Err() == nil && !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) && !errors.Is(err, context.Canceled)
	}
	return retry.OnError(tries, again, request)
}
