package applier

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/apply"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/health"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/secrecy"
)

// once decides about a live object and carries out the decision.
func (p *pass) once(ctx context.Context, it *item, at place, in apply.Input) (*object, error) {
	if in.Live != nil && !p.comparing() {
		var err error
		if in.Abandoned, err = p.abandoned(ctx, in.Live); err != nil {
			return nil, err
		}
	}
	if it.autoscaler = nil; in.Live != nil && apply.Scaled(in.Manifest, in.Live) {
		var err error
		if in.Autoscaled, err = p.autoscaled(ctx, it, in.Live); err != nil {
			return nil, err
		}
	}
	if err := p.conclude(ctx, it, at, &in); err != nil {
		return nil, err
	}
	action, err := p.decide(ctx, it, at, &in)
	if err != nil {
		return nil, err
	}
	f := p.memory.fightOf(it.Key(), it.intent, p.agent.Now())
	if wait := f.Wait(p.agent.Now()); wait > 0 && action.Writes() {
		action.Verb = apply.Refuse
		return f.pause(p.outcome(it, at, in.Live, action), wait), nil
	}
	live, err := p.act(ctx, at, in.Live, action)
	if apierrors.IsInvalid(err) && action.Verb == apply.Patch {
		err = p.replace(ctx, it, at, in, err)
	}
	if err != nil {
		return nil, err
	}
	if action.Writes() {
		if live, action, f, err = p.settled(ctx, it, at, in, live, action); err != nil {
			return nil, err
		}
	}
	o := p.outcome(it, at, live, action)
	if f.Hot() && action.Verb != apply.Wait {
		return f.pause(o, f.Look(p.agent.Now())), nil
	}
	return o, nil
}

// settled decides again about the object that a write returned, so that the report already includes what the next pass
// would find: a webhook or controller changed it, or a full comparison shows further fields. It returns the present
// object, and what to report.
func (p *pass) settled(
	ctx context.Context, it *item, at place, in apply.Input, live *unstructured.Unstructured, action apply.Action,
) (*unstructured.Unstructured, apply.Action, fight, error) {
	now := in
	now.Live, now.Trial = live, nil
	after, err := p.decide(ctx, it, at, &now)
	if err != nil {
		return nil, action, fight{}, err
	}
	if action.Verb == apply.Create && after.Verb == apply.Patch && after.Type == types.ApplyPatchType {
		// A created object may need an apply that records field ownership. Only the result of that apply shows whether
		// something rewrites the object.
		left, err := p.act(ctx, at, live, after)
		if err != nil {
			p.wrote(it, in, now, false) // the creation still counts
			return nil, action, fight{}, err
		}
		now.Live, now.Trial = left, nil
		if after, err = p.decide(ctx, it, at, &now); err != nil {
			return nil, action, fight{}, err
		}
	}
	if !after.Writes() {
		action = after
	}
	return now.Live, action, p.wrote(it, in, now, after.Writes()), nil
}

// decide calls apply.Decide, and makes the API server's dry run if the decision needs one.
func (p *pass) decide(ctx context.Context, it *item, at place, in *apply.Input) (apply.Action, error) {
	for {
		action, err := apply.Decide(*in)
		if err != nil {
			return action, fmt.Errorf("%w: %w", errBroken, err)
		}
		if action.Verb != apply.Try {
			if in.Trial != nil && (action.Verb == apply.Nothing || action.Diffed.Reason == v1beta1.ReasonManifestNoDiffFound) {
				it.verified = digestJudged(*in)
			}
			return action, nil
		}
		if it.verified != 0 && it.verified == digestJudged(*in) {
			in.Trial = &apply.Trial{Same: true}
			continue
		}
		if in.Trial, err = p.agent.try(ctx, at, action, in.Live); err != nil {
			return action, err
		}
	}
}

// act carries out a decision and returns the resulting object.
func (p *pass) act(
	ctx context.Context, at place, live *unstructured.Unstructured, action apply.Action,
) (*unstructured.Unstructured, error) {
	switch action.Verb {
	case apply.Create:
		return counting(&p.created)(p.agent.create(ctx, at, action.Object))
	case apply.Patch:
		if action.Migrate != nil {
			if _, err := p.agent.patch(ctx, at, types.JSONPatchType, action.Migrate, false); err != nil {
				return nil, err
			}
		}
		return counting(&p.changed)(p.agent.patch(ctx, at, action.Type, action.Body, action.Force))
	}
	return live, nil
}

