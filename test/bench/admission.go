package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/admission/webhook"
	"github.com/flagship-fleet/flagship/pkg/localfleet"
)

// admissionSettings are the sizes of the section "admission".
type admissionSettings struct{ writes, warm int }

func (s *admissionSettings) addFlags() {
	flag.IntVar(&s.writes, "admission-writes", 1000, "admission: dry-run writes of each sort, one at a time")
	flag.IntVar(&s.warm, "admission-warm", 50, "admission: writes of each sort before those that are measured")
}

// admissionFigures are the results of the section.
type admissionFigures struct {
	Writes int            `json:"writes"`
	Rows   []admissionRow `json:"rows"`
	// Reviews is how many admission requests the agent answered that were sent to it alone, and AgentRequests how many
	// requests it sent to the API server meanwhile, without those for its lease.
	Reviews       int     `json:"reviews"`
	AgentRequests float64 `json:"agentRequests"`
}

// admissionRow is one sort of writes.
type admissionRow struct {
	Write string `json:"write"`
	// On and Off are the times of a dry-run write by a user, with the webhooks and without them.
	On  quantiles `json:"on"`
	Off quantiles `json:"off"`
	// Agent is the time in which the agent answers one admission request for it, which is sent as the API server sends
	// it; zero if no webhook is called.
	Agent quantiles `json:"agent"`
}

// quantiles are of durations in seconds.
type quantiles struct {
	P50 float64 `json:"p50Seconds"`
	P99 float64 `json:"p99Seconds"`
}

func (f figure) quantiles() quantiles {
	return quantiles{P50: f.percentile(50).Seconds(), P99: f.percentile(99).Seconds()}
}

func (f *admissionFigures) print(w io.Writer) error {
	fmt.Fprintf(w, "\nadmission: %d dry-run writes of each sort by a user, one at a time\n", f.Writes)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "write\twebhooks p50 ms\tp99 ms\twithout p50\tp99\tagent's answer p50\tp99\t")
	for _, r := range f.Rows {
		agent := "–\t–"
		if r.Agent.P50 > 0 {
			agent = fmt.Sprintf("%.2f\t%.2f", 1000*r.Agent.P50, 1000*r.Agent.P99)
		}
		fmt.Fprintf(table, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t%s\t\n", r.Write, 1000*r.On.P50, 1000*r.On.P99, 1000*r.Off.P50, 1000*r.Off.P99, agent)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "  %d admission requests answered; requests of the agent to the API server meanwhile, without its lease: %.0f\n", f.Reviews, f.AgentRequests)
	return err
}

// wish is one sort of writes.
type wish struct {
	name string
	// object returns the object to write. If stored is set, it exists, and the write changes it.
	object func(n int) client.Object
	stored bool
	// kind, resource and path are those of the admission request; path is empty if no webhook is called.
	kind     schema.GroupVersionKind
	resource string
	path     string
}

const adaUser = "ada"

// admissionTimes measures what the webhooks add to writes, and that the agent reads nothing for them.
func admissionTimes(ctx context.Context, s settings, r *results) error {
	on := map[string]any{"enableWebhook": true, "enableGuardRail": true, "denyWorkloads": true, "enablePDBs": false}
	config := localfleet.Config{Members: []localfleet.Member{}}
	config.Hub.Agent.Values = on
	return onFleet(ctx, config, func(ctx context.Context, b *bench) error {
		run := guarded{bench: b, sizes: s.admission, figures: &admissionFigures{Writes: s.admission.writes}}
		r.Admission = run.figures
		for _, step := range []func(context.Context) error{run.open, run.store, run.withWebhooks, run.reviews, run.withoutWebhooks} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// guarded is the running section.
type guarded struct {
	*bench
	sizes   admissionSettings
	figures *admissionFigures
	// user is a client without the groups that the guard rail lets pass.
	user client.Client
}

func (g *guarded) open(ctx context.Context) error {
	config, err := g.fleet.RestConfig(g.fleet.Hub())
	if err != nil {
		return err
	}
	err = g.hub.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: adaUser},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: adaUser}},
	})
	if err != nil {
		return err
	}
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.Impersonate = rest.ImpersonationConfig{UserName: adaUser, Groups: []string{"system:authenticated"}}
	g.user, err = client.New(config, client.Options{Scheme: apis.Scheme()})
	return err
}

