package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/localfleet"
)

// selectionSettings are the sizes of the section "selection".
type selectionSettings struct {
	secrets, namespaces, placements, edits int
}

func (s *selectionSettings) addFlags() {
	flag.IntVar(&s.secrets, "unplaced-secrets", 10_000, "selection: Secrets that no placement selects")
	flag.IntVar(&s.namespaces, "selectable-namespaces", 5000, "selection: namespaces on the hub, of four objects each")
	flag.IntVar(&s.placements, "namespace-placements", 500, "selection: how many of them are placed, each by its own placement")
	flag.IntVar(&s.edits, "placed-edits", 200, "selection: edits of a placed object, one at a time")
}

// selectionFigures are the results of the section.
type selectionFigures struct {
	Secrets    int `json:"secrets"`
	Namespaces int `json:"namespaces"`
	Placements int `json:"placements"`
	// Memory of the hub agent at several moments.
	Memory []memory `json:"memory"`
	// PlacedSeconds is how long it took until all placements, created concurrently, were available.
	PlacedSeconds float64 `json:"placedSeconds"`
	// Edits are from an edit of an object on the hub until its Work has the edit.
	EditP50 float64 `json:"editToWorkP50Seconds"`
	EditP90 float64 `json:"editToWorkP90Seconds"`
	// RestartSeconds is from stopping the hub agent until an edit made meanwhile is in its Work.
	RestartSeconds float64 `json:"restartSeconds"`
}

// memory is the memory of the hub agent.
type memory struct {
	When string `json:"when"`
	// HeapMiB is the live heap, after a garbage collection.
	HeapMiB float64 `json:"heapMiB"`
	usage
}

func (f *selectionFigures) print(w io.Writer) {
	fmt.Fprintf(w, "\nselection: %d namespaces of four objects on the hub, %d of them placed; %d Secrets that no placement selects\n", f.Namespaces, f.Placements, f.Secrets)
	for _, m := range f.Memory {
		fmt.Fprintf(w, "  hub agent, %s: heap %.1f MiB, resident %.0f MiB (peak %.0f), CPU %.1f s\n", m.When, m.HeapMiB, m.ResidentMiB, m.PeakMiB, m.CPUSeconds)
	}
	fmt.Fprintf(w, "  all placements available after %.1f s; edit to Work p50 %.0f ms, p90 %.0f ms; back after a restart in %.1f s\n", f.PlacedSeconds,
		1000*f.EditP50, 1000*f.EditP90, f.RestartSeconds)
}

// scale is the running section.
type scale struct {
	*bench
	sizes   selectionSettings
	figures *selectionFigures
	works   *log
}

