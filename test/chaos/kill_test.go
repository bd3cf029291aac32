package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

const (
	playground = "playground"
	// worksAtPlay is how many Works change, objectsEach how many names each of them chooses from.
	worksAtPlay, objectsEach = 6, 12
)

// wish is what a Work is to hold: values by "Kind name". Nil: the Work is to be gone.
type wish map[string]string

// game changes Works at random and remembers what it wished for.
type game struct {
	rng    *rand.Rand
	mu     sync.Mutex
	wishes map[string]wish
	moves  int
	past   []string
}

// remembered is how much of its past a game that fails shows.
const remembered = 200

func (g *game) note(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.past = append(g.past, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

func (g *game) history() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return "the game, up to its end:\n" + strings.Join(g.past[max(0, len(g.past)-remembered):], "\n")
}

// The agent is killed at random moments while Works come, change and go. In the end the member holds exactly what the
// hub says, nothing that is not the agent's was touched, and nothing of the agent's is left over.
func TestKilledAtAnyMoment(t *testing.T) {
	s := randomSeed(t)
	ctx := t.Context()
	testworld.Create(t, c1, memberName, testworld.Namespace(playground))
	foreign := plantForeign(t)

	g := &game{rng: rand.New(rand.NewPCG(s, 1)), wishes: map[string]wish{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(g.history())
		}
	})
	game := testworld.Go(t, "the game", g.play)

	rng := rand.New(rand.NewPCG(s, 2))
	for n := range *kills {
		// Long enough now and then to join and get far, short enough mostly to be in the middle.
		pause(ctx, time.Duration(rng.ExpFloat64()*float64(900*time.Millisecond)))
		select {
		case <-game.Ended():
			t.Fatalf("the game ended: %v", game.Wait())
		default:
		}
		g.note("kill %d", n)
		if err := fleet.KillAgent(memberName); err != nil {
			t.Fatalf("kill %d: %v", n, err)
		}
		if err := fleet.StartAgent(ctx, memberName); err != nil {
			t.Fatalf("start after kill %d: %v", n, err)
		}
	}
	game.Stop()
	t.Logf("%d kills, %d changes of %d Works", *kills, g.moves, worksAtPlay)
	testworld.Await(t, testworld.Long, "the member to hold what the hub says", func(ctx context.Context) error { return g.check(ctx) })
	checkForeign(t, foreign)

	for name := range g.wishes {
		g.wishes[name] = nil
		work := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: onHub, Name: name}}
		if err := client.IgnoreNotFound(theHub.Delete(ctx, work)); err != nil {
			t.Fatal(err)
		}
	}
	testworld.Await(t, testworld.Long, "everything to be gone", func(ctx context.Context) error { return g.check(ctx) })
	checkForeign(t, foreign)
}