// counting counts a write that succeeded.
func counting(n *atomic.Int32) func(*unstructured.Unstructured, error) (*unstructured.Unstructured, error) {
	return func(obj *unstructured.Unstructured, err error) (*unstructured.Unstructured, error) {
		if err == nil {
			n.Add(1)
		}
		return obj, err
	}
}

// outcome is what to remember and report of an object.
func (p *pass) outcome(it *item, at place, live *unstructured.Unstructured, action apply.Action) *object {
	o := &object{place: at, quiet: true, verified: it.verified}
	if live != nil {
		o = observe(at, live, p.owner())
		o.verified = it.verified
		o.quiet = o.quiet || p.comparing()
	}
	o.end = p.endOf(it, live)
	o.relies = it.autoscaler
	o.fact.Applied, o.fact.Diffed = report.Finding(action.Applied), report.Finding(action.Diffed)
	o.fact.Drifts = comparison(live, action.Drifts)
	o.fact.Diffs = comparison(live, action.Diffs)
	switch action.Verb {
	case apply.Wait:
		o.fact.Passing = true
	case apply.Ran:
		o.fact.Available = report.Finding(action.Available)
		o.fact.Mirror = p.carriedBack(it.Key())
	case apply.Create, apply.Patch, apply.Nothing:
		o.fact.Available = report.Finding(apply.Available(live, p.agent.rules))
		if p.mirrors() {
			o.quiet = false
			o.fact.Mirror = statusOf(live)
		}
	}
	return o
}

func comparison(live *unstructured.Unstructured, details []v1beta1.PatchDetail) *report.Comparison {
	switch {
	case len(details) == 0:
		return nil
	case live == nil:
		return &report.Comparison{Absent: true, Details: details}
	}
	return &report.Comparison{Generation: live.GetGeneration(), Details: details}
}

func observe(at place, live *unstructured.Unstructured, owner apply.Owner) *object {
	o := &object{place: at, uid: live.GetUID(), resourceVersion: live.GetResourceVersion(), metadata: digestMetadata(live),
		owned: owner.Owns(live), taken: apply.TakenOver(live), quiet: !health.Tracked(live), workload: apply.WorkloadOf(live)}
	o.fact.Generation = live.GetGeneration()
	return o
}

func (p *pass) comparing() bool { return delivery.Compared(&p.strategy) }

// owner is the AppliedWork of the Work; the zero value if there is none, which only happens while comparing.
func (p *pass) owner() apply.Owner {
	if p.ledger == nil {
		return apply.Owner{}
	}
	return p.ledger.owner()
}

func (p *pass) mirrors() bool {
	s := p.work.Spec.ReportBackStrategy
	return s != nil && s.Type == v1beta1.ReportBackTypeMirror
}

// statusOf is the object's status in the form in which it is reported back; nil if it has none or cannot be encoded.
func statusOf(live *unstructured.Unstructured) []byte {
	status, ok := live.Object["status"]
	if !ok || secrecy.Covers(live.GroupVersionKind().GroupKind()) {
		return nil
	}
	data, err := json.Marshal(map[string]any{"apiVersion": live.GetAPIVersion(), "kind": live.GetKind(), "status": status})
	if err != nil {
		return nil
	}
	return data
}

// abandoned returns the other AppliedWorks that own live and whose Works do not exist on the hub. AppliedWorks of
// another hub or another member are left out.
func (p *pass) abandoned(ctx context.Context, live *unstructured.Unstructured) (sets.Set[string], error) {
	out := sets.New[string]()
	for _, name := range apply.OtherAppliedWorks(live, p.ledger.owner()) {
		other, err := p.agent.ledgerOf(ctx, name)
		if err != nil {
			return nil, err
		}
		if other != nil && !p.agent.identity("").SameMember(other.work) {
			continue
		}
		err = p.agent.HubClient.Get(ctx, types.NamespacedName{Namespace: p.agent.Namespace, Name: name}, &v1beta1.Work{})
		switch {
		case apierrors.IsNotFound(err):
			out.Insert(name)
		case err != nil:
			return nil, fmt.Errorf("look for work %s, which owns the object: %w", name, err)
		}
	}
	return out, nil
}
