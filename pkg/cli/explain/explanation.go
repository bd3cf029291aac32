package explain

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/cli/naming"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/delivery"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/replicas"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/schedule"
	"github.com/flagship-fleet/flagship/pkg/scope"
)

// explanation is what is printed as JSON or YAML. Fields are only ever added.
type explanation struct {
	Kind       string                         `json:"kind"`
	Namespace  string                         `json:"namespace,omitempty"`
	Name       string                         `json:"name"`
	Generation int64                          `json:"generation"`
	PolicyType placementv1beta1.PlacementType `json:"policyType"`
	// PolicySnapshot is the snapshot that the decision is based on; empty if there is none yet and the decision is
	// based on the placement's policy.
	PolicySnapshot string `json:"policySnapshot,omitempty"`
	// Found is how many clusters are picked, Wanted how many the policy requires.
	Found  int `json:"found"`
	Wanted int `json:"wanted"`
	// Recorded is the condition Scheduled in the policy snapshot's status.
	Recorded *recorded `json:"recorded,omitempty"`
	// Notes are about the placement as a whole.
	Notes []string `json:"notes,omitempty"`
	// After is the progress of the placement on the clusters that it is scheduled to.
	After    *after    `json:"afterScheduling,omitempty"`
	Clusters []account `json:"clusters"`
}

type recorded struct {
	Generation int64                  `json:"observedGeneration"`
	Scheduled  metav1.ConditionStatus `json:"scheduled"`
	Reason     string                 `json:"reason"`
	Message    string                 `json:"message"`
}

// after is the progress of the placement, or of one cluster of it, and the command that shows more.
type after struct {
	Stage   string `json:"stage"`
	Message string `json:"message"`
	Next    string `json:"next,omitempty"`
}

type account struct {
	Cluster string           `json:"cluster"`
	Picked  bool             `json:"picked"`
	Outcome schedule.Outcome `json:"outcome"`
	// Filter is the first filter that excludes the cluster.
	Filter schedule.Filter `json:"filter,omitempty"`
	Why    string          `json:"why"`
	// Affinity and Spread are the scores; absent where nothing is scored.
	Affinity     *int32                        `json:"affinityScore,omitempty"`
	Spread       *int32                        `json:"topologySpreadScore,omitempty"`
	Binding      string                        `json:"binding,omitempty"`
	BindingState placementv1beta1.BindingState `json:"bindingState,omitempty"`
	// Replicas are the cluster's shares of divided workloads.
	Replicas []replicas.Share `json:"replicas,omitempty"`
	// TakenAlong is what the placement took along from the cluster that this one replaced.
	TakenAlong *takenAlong `json:"takenAlong,omitempty"`
	Notes      []string    `json:"notes,omitempty"`
	// NearestChanges each reverse Picked; each is a list of steps that are needed together.
	NearestChanges []schedule.NearestChange `json:"nearestChanges,omitempty"`
	After          *after                   `json:"afterScheduling,omitempty"`
}

// takenAlong are annotations of objects that come from statuses on another cluster.
type takenAlong struct {
	// From is the other cluster; empty if the placement has returned to it.
	From string `json:"from,omitempty"`
	// Annotations is how many objects have one of them, summed over Keys.
	Annotations int      `json:"annotations"`
	Keys        []string `json:"keys"`
}

// takenAlongBy returns what was taken along to the cluster of a binding; nil for nothing.
func takenAlongBy(b placementv1beta1.BindingObject) *takenAlong {
	values := b.GetSpec().FailoverState
	if len(values) == 0 {
		return nil
	}
	out := &takenAlong{Annotations: len(values)}
	if e := failover.Replaces(b); e != nil {
		out.From = e.With
	}
	for _, v := range values {
		out.Keys = append(out.Keys, v.Annotation)
	}
	slices.Sort(out.Keys)
	out.Keys = slices.Compact(out.Keys)
	return out
}

