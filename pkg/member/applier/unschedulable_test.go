package applier

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/member/unschedulable"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// counting gives the agent a counter for which a second without a node is long. It has the permissions of cfg.
func (w *world) counting(cfg *rest.Config, log logr.Logger) func(*Applier) {
	w.Helper()
	counter, err := unschedulable.New(cfg)
	w.must(err)
	counter.After = time.Second
	testworld.Go(w, "the counter", func(ctx context.Context) error { return counter.Start(ctrl.LoggerInto(ctx, log)) })
	return func(a *Applier) { a.Unschedulable = counter }
}

// startCounting starts an agent that counts, in place of the one that runs.
func (w *world) startCounting(cfg *rest.Config, log logr.Logger) {
	w.Helper()
	if w.halt != nil {
		w.halt()
	}
	w.start(w.counting(cfg, log))
	w.agent.Join()
}

// requesting is a workload whose pods request cpu, with further fields of its pods. The node has 8 cores. A rollout
// keeps pods that are not ready.
func requesting(kind, namespace, name string, replicas int, cpu, further string) string {
	strategy := ""
	if kind == "Deployment" {
		strategy = "strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}},"
	}
	return fmt.Sprintf(`{apiVersion: apps/v1, kind: %[1]s, metadata: {name: %[3]s, namespace: %[2]s}, spec: {replicas: %[4]d, selector: {matchLabels: {app: %[3]s}}, %[7]s
  template: {metadata: {labels: {app: %[3]s}}, spec: {%[6]s containers: [{name: c, image: example.com/c, resources: {requests: {cpu: %[5]q}}}]}}}}`,
		kind, namespace, name, replicas, cpu, further, strategy)
}

// divided creates a Work with divided workloads.
func (w *world) divided(name string, manifests ...string) {
	w.Helper()
	w.work(name, strategy(), manifests...)
	w.alter(name, func(work *v1beta1.Work) {
		metav1.SetMetaDataAnnotation(&work.ObjectMeta, contract.AnnotationShares, "any")
	})
}

// numbers are the unschedulable replicas that a Work reports, without zeros, by the names of the objects.
func (w *world) numbers(work string) map[string]int32 {
	w.Helper()
	out := map[string]int32{}
	for _, m := range w.readWork(work).Status.ManifestConditions {
		if m.UnschedulableReplicas != 0 {
			out[m.Identifier.Name] = m.UnschedulableReplicas
		}
	}
	return out
}

func (w *world) reports(work string, want map[string]int32) {
	w.Helper()
	w.eventually(fmt.Sprintf("Work %s to report unschedulable replicas %v", work, want), func() error {
		if got := w.numbers(work); !maps.Equal(got, want) {
			return fmt.Errorf("it reports %v", got)
		}
		return nil
	})
}

// waiting waits until the ReplicaSets of a Deployment have these numbers of pods that the scheduler could not place.
func (w *world) waiting(namespace, name string, want ...int) {
	w.Helper()
	w.eventually(fmt.Sprintf("ReplicaSets of %s with %v pods without a node", name, want), func() error {
		var sets appsv1.ReplicaSetList
		var pods corev1.PodList
		of := []client.ListOption{client.InNamespace(namespace), client.MatchingLabels{"app": name}}
		if err := errors.Join(w.member.List(w.Context(), &sets, of...), w.member.List(w.Context(), &pods, of...)); err != nil {
			return err
		}
		got := make([]int, len(want))
		for _, s := range sets.Items {
			for _, p := range pods.Items {
				var revision int
				if _, err := fmt.Sscan(s.Annotations[contract.AnnotationDeploymentRevision], &revision); err != nil || revision > len(want) {
					return fmt.Errorf("ReplicaSet %s has revision %d: %w", s.Name, revision, err)
				}
				if c := scheduling(&p); metav1.IsControlledBy(&p, &s) && c != nil && c.Reason == corev1.PodReasonUnschedulable {
					got[revision-1]++
				}
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("there are %v", got)
		}
		return nil
	})
}

func scheduling(p *corev1.Pod) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == corev1.PodScheduled {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func TestUnschedulableReplicasAreReported(t *testing.T) {
	w := prepare(t)
	w.startCounting(w.here.Config, logr.Discard())
	const ns = "unschedulable"
	content := func(replicas int, cpu string) []string {
		return []string{
			namespaceText(ns), requesting("Deployment", ns, "web", replicas, cpu, ""), requesting("StatefulSet", ns, "db", 2, "900", ""),
			requesting("Deployment", ns, "fits", 2, "1m", ""), requesting("Deployment", ns, "gated", 2, "900", "schedulingGates: [{name: example.com/gate}],"),
		}
	}
	w.divided(ns, content(3, "900")...)
	w.reports(ns, map[string]int32{"web": 3, "db": 1}) // a StatefulSet creates one pod after the other

	// The rollout cannot go on: three pods of the old ReplicaSet wait beside one of the new.
	w.edit(ns, content(3, "901")...)
	w.waiting(ns, "web", 3, 1)
	w.reports(ns, map[string]int32{"web": 1, "db": 1})

	// Until a new agent has listed the pods, the reported numbers stay.
	w.halt()
	idle, err := unschedulable.New(w.here.Config)
	w.must(err)
	w.start(func(a *Applier) { a.Unschedulable = idle })
	w.agent.Join()
	w.eventually("a pass of the new agent", func() error {
		if len(w.agent.memory.names()) == 0 {
			return errors.New("there was none")
		}
		return nil
	})
	w.quiet(time.Second)
	w.reports(ns, map[string]int32{"web": 1, "db": 1})
	w.startCounting(w.here.Config, logr.Discard())

	// Back to the first revision, whose ReplicaSet is the newest again.
	w.edit(ns, content(3, "900")...)
	w.reports(ns, map[string]int32{"web": 3, "db": 1})

	w.edit(ns, content(0, "900")...)
	w.reports(ns, map[string]int32{"db": 1})
	w.alter(ns, func(work *v1beta1.Work) { delete(work.Annotations, contract.AnnotationShares) })
	w.reports(ns, nil)
}

// journal counts the lines of a log with each resource.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) log() logr.Logger {
	return funcr.New(func(_, line string) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.lines = append(j.lines, line)
	}, funcr.Options{})
}

// Without the permissions the numbers are 0, and the log says so once.
func TestUnschedulableReplicasWithoutPermission(t *testing.T) {
	w := prepare(t)
	const ns = "uncountable"
	w.startCounting(w.here.Config, logr.Discard())
	w.divided(ns, namespaceText(ns), requesting("Deployment", ns, "web", 2, "900", ""), requesting("StatefulSet", ns, "db", 1, "900", ""))
	w.reports(ns, map[string]int32{"web": 2, "db": 1})

	var j journal
	stranger := rest.CopyConfig(w.here.Config)
	stranger.Impersonate.UserName = "stranger"
	w.startCounting(stranger, j.log())
	w.reports(ns, nil)

	// The watch of pods begins when it is allowed; the owners of some are not readable.
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: ns}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list", "watch"}},
	}}
	w.must(w.member.Create(t.Context(), role))
	w.must(w.member.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: ns},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: ns},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "stranger"}},
	}))
	w.reports(ns, map[string]int32{"db": 1})

	j.mu.Lock()
	defer j.mu.Unlock()
	for _, resource := range []string{"pods", "replicasets"} {
		var found []string
		for _, line := range j.lines {
			if strings.Contains(line, `"resource"="`+resource+`"`) {
				found = append(found, line)
			}
		}
		if len(found) != 1 {
			t.Errorf("%d lines about %s: %q", len(found), resource, j.lines)
		}
	}
}