// wishes are the writes that are measured. Secrets of users call no webhook: they show what else the figures hold.
func wishes() []wish {
	name := func(n int) metav1.ObjectMeta { return metav1.ObjectMeta{Name: fmt.Sprintf("w-%d", n)} }
	within := func(namespace string, n int) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("w-%d", n)}
	}
	ours := func(kind string) schema.GroupVersionKind { return v1beta1.GroupVersion.WithKind(kind) }
	core := func(kind string) schema.GroupVersionKind { return corev1.SchemeGroupVersion.WithKind(kind) }
	one := intstr.FromInt32(1)
	return []wish{
		{"placement, created", func(n int) client.Object { return placement(name(n).Name) }, false,
			ours("ClusterResourcePlacement"), webhook.Placements.Plural, webhook.Placements.ValidatePath()},
		{"placement, changed", func(n int) client.Object {
			p := placement("stored")
			p.Spec.RevisionHistoryLimit = new(int32)
			*p.Spec.RevisionHistoryLimit = int32(n%100 + 1)
			return p
		}, true, ours("ClusterResourcePlacement"), webhook.Placements.Plural, webhook.Placements.ValidatePath()},
		{"override, created", func(n int) client.Object { return deletion(name(n), fmt.Sprintf("n-%d", n)) }, false,
			ours("ClusterResourceOverride"), webhook.ClusterOverrides.Plural, webhook.ClusterOverrides.ValidatePath()},
		{"MemberCluster, created", func(n int) client.Object {
			return &clusterv1beta1.MemberCluster{ObjectMeta: name(n), Spec: clusterv1beta1.MemberClusterSpec{
				Identity: rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "member"},
			}}
		}, false, clusterv1beta1.GroupVersion.WithKind("MemberCluster"), webhook.MemberClusters.Plural, webhook.MemberClusters.ValidatePath()},
		{"eviction, created", func(n int) client.Object {
			return &v1beta1.ClusterResourcePlacementEviction{ObjectMeta: name(n), Spec: v1beta1.PlacementEvictionSpec{PlacementName: "stored", ClusterName: "m"}}
		}, false, ours("ClusterResourcePlacementEviction"), webhook.Evictions.Plural, webhook.Evictions.ValidatePath()},
		{"disruption budget, created", func(n int) client.Object {
			return &v1beta1.ClusterResourcePlacementDisruptionBudget{ObjectMeta: name(n), Spec: v1beta1.PlacementDisruptionBudgetSpec{MinAvailable: &one}}
		}, false, ours("ClusterResourcePlacementDisruptionBudget"), webhook.DisruptionBudgets.Plural, webhook.DisruptionBudgets.ValidatePath()},
		{"pod of users, refused", func(n int) client.Object {
			return &corev1.Pod{ObjectMeta: within("default", n), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
		}, false, core("Pod"), "pods", webhook.Pods.ValidatePath()},
		{"PodDisruptionBudget of users, refused", func(n int) client.Object {
			return &policyv1.PodDisruptionBudget{ObjectMeta: within("default", n), Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &one,
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}}}
		}, false, policyv1.SchemeGroupVersion.WithKind("PodDisruptionBudget"), "poddisruptionbudgets", webhook.PodBudgets.ValidatePath()},
		{"service account in fleet-system, refused", func(n int) client.Object {
			return &corev1.ServiceAccount{ObjectMeta: within("fleet-system", n)}
		}, false, core("ServiceAccount"), "serviceaccounts", webhook.GuardRailPath},
		{"namespace fleet-…, refused", func(n int) client.Object {
			return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("fleet-%d", n)}}
		}, false, core("Namespace"), "namespaces", webhook.GuardRailPath},
		{"Secret of users: no webhook", func(n int) client.Object { return secret("default", name(n).Name) }, false, core("Secret"), "secrets", ""},
	}
}