// explain decides as the hub agent would, and compares. With a cluster, the explanation covers only that cluster.
func (s *state) explain(ctx context.Context, cluster string) (*explanation, error) {
	request, err := s.request()
	if err != nil {
		return nil, err
	}
	decision := schedule.Decide(request)
	key := s.key()
	out := &explanation{
		Kind: scope.Placements.Kind(key), Namespace: key.Namespace, Name: key.Name, Generation: s.placement.GetGeneration(),
		PolicyType: placementv1beta1.PlacementTypePickAll, Found: decision.Found, Wanted: decision.Wanted,
		Clusters: []account{},
	}
	if request.Policy != nil {
		out.PolicyType = request.Policy.PlacementType
	}
	s.compare(out, decision)
	for _, a := range decision.Accounts(request) {
		if cluster == "" || a.Cluster == cluster {
			out.Clusters = append(out.Clusters, s.account(a, out))
		}
	}
	if cluster != "" && len(out.Clusters) == 0 {
		return nil, fmt.Errorf("the hub has no MemberCluster %q, and the placement does not name it; see: kubectl get memberclusters", cluster)
	}
	out.After = s.after("")
	if cluster != "" {
		out.After = nil
	}
	// A large fleet needs many decisions: at least two for each cluster.
	var all []*account
	for i := range out.Clusters {
		all = append(all, &out.Clusters[i])
	}
	return out, loop.Each(ctx, runtime.GOMAXPROCS(0), all, func(_ context.Context, a *account) error {
		a.NearestChanges = schedule.NearestChanges(request, a.Cluster)
		return nil
	})
}

// request is the input of the hub agent's decision. Before there is a policy snapshot, it has the placement's policy.
func (s *state) request() (schedule.Request, error) {
	if s.policy != nil {
		r, err := schedule.RequestOf(s.placement, s.policy, s.bindings, s.clusters, s.now)
		r.Domain, r.Placements = failover.DefaultDomain, s.others
		if r.External {
			r.Run = s.run
		}
		return r, err
	}
	spec := s.placement.GetSpec()
	r := schedule.Request{
		Policy: spec.Policy, Name: s.placement.GetName(), Namespace: s.placement.GetNamespace(), Placements: s.others, Now: s.now,
	}
	if spec.Policy != nil {
		r.Number = int(ptr.Deref(spec.Policy.NumberOfClusters, 0))
	}
	for i := range s.clusters {
		r.Clusters = append(r.Clusters, &s.clusters[i])
	}
	return r, nil
}

// compare fills in what is recorded, and the notes about the decision as a whole.
func (s *state) compare(out *explanation, d schedule.Decision) {
	note := func(format string, args ...any) { out.Notes = append(out.Notes, fmt.Sprintf(format, args...)) }
	if !s.placement.GetDeletionTimestamp().IsZero() {
		note("the placement is being deleted: nothing is scheduled any more")
	}
	if d.Hold {
		note("the policy names no clusters, so nothing is scheduled: add some to clusterNames")
	}
	if s.policy == nil {
		note("the hub agent has not processed the placement yet: there is no policy snapshot; check that the hub agent is running")
		return
	}
	out.PolicySnapshot = s.policy.GetName()
	status := s.policy.GetStatus()
	if c := delivery.Current(status.Conditions, placementv1beta1.ConditionScheduled, s.policy.GetGeneration()); c != nil {
		out.Recorded = &recorded{Generation: status.ObservedCRPGeneration, Scheduled: c.Status, Reason: c.Reason, Message: c.Message}
	}
	if status.ObservedCRPGeneration < s.placement.GetGeneration() {
		note("the scheduler has not decided about generation %d of the placement yet; it last decided about %d",
			s.placement.GetGeneration(), status.ObservedCRPGeneration)
	}
	if n := len(d.Create) + len(d.Change); n > 0 {
		note("the recorded decision is out of date: %d bindings would be written", n)
	}
}