// play makes one move after the other until ctx ends.
func (g *game) play(ctx context.Context) error {
	for {
		if pause(ctx, time.Duration(g.rng.IntN(60))*time.Millisecond); ctx.Err() != nil {
			return nil //nolint:nilerr // ctx has ended, as it was asked to
		}
		// A move is not broken off: the hub may have carried it out all the same.
		if err := g.move(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
}

// move gives a random Work other content, or deletes it, or makes it anew. A conflict is a move that did not happen.
func (g *game) move(ctx context.Context) error {
	name := fmt.Sprintf("play-%d", g.rng.IntN(worksAtPlay))
	next := g.wish(name)
	work := &v1beta1.Work{}
	err := theHub.Get(ctx, client.ObjectKey{Namespace: onHub, Name: name}, work)
	switch {
	case apierrors.IsNotFound(err):
		work.Namespace, work.Name, work.Finalizers = onHub, name, []string{contract.FinalizerWork}
		work.Spec.Workload.Manifests = next.manifests()
		err = theHub.Create(ctx, work)
	case err != nil:
	case !work.DeletionTimestamp.IsZero():
		return nil
	case g.rng.IntN(10) == 0:
		next = nil
		err = theHub.Delete(ctx, work)
	default:
		work.Spec.Workload.Manifests = next.manifests()
		err = theHub.Update(ctx, work)
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("move %s: %w", name, err)
	}
	g.note("%s, generation %d before: %v", name, work.Generation, next)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wishes[name] = next
	g.moves++
	return nil
}

func (g *game) wish(work string) wish {
	out := wish{}
	for i := range objectsEach {
		kind := []string{"ConfigMap", "Secret"}[i%2]
		if g.rng.IntN(3) > 0 {
			out[fmt.Sprintf("%s %s-%d", kind, work, i)] = fmt.Sprint(g.rng.IntN(4))
		}
	}
	return out
}

func (w wish) manifests() []v1beta1.Manifest {
	var out []v1beta1.Manifest
	for _, key := range slices.Sorted(maps.Keys(w)) {
		kind, name, _ := strings.Cut(key, " ")
		obj := map[string]any{"apiVersion": "v1", "kind": kind, "metadata": map[string]any{"namespace": playground, "name": name}}
		obj[map[string]string{"ConfigMap": "data", "Secret": "stringData"}[kind]] = map[string]any{"value": w[key]}
		raw, err := json.Marshal(obj)
		if err != nil {
			panic(err)
		}
		out = append(out, v1beta1.Manifest{RawExtension: runtime.RawExtension{Raw: raw}})
	}
	return out
}

// check compares the member with the wishes: every object with its value, and none beside them; a ledger for each
// Work, and none beside.
func (g *game) check(ctx context.Context) error {
	want, ledgers := wish{}, map[string]bool{}
	for name, w := range g.wishes {
		if w != nil {
			ledgers[name] = true
			maps.Copy(want, w)
		}
	}
	got, err := placedThere(ctx)
	if err != nil {
		return err
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("the member holds %v; want %v", got, want)
	}
	var list v1beta1.AppliedWorkList
	if err := c1.List(ctx, &list); err != nil {
		return err
	}
	for _, l := range list.Items {
		if !strings.HasPrefix(l.Name, "play-") {
			continue
		}
		if !ledgers[l.Name] {
			return fmt.Errorf("AppliedWork %s is left", l.Name)
		}
		if n := len(l.Status.AppliedResources); n != len(g.wishes[l.Name]) {
			return fmt.Errorf("AppliedWork %s lists %d objects; want %d", l.Name, n, len(g.wishes[l.Name]))
		}
		delete(ledgers, l.Name)
	}
	if len(ledgers) > 0 {
		return fmt.Errorf("there is no AppliedWork for %v", ledgers)
	}
	return nil
}

// placedThere is what the agent placed in the playground, by what it says on the objects and by who owns them.
func placedThere(ctx context.Context) (wish, error) {
	out := wish{}
	add := func(kind string, o client.Object, value string) {
		for _, ref := range o.GetOwnerReferences() {
			if ref.Kind == "AppliedWork" {
				out[kind+" "+o.GetName()] = value
				return
			}
		}
		if o.GetAnnotations()[contract.AnnotationSpecHash] != "" {
			out[kind+" "+o.GetName()] = value + ", without an owner"
		}
	}
	var cms corev1.ConfigMapList
	if err := c1.List(ctx, &cms, client.InNamespace(playground)); err != nil {
		return nil, err
	}
	for i := range cms.Items {
		add("ConfigMap", &cms.Items[i], cms.Items[i].Data["value"])
	}
	var secrets corev1.SecretList
	if err := c1.List(ctx, &secrets, client.InNamespace(playground)); err != nil {
		return nil, err
	}
	for i := range secrets.Items {
		add("Secret", &secrets.Items[i], string(secrets.Items[i].Data["value"]))
	}
	return out, nil
}

// plantForeign puts objects of somebody else beside those that are placed, some with names like theirs.
func plantForeign(t *testing.T) []client.Object {
	t.Helper()
	var out []client.Object
	for i := range 20 {
		name := fmt.Sprintf("play-%d-%d-foreign", i%worksAtPlay, i)
		out = append(out,
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: playground, Name: name}, Data: map[string]string{"value": "theirs"}},
			&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: playground, Name: name}, StringData: map[string]string{"value": "theirs"}})
	}
	for _, o := range out {
		testworld.Create(t, c1, memberName, o)
	}
	return out
}

func checkForeign(t *testing.T, planted []client.Object) {
	t.Helper()
	for _, was := range planted {
		now, ok := was.DeepCopyObject().(client.Object)
		if !ok {
			t.Fatalf("%T is no object", was)
		}
		if err := c1.Get(t.Context(), client.ObjectKeyFromObject(was), now); err != nil {
			t.Errorf("%T %s of somebody else: %v", was, was.GetName(), err)
		} else if now.GetResourceVersion() != was.GetResourceVersion() {
			t.Errorf("%T %s of somebody else was written", was, was.GetName())
		}
	}
}