// deletion is an override that leaves a namespace out on all clusters.
func deletion(meta metav1.ObjectMeta, namespace string) *v1beta1.ClusterResourceOverride {
	return &v1beta1.ClusterResourceOverride{ObjectMeta: meta, Spec: v1beta1.ClusterResourceOverrideSpec{
		ClusterResourceSelectors: []v1beta1.ResourceSelectorTerm{{Version: "v1", Kind: "Namespace", Name: namespace}},
		Policy: &v1beta1.OverridePolicy{OverrideRules: []v1beta1.OverrideRule{{
			ClusterSelector: &v1beta1.ClusterSelector{ClusterSelectorTerms: []v1beta1.ClusterSelectorTerm{}}, OverrideType: v1beta1.OverrideTypeDelete,
		}}},
	}}
}

// store creates what the writes refer to, and half as many overrides as there may be: each is compared with all.
func (g *guarded) store(ctx context.Context) error {
	if err := g.await(ctx, true); err != nil {
		return err
	}
	if err := g.hub.Create(ctx, placement("stored")); err != nil {
		return err
	}
	return each(names("stored", 50), 8, func(name string) error {
		return g.hub.Create(ctx, deletion(metav1.ObjectMeta{Name: name}, name))
	})
}

// await returns when the hub calls the webhooks, or calls none.
func (g *guarded) await(ctx context.Context, called bool) error {
	for ctx.Err() == nil {
		var err error
		for _, obj := range []client.Object{
			&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fleet-probe"}},
			&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "probe"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
		} {
			one := g.user.Create(ctx, obj, client.DryRunAll)
			refused := apierrors.IsForbidden(one) || apierrors.IsInvalid(one)
			if called && !refused || !called && one != nil {
				err = errors.Join(err, errors.New("not yet"))
			}
		}
		if err == nil {
			return nil
		}
		if err := wait(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// write does one sort of writes many times.
func (g *guarded) write(ctx context.Context, w wish) (figure, error) {
	var took figure
	for n := range g.sizes.warm + g.sizes.writes {
		obj := w.object(n)
		begin := time.Now()
		var err error
		if w.stored {
			var patch []byte
			if patch, err = json.Marshal(map[string]any{"spec": specOf(obj)}); err == nil {
				begin = time.Now()
				err = g.user.Patch(ctx, obj, client.RawPatch(types.MergePatchType, patch), client.DryRunAll)
			}
		} else {
			err = g.user.Create(ctx, obj, client.DryRunAll)
		}
		if err != nil && !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		if n >= g.sizes.warm {
			took = append(took, time.Since(begin))
		}
	}
	return took, nil
}

func specOf(obj client.Object) any {
	if p, ok := obj.(*v1beta1.ClusterResourcePlacement); ok {
		return p.Spec
	}
	return nil
}

// withWebhooks measures the writes.
func (g *guarded) withWebhooks(ctx context.Context) error {
	progress(fmt.Sprintf("%d dry-run writes of each of %d sorts, with webhooks", g.sizes.writes, len(wishes())))
	for _, w := range wishes() {
		took, err := g.write(ctx, w)
		if err != nil {
			return err
		}
		g.figures.Rows = append(g.figures.Rows, admissionRow{Write: w.name, On: took.quantiles()})
	}
	return nil
}

// still returns agentRequests when the agent sends none any more: it has done what the stored objects need.
func (g *guarded) still(ctx context.Context) (float64, error) {
	last := -1.0
	for {
		now, err := g.agentRequests(ctx)
		if err != nil || now == last {
			return now, err
		}
		last = now
		if err := wait(ctx, 5*time.Second); err != nil {
			return 0, err
		}
	}
}

// agentRequests is how many requests the agent has sent to the API server so far, without those for its lease, which
// are updates at an interval; the agent updates nothing else here.
func (g *guarded) agentRequests(ctx context.Context) (float64, error) {
	hosts, err := scrapeAll(ctx, g.fleet.AgentMetricsURL(g.fleet.Hub()))
	if err != nil {
		return 0, err
	}
	var sum float64
	for _, methods := range hosts {
		for method, n := range methods {
			if method != http.MethodPut {
				sum += n
			}
		}
	}
	return sum, nil
}

// withoutWebhooks measures the same writes on the same hub.
func (g *guarded) withoutWebhooks(ctx context.Context) error {
	progress("the same without webhooks")
	agent := localfleet.Agent{Values: map[string]any{"enableWebhook": false, "enableGuardRail": false}, Flags: map[string]string{"metrics-secure": "false"}}
	if err := g.fleet.ConfigureAgent(ctx, g.fleet.Hub(), agent); err != nil {
		return err
	}
	if err := g.restart(ctx, g.fleet.Hub()); err != nil {
		return err
	}
	if err := g.await(ctx, false); err != nil {
		return err
	}
	for i, w := range wishes() {
		took, err := g.write(ctx, w)
		if err != nil {
			return err
		}
		g.figures.Rows[i].Off = took.quantiles()
	}
	return nil
}

// reviews sends admission requests to the agent as the API server does, and counts the requests of the agent meanwhile.
func (g *guarded) reviews(ctx context.Context) error {
	before, err := g.still(ctx)
	if err != nil {
		return err
	}
	progress("admission requests to the agent alone")
	configuration := &registrationv1.ValidatingWebhookConfiguration{}
	if err := g.hub.Get(ctx, types.NamespacedName{Name: webhook.ValidatingName}, configuration); err != nil {
		return err
	}
	to := configuration.Webhooks[0].ClientConfig
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(to.CABundle)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	address := (*to.URL)[:strings.Index(*to.URL, "/validate")]
	for i, w := range wishes() {
		if w.path == "" {
			continue
		}
		var took figure
		for n := range g.sizes.warm + g.sizes.writes {
			d, err := review(ctx, &http.Client{Transport: transport}, address+w.path, w, n)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if n >= g.sizes.warm {
				took = append(took, d)
			}
		}
		g.figures.Reviews += g.sizes.warm + g.sizes.writes
		g.figures.Rows[i].Agent = took.quantiles()
	}
	after, err := g.agentRequests(ctx)
	g.figures.AgentRequests = after - before
	return err
}

// review sends one admission request and returns how long the answer took.
func review(ctx context.Context, to *http.Client, url string, w wish, n int) (time.Duration, error) {
	obj := w.object(n)
	raw, err := json.Marshal(obj)
	if err != nil {
		return 0, err
	}
	request := &admissionv1.AdmissionRequest{
		UID: "1", Kind: metav1.GroupVersionKind{Group: w.kind.Group, Version: w.kind.Version, Kind: w.kind.Kind},
		Resource:  metav1.GroupVersionResource{Group: w.kind.Group, Version: w.kind.Version, Resource: w.resource},
		Namespace: obj.GetNamespace(), Name: obj.GetName(), Operation: admissionv1.Create,
		UserInfo: authenticationv1.UserInfo{Username: adaUser, Groups: []string{"system:authenticated"}}, Object: runtime.RawExtension{Raw: raw},
	}
	if w.stored {
		if request.OldObject.Raw, err = json.Marshal(w.object(n + 1)); err != nil {
			return 0, err
		}
		request.Operation = admissionv1.Update
	}
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request,
	})
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	post.Header.Set("Content-Type", "application/json")
	resp, err := to.Do(post)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var answer admissionv1.AdmissionReview
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0, fmt.Errorf("read the answer %s: %w", resp.Status, err)
	}
	if answer.Response == nil {
		return 0, fmt.Errorf("the answer %s has no response", resp.Status)
	}
	return time.Since(begin), nil
}