func (s *state) account(a schedule.Account, of *explanation) account {
	out := account{Cluster: a.Cluster, Picked: a.Outcome.Selected(), Outcome: a.Outcome, Notes: a.Notes}
	if a.Score != nil {
		out.Affinity, out.Spread = a.Score.AffinityScore, a.Score.TopologySpreadScore
	}
	if a.Binding != nil {
		out.Binding, out.BindingState = a.Binding.Name, a.Binding.State
	}
	switch {
	case a.Outcome == schedule.Refused:
		out.Filter, out.Why = a.Objection.Filter, a.Objection.Detail()
	case a.Outcome == schedule.Outranked:
		out.Why = fmt.Sprintf("it passes every filter, but other clusters rank higher and the policy picks %d", of.Wanted)
	case of.PolicyType == placementv1beta1.PlacementTypePickFixed:
		out.Why = "the policy names it"
	case of.PolicyType == placementv1beta1.PlacementTypePickN && a.Outcome == schedule.Kept:
		out.Why = "it was among the best when it was picked"
	case of.PolicyType == placementv1beta1.PlacementTypePickN:
		out.Why = "it is among the best"
	case a.Outcome == schedule.Kept:
		out.Why = "it passed every filter when it was picked"
	default:
		out.Why = "it passes every filter"
	}
	if out.Picked {
		out.After = s.after(a.Cluster)
	}
	for _, b := range s.bindings {
		if a.Binding == nil || b.GetName() != a.Binding.Name {
			continue
		}
		out.TakenAlong = takenAlongBy(b)
		if replicas.PolicyOf(s.placement) != nil {
			out.Replicas = replicas.SharesOf(b)
		}
	}
	return out
}

// after is the first milestone after scheduling that the placement, or one cluster of it, has not reached.
func (s *state) after(cluster string) *after {
	status := s.placement.GetStatus()
	progress := report.ProgressOf(s.placement, status)
	if cluster != "" {
		progress = report.ProgressOn(s.placement, entryOf(status, cluster))
	}
	switch c := progress.Condition; {
	case progress.Failed():
		return &after{Stage: "Selected", Message: progress.Scheduled.Message, Next: s.describePlacement()}
	case len(status.PerClusterPlacementStatuses) == 0 && cluster == "":
		return nil
	case progress.Reached:
		return &after{Stage: progress.Milestone, Message: "reached"}
	case c != nil:
		return &after{Stage: progress.Milestone, Message: c.Message, Next: s.next(progress.Milestone, s.stuck(progress.Milestone, cluster))}
	}
	return &after{
		Stage: progress.Milestone, Message: "not reported for this generation yet", Next: s.next(progress.Milestone, s.stuck(progress.Milestone, cluster)),
	}
}

// entryOf is the entry of a cluster in the status of a placement, an empty one if there is none.
func entryOf(status *placementv1beta1.PlacementStatus, cluster string) *placementv1beta1.PerClusterPlacementStatus {
	for i := range status.PerClusterPlacementStatuses {
		if entry := &status.PerClusterPlacementStatuses[i]; entry.ClusterName == cluster {
			return entry
		}
	}
	return &placementv1beta1.PerClusterPlacementStatus{}
}

// stuck is a cluster that has not reached the milestone.
func (s *state) stuck(milestone, cluster string) string {
	if cluster != "" {
		return cluster
	}
	for _, entry := range s.placement.GetStatus().PerClusterPlacementStatuses {
		if entry.ClusterName != "" && !meta.IsStatusConditionTrue(entry.Conditions, milestone) {
			return entry.ClusterName
		}
	}
	return ""
}

// next is the command that shows why a cluster has not reached a milestone.
func (s *state) next(milestone, cluster string) string {
	if cluster == "" {
		return s.describePlacement()
	}
	if slices.Contains(delivery.OnHub(), milestone) {
		for _, b := range s.bindings {
			if b.GetSpec().TargetCluster == cluster && b.GetDeletionTimestamp().IsZero() {
				return s.describe(scope.Bindings.Kind(s.key()), b.GetName())
			}
		}
		return s.describePlacement()
	}
	labels := contract.LabelPlacement + "=" + s.placement.GetName()
	if namespace := s.placement.GetNamespace(); namespace != "" {
		labels += "," + contract.LabelPlacementNamespace + "=" + namespace
	}
	return naming.Command(contract.MemberNamespace(cluster), "describe", "works") + " -l " + labels
}

func (s *state) key() types.NamespacedName { return client.ObjectKeyFromObject(s.placement) }

func (s *state) describePlacement() string {
	return s.describe(scope.Placements.Kind(s.key()), s.placement.GetName())
}

// describe is a command that shows an object of the placement's scope.
func (s *state) describe(kind, name string) string {
	return naming.Command(s.placement.GetNamespace(), "describe", strings.ToLower(kind), name)
}