// selectAtScale measures selection on a hub with many more objects than are placed: the agent's memory, and the time
// from an edit to the Work. One member is enough.
func selectAtScale(ctx context.Context, s settings, r *results) error {
	config := localfleet.Config{Members: []localfleet.Member{{Cluster: localfleet.Cluster{Name: "spoke-1"}}}}
	config.Hub.Agent.Values = map[string]any{"enablePprof": true}
	return onFleet(ctx, config, func(ctx context.Context, b *bench) error {
		b.profiles = s.profiles
		run := scale{bench: b, sizes: s.selection, figures: &selectionFigures{
			Secrets: s.selection.secrets, Namespaces: s.selection.namespaces, Placements: s.selection.placements,
		}}
		r.Selection = run.figures
		var err error
		if run.works, err = follow(ctx, b.hub, &v1beta1.WorkList{}); err != nil {
			return err
		}
		for _, step := range []func(context.Context) error{run.unplaced, run.fill, run.place, run.edits, run.again} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// unplaced places one namespace, and creates many Secrets in others.
func (s *scale) unplaced(ctx context.Context) error {
	const apart = 20 // namespaces
	if err := s.furnish(ctx, []string{"first"}); err != nil {
		return err
	}
	if err := s.placeAll(ctx, []string{"first"}); err != nil {
		return err
	}
	if err := s.measure(ctx, "one namespace placed"); err != nil {
		return err
	}
	progress(fmt.Sprintf("%d Secrets that no placement selects", s.sizes.secrets))
	elsewhere := names("elsewhere", apart)
	err := each(elsewhere, apart, func(name string) error { return s.hub.Create(ctx, namespace(name)) })
	if err != nil {
		return err
	}
	err = each(names("secret", s.sizes.secrets/apart), 16, func(name string) error {
		for _, namespace := range elsewhere {
			if err := s.hub.Create(ctx, secret(namespace, name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("make Secrets: %w", err)
	}
	// When this edit has arrived, the agent has processed all earlier ones.
	if _, err := s.editOne(ctx, "first", "seen"); err != nil {
		return err
	}
	if err := s.measure(ctx, fmt.Sprintf("and %d Secrets made elsewhere", s.sizes.secrets)); err != nil {
		return err
	}
	if err := s.restart(ctx, s.fleet.Hub()); err != nil {
		return err
	}
	if _, err := s.editOne(ctx, "first", "after a restart"); err != nil {
		return err
	}
	return s.measure(ctx, "and restarted")
}

// fill creates the namespaces on the hub.
func (s *scale) fill(ctx context.Context) error {
	progress(fmt.Sprintf("%d namespaces of four objects", s.sizes.namespaces))
	return s.furnish(ctx, names("app", s.sizes.namespaces))
}

// place places some of them.
func (s *scale) place(ctx context.Context) error {
	progress(fmt.Sprintf("%d placements", s.sizes.placements))
	begin := time.Now()
	if err := s.placeAll(ctx, names("app", s.sizes.placements)); err != nil {
		return err
	}
	s.figures.PlacedSeconds = time.Since(begin).Seconds()
	return s.measure(ctx, fmt.Sprintf("%d placements", s.sizes.placements))
}

// edits changes one placed object after the other.
func (s *scale) edits(ctx context.Context) (err error) {
	progress(fmt.Sprintf("%d edits", s.sizes.edits))
	stop, err := s.profile(ctx, "profile?seconds=20", "cpu.pprof")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	var took figure
	for i := range s.sizes.edits {
		d, err := s.editOne(ctx, fmt.Sprintf("app-%03d", i*7%s.sizes.placements), fmt.Sprintf("edit %d ", i))
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	s.figures.EditP50, s.figures.EditP90 = took.percentile(50).Seconds(), took.percentile(90).Seconds()
	return s.measure(ctx, fmt.Sprintf("%d edits later", s.sizes.edits))
}

// again restarts the hub agent and edits an object at once. The agent is back when the Work has the edit.
func (s *scale) again(ctx context.Context) error {
	progress("restart")
	begin := time.Now()
	if err := s.restart(ctx, s.fleet.Hub()); err != nil {
		return err
	}
	if _, err := s.editOne(ctx, "app-000", "after a restart "); err != nil {
		return err
	}
	s.figures.RestartSeconds = time.Since(begin).Seconds()
	return s.measure(ctx, "restarted")
}

// editOne changes the config map of a placed namespace and waits until its Work has the change.
func (s *scale) editOne(ctx context.Context, name, mark string) (time.Duration, error) {
	begin := time.Now()
	if err := s.hub.Update(ctx, configMap(name, mapName(0), mark)); err != nil {
		return 0, fmt.Errorf("edit: %w", err)
	}
	text := []byte(payload(mark))
	at, err := s.works.when(ctx, key("fleet-member-spoke-1", name+"-work"), func(e event, ok bool) bool {
		work, is := e.object.(*v1beta1.Work)
		if !ok || !is {
			return false
		}
		for _, manifest := range work.Spec.Workload.Manifests {
			if bytes.Contains(manifest.Raw, text) {
				return true
			}
		}
		return false
	})
	return at.Sub(begin), err
}

// placeAll creates a placement for each namespace and waits until all are available.
func (s *scale) placeAll(ctx context.Context, names []string) error {
	if err := each(names, 16, func(name string) error { return s.hub.Create(ctx, placement(name)) }); err != nil {
		return fmt.Errorf("place: %w", err)
	}
	for _, name := range names {
		if _, err := s.placements.when(ctx, key("", name), isAvailable); err != nil {
			return fmt.Errorf("available: %w", err)
		}
	}
	return nil
}

// furnish puts namespaces of four objects on the hub.
func (s *scale) furnish(ctx context.Context, names []string) error {
	return each(names, 16, func(name string) error {
		object := metav1.ObjectMeta{Namespace: name, Name: "app"}
		for _, o := range []client.Object{
			namespace(name), configMap(name, mapName(0), "one"), secret(name, "app"), &corev1.ServiceAccount{ObjectMeta: object},
			&rbacv1.Role{ObjectMeta: object, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}}}},
		} {
			if err := s.hub.Create(ctx, o); err != nil {
				return fmt.Errorf("make %T of namespace %s: %w", o, name, err)
			}
		}
		return nil
	})
}

func secret(namespace, name string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": namespace}},
		Data:       map[string][]byte{"data": []byte(payload("one"))},
	}
}

// heapAlloc is the heap size in the text format of Go's heap profile.
var heapAlloc = regexp.MustCompile(`# HeapAlloc = (\d+)`)

// measure records the current memory of the hub agent.
func (s *scale) measure(ctx context.Context, when string) error {
	text, err := s.profiled(ctx, "heap?gc=1&debug=1")
	if err != nil {
		return err
	}
	found := heapAlloc.FindSubmatch(text)
	if found == nil {
		return errors.New("the heap profile of the hub agent does not say how large the heap is")
	}
	heap, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		return err
	}
	m := memory{When: when, HeapMiB: heap / (1 << 20)}
	if m.usage, err = usageOf(s.fleet.AgentPID(s.fleet.Hub())); err != nil {
		return err
	}
	s.figures.Memory = append(s.figures.Memory, m)
	progress(fmt.Sprintf("  %s: heap %.1f MiB, resident %.0f MiB", when, m.HeapMiB, m.ResidentMiB))
	stop, err := s.profile(ctx, "heap?gc=1", fmt.Sprintf("heap-%d.pprof", len(s.figures.Memory)))
	if err != nil {
		return err
	}
	return stop()
}
