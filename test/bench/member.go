package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/localfleet"
)

// memberSettings are the sizes of the section "member".
type memberSettings struct {
	secrets, placed, objects, drifts int
	idle                             time.Duration
}

func (s *memberSettings) addFlags() {
	flag.IntVar(&s.secrets, "foreign-secrets", 20_000, "member: Secrets on the member that the fleet did not place")
	flag.IntVar(&s.placed, "placed-beside", 500, "member: objects placed in addition, half of them Secrets")
	flag.IntVar(&s.objects, "applied-objects", 1000, "member: objects applied at once")
	flag.IntVar(&s.drifts, "drifts", 50, "member: edits on the member, one at a time")
	flag.DurationVar(&s.idle, "idle", 30*time.Second, "member: how long to watch an idle agent")
}

// memberFigures are the results of the section.
type memberFigures struct {
	Objects int `json:"objects"`
	// ApplySeconds is from the creation of the Works until their status reports all objects; FloorSeconds is for
	// server-side apply of the same objects by one client in parallel.
	ApplySeconds float64 `json:"applySeconds"`
	FloorSeconds float64 `json:"floorSeconds"`
	// IdleCPU is CPU seconds per second of an idle agent with all of them applied.
	IdleCPU float64 `json:"idleCPU"`
	// Drift is from an edit on the member until the status of the Work on the hub reports it.
	DriftP50 float64 `json:"driftToReportP50Seconds"`
	DriftP90 float64 `json:"driftToReportP90Seconds"`

	Secrets int           `json:"foreignSecrets"`
	Placed  int           `json:"placedBeside"`
	Memory  []agentMemory `json:"memory"`
}

// agentMemory is the memory of the member agent.
type agentMemory struct {
	When string `json:"when"`
	// HeapMiB is live objects and garbage not yet collected.
	HeapMiB float64 `json:"heapMiB"`
	usage
}

func (f *memberFigures) print(w io.Writer) {
	fmt.Fprintf(w, "\nmember: %d objects applied in %.2f s, floor %.2f s (x %.1f); idle with them: %.2f %% of a core\n",
		f.Objects, f.ApplySeconds, f.FloorSeconds, f.ApplySeconds/f.FloorSeconds, 100*f.IdleCPU)
	fmt.Fprintf(w, "  drift on the member until the hub reports it: p50 %.0f ms, p90 %.0f ms\n", 1000*f.DriftP50, 1000*f.DriftP90)
	for _, m := range f.Memory {
		fmt.Fprintf(w, "  member agent, %s: heap %.1f MiB, resident %.0f MiB (peak %.0f), CPU %.1f s\n",
			m.When, m.HeapMiB, m.ResidentMiB, m.PeakMiB, m.CPUSeconds)
	}
}

// field is the running section: it writes Works as the hub agent does, so that only the member agent is measured.
type field struct {
	*bench
	sizes   memberSettings
	figures *memberFigures
	works   *log
}

const (
	fieldMember = "spoke-1"
	// worksInField is how many Works hold the objects, and how many namespaces.
	worksInField = 10
)

func memberAtScale(ctx context.Context, s settings, r *results) error {
	config := localfleet.Config{Members: []localfleet.Member{{Cluster: localfleet.Cluster{Name: fieldMember}}}}
	return onFleet(ctx, config, func(ctx context.Context, b *bench) error {
		r.Member = &memberFigures{Objects: s.member.objects, Secrets: s.member.secrets, Placed: s.member.placed}
		f := field{bench: b, sizes: s.member, figures: r.Member}
		var err error
		if f.works, err = follow(ctx, b.hub, &v1beta1.WorkList{}); err != nil {
			return err
		}
		for _, step := range []func(context.Context) error{f.apply, f.idle, f.drift, f.crowd} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *field) on() member { return f.members[0] }

// apply measures how fast objects are applied, and the floor.
func (f *field) apply(ctx context.Context) error {
	progress(fmt.Sprintf("%d objects at once", f.sizes.objects))
	if err := f.measure(ctx, "nothing placed"); err != nil {
		return err
	}
	perWork := f.sizes.objects / worksInField
	if err := f.namespaces(ctx, "field"); err != nil {
		return err
	}
	begin := time.Now()
	if err := f.makeWorks(ctx, "field", perWork, nil, asMaps); err != nil {
		return err
	}
	if err := f.settled(ctx, "field"); err != nil {
		return err
	}
	f.figures.ApplySeconds = time.Since(begin).Seconds()
	if err := f.namespaces(ctx, "floor"); err != nil {
		return err
	}
	begin = time.Now()
	err := each(names("floor", worksInField), worksInField, func(name string) error {
		for i := range perWork {
			cm := configMap(name, mapName(i), "one")
			cm.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}
			//nolint:staticcheck // the plain call
			if err := f.on().Patch(ctx, cm, client.Apply, client.FieldOwner("floor"), client.ForceOwnership); err != nil {
				return err
			}
		}
		return nil
	})
	f.figures.FloorSeconds = time.Since(begin).Seconds()
	return errors.Join(err, f.measure(ctx, fmt.Sprintf("%d objects", f.sizes.objects)))
}

func (f *field) idle(ctx context.Context) error {
	progress(fmt.Sprintf("%s of an idle agent", f.sizes.idle))
	pid := f.fleet.AgentPID(fieldMember)
	before, err := usageOf(pid)
	if err != nil {
		return err
	}
	if err := wait(ctx, f.sizes.idle); err != nil {
		return err
	}
	after, err := usageOf(pid)
	f.figures.IdleCPU = (after.CPUSeconds - before.CPUSeconds) / f.sizes.idle.Seconds()
	return err
}

// drift edits placed objects on the member, with a strategy that does not correct them.
func (f *field) drift(ctx context.Context) error {
	progress(fmt.Sprintf("%d edits on the member", f.sizes.drifts))
	if err := f.namespaces(ctx, "drift"); err != nil {
		return err
	}
	keep := &v1beta1.ApplyStrategy{WhenToApply: v1beta1.WhenToApplyIfNotDrifted}
	if err := f.makeWorks(ctx, "drift", f.sizes.drifts/worksInField, keep, asMaps); err != nil {
		return err
	}
	if err := f.settled(ctx, "drift"); err != nil {
		return err
	}
	var took figure
	for i := range f.sizes.drifts / worksInField * worksInField {
		work, object := names("drift", worksInField)[i%worksInField], i/worksInField
		begin := time.Now()
		edit := client.RawPatch(types.MergePatchType, []byte(`{"data":{"data":"edited"}}`))
		if err := f.on().Patch(ctx, configMap(work, mapName(object), "one"), edit); err != nil {
			return err
		}
		at, err := f.works.when(ctx, key(contract.MemberNamespace(fieldMember), work), func(e event, ok bool) bool {
			w, is := e.object.(*v1beta1.Work)
			return ok && is && len(w.Status.ManifestConditions) > object && w.Status.ManifestConditions[object].DriftDetails != nil
		})
		if err != nil {
			return err
		}
		took = append(took, at.Sub(begin))
	}
	f.figures.DriftP50, f.figures.DriftP90 = took.percentile(50).Seconds(), took.percentile(90).Seconds()
	return nil
}

// crowd creates foreign Secrets on the member, places objects beside them, and measures the agent's memory.
func (f *field) crowd(ctx context.Context) error {
	for _, prefix := range []string{"field", "drift"} {
		if err := f.removeWorks(ctx, prefix); err != nil {
			return err
		}
	}
	progress(fmt.Sprintf("%d foreign Secrets", f.sizes.secrets))
	if err := f.namespaces(ctx, "crowd"); err != nil {
		return err
	}
	crowd := names("crowd", worksInField)
	err := each(names("foreign", f.sizes.secrets/worksInField), 16, func(name string) error {
		for _, namespace := range crowd {
			if err := f.on().Create(ctx, secret(namespace, name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("make Secrets: %w", err)
	}
	if err := f.makeWorks(ctx, "crowd", f.sizes.placed/worksInField, nil, asSecretsAndMaps); err != nil {
		return err
	}
	if err := f.settled(ctx, "crowd"); err != nil {
		return err
	}
	when := fmt.Sprintf("%d objects among %d foreign Secrets", f.sizes.placed, f.sizes.secrets)
	if err := f.measure(ctx, when); err != nil {
		return err
	}
	// A restart lists everything at once: that is the agent's peak.
	if err := f.restart(ctx, fieldMember); err != nil {
		return err
	}
	if err := wait(ctx, f.sizes.idle); err != nil {
		return err
	}
	return f.measure(ctx, "and restarted")
}

// namespaces creates the namespaces of a set of Works on the member; they are not placed.
func (f *field) namespaces(ctx context.Context, prefix string) error {
	return each(names(prefix, worksInField), worksInField, func(name string) error { return f.on().Create(ctx, namespace(name)) })
}

func asMaps(namespace string, i int) client.Object {
	cm := configMap(namespace, mapName(i), "one")
	cm.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}
	return cm
}

func asSecretsAndMaps(namespace string, i int) client.Object {
	if i%2 == 0 {
		return asMaps(namespace, i)
	}
	s := secret(namespace, mapName(i))
	s.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
	return s
}

// makeWorks creates Works, each with objects in a namespace with the name of the Work.
func (f *field) makeWorks(
	ctx context.Context, prefix string, objects int, how *v1beta1.ApplyStrategy, object func(string, int) client.Object,
) error {
	return each(names(prefix, worksInField), worksInField, func(name string) error {
		work := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{
			Namespace: contract.MemberNamespace(fieldMember), Name: name, Finalizers: []string{contract.FinalizerWork},
		}}
		work.Spec.ApplyStrategy = how
		for i := range objects {
			raw, err := json.Marshal(object(name, i))
			if err != nil {
				return err
			}
			work.Spec.Workload.Manifests = append(work.Spec.Workload.Manifests, v1beta1.Manifest{RawExtension: runtime.RawExtension{Raw: raw}})
		}
		return f.hub.Create(ctx, work)
	})
}

// settled waits until a set of Works is available.
func (f *field) settled(ctx context.Context, prefix string) error {
	for _, name := range names(prefix, worksInField) {
		_, err := f.works.when(ctx, key(contract.MemberNamespace(fieldMember), name), func(e event, ok bool) bool {
			w, is := e.object.(*v1beta1.Work)
			if !ok || !is {
				return false
			}
			for _, c := range w.Status.Conditions {
				if c.Type == v1beta1.ConditionAvailable && c.Status == metav1.ConditionTrue && c.ObservedGeneration == w.Generation {
					return true
				}
			}
			return false
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *field) removeWorks(ctx context.Context, prefix string) error {
	for _, name := range names(prefix, worksInField) {
		work := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: contract.MemberNamespace(fieldMember), Name: name}}
		if err := f.hub.Delete(ctx, work); err != nil {
			return err
		}
		if _, err := f.works.when(ctx, key(work.Namespace, name), isGone); err != nil {
			return err
		}
	}
	return nil
}

// measure records the current memory of the member agent.
func (f *field) measure(ctx context.Context, when string) error {
	m := agentMemory{When: when}
	var err error
	if m.HeapMiB, err = heapOf(ctx, f.fleet.AgentMetricsURL(fieldMember)); err != nil {
		return err
	}
	if m.usage, err = usageOf(f.fleet.AgentPID(fieldMember)); err != nil {
		return err
	}
	f.figures.Memory = append(f.figures.Memory, m)
	progress(fmt.Sprintf("  %s: heap %.1f MiB, resident %.0f MiB, peak %.0f MiB", when, m.HeapMiB, m.ResidentMiB, m.PeakMiB))
	return nil
}

// heapOf reads the size of an agent's heap from its metrics.
func heapOf(ctx context.Context, url string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("read metrics: %w", err)
	}
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		return 0, fmt.Errorf("parse metrics of %s: %w", url, err)
	}
	for _, m := range families["go_memstats_heap_alloc_bytes"].GetMetric() {
		return m.GetGauge().GetValue() / (1 << 20), nil
	}
	return 0, errors.New("the agent's metrics do not contain the size of its heap")
}
