// Package objects is the source of the hub's objects that placements select. It watches only the kinds that some
// placement can select, and of a kind with many objects it keeps only the metadata of the namespaces in which
// placements select. It notifies its subscriber when a change of an object can affect a placement, returns the objects
// that a placement selects, and reads contents of objects from the hub.
//
// An unknown object is not an absent one: if a kind is not listed yet or cannot be listed, an API group does not
// answer, or an object cannot be read, it returns an error, so that agents decide nothing on incomplete data.
//
// The placer uses it, and the dispatcher for the scope of kinds. It runs on the leader only.
package objects

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/loop"
	"github.com/flagship-fleet/flagship/pkg/selection"
	"github.com/flagship-fleet/flagship/pkg/snapshot"
)

// linger is for how long a kind is watched after the last placement that can select it is deleted.
const linger = 10 * time.Minute

// Source is made by New and started by the manager.
type Source struct {
	// now is the clock for the times of changes, and for how long lists fail.
	now       func() time.Time
	rules     selection.Rules
	metadata  metadata.Interface
	dynamic   dynamic.Interface
	discovery *discovery.DiscoveryClient
	// wake carries requests to read the discovery API again.
	wake chan struct{}
	// notify is called with each placement that should be reconciled.
	notify func(types.NamespacedName)

	mu sync.Mutex
	// running is the context of the stores; nil before Start.
	running     context.Context
	stores      map[schema.GroupKind]*store
	idle        map[schema.GroupKind]time.Time
	catalogue   *catalogue // nil until it is known
	discovered  discovered
	definitions map[string]*definition // nil until listed
	followers   map[types.NamespacedName]*follower
	index       index
	// unknown are kinds that the hub did not serve when they were looked up, with the number of the catalogue at that
	// time.
	unknown map[schema.GroupVersionKind]int
	active  sync.WaitGroup
}

// follower is a placement.
type follower struct {
	key       types.NamespacedName
	terms     []v1beta1.ResourceSelectorTerm
	interests []selection.Interest
	// waits is whether the last selection failed because a kind is not listed.
	waits   bool
	changes snapshot.Changes
}

// New makes a Source that reads the hub of cfg. httpClient may be shared; now is the clock by which it dates changes.
func New(cfg *rest.Config, httpClient *http.Client, rules selection.Rules, now func() time.Time) (*Source, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.WarningHandler = rest.NoWarnings{} // users may place deprecated kinds
	meta, err := metadata.NewForConfigAndClient(cfg, httpClient)
	if err != nil {
		return nil, fmt.Errorf("make a metadata client: %w", err)
	}
	contents, err := dynamic.NewForConfigAndClient(cfg, httpClient)
	if err != nil {
		return nil, fmt.Errorf("make a dynamic client: %w", err)
	}
	disc, err := discovery.NewDiscoveryClientForConfigAndClient(cfg, httpClient)
	if err != nil {
		return nil, fmt.Errorf("make a discovery client: %w", err)
	}
	return &Source{
		now: now, rules: rules, metadata: meta, dynamic: contents, discovery: disc,
		wake: make(chan struct{}, 1), notify: func(types.NamespacedName) {},
		stores: map[schema.GroupKind]*store{}, idle: map[schema.GroupKind]time.Time{},
		followers: map[types.NamespacedName]*follower{}, index: newIndex(), unknown: map[schema.GroupVersionKind]int{},
	}, nil
}

// Subscribe sets the function that is called with each placement that must be reconciled because a change of an object
// can affect it, or because a kind that it waited for is listed. It must be called before any Select, and notify must
// not call the Source.
func (w *Source) Subscribe(notify func(types.NamespacedName)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notify = notify
}

// Select returns what a placement with these terms selects, and follows it from now on. The errors are those of
// Rules.Select; the placement is notified when one that is an ErrNotListed has passed.
func (w *Source) Select(ctx context.Context, key types.NamespacedName, terms []v1beta1.ResourceSelectorTerm) (selection.Selection, error) {
	w.mu.Lock()
	f := w.follow(key, terms)
	f.changes, f.waits = f.changes.Taken(), true
	w.mu.Unlock()
	selected, err := w.Look(ctx, key, terms)
	if err == nil {
		w.mu.Lock()
		f.waits = false
		w.mu.Unlock()
	}
	return selected, err
}

// Look returns what Select returns, without resetting Changes or what the placement waits for.
func (w *Source) Look(ctx context.Context, key types.NamespacedName, terms []v1beta1.ResourceSelectorTerm) (selection.Selection, error) {
	w.mu.Lock()
	w.follow(key, terms)
	known := w.catalogue
	w.mu.Unlock()
	if known == nil {
		return selection.Selection{}, fmt.Errorf("%w: the hub's kinds are not known yet", selection.ErrNotListed)
	}
	return w.rules.Select(terms, key.Namespace, world{Source: w, ctx: ctx, catalogue: known})
}

// ClusterScoped reports whether the hub serves a kind and it is cluster-scoped. It fails until the hub's kinds are
// known.
func (w *Source) ClusterScoped(kind schema.GroupKind) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.catalogue == nil {
		return false, fmt.Errorf("%w: the hub's kinds are not known yet", selection.ErrNotListed)
	}
	served, ok := w.catalogue.preferred[kind]
	return ok && !served.Namespaced, nil
}

// Changes returns the changes seen since the last Select for the placement.
func (w *Source) Changes(key types.NamespacedName) snapshot.Changes {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f := w.followers[key]; f != nil {
		return f.changes
	}
	return snapshot.Changes{}
}

// Forget stops following a placement.
func (w *Source) Forget(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.followers[key]; !ok {
		return
	}
	delete(w.followers, key)
	w.reindex()
}

// follow makes key a follower with these terms. w.mu is held.
func (w *Source) follow(key types.NamespacedName, terms []v1beta1.ResourceSelectorTerm) *follower {
	f := w.followers[key]
	if f != nil && equality.Semantic.DeepEqual(f.terms, terms) {
		return f
	}
	known := f != nil
	if !known {
		f = &follower{key: key}
		w.followers[key] = f
	}
	f.terms = terms
	f.interests = w.rules.Interests(terms, key.Namespace)
	if known {
		w.reindex()
	} else {
		w.file(f)
	}
	w.watchNeeded(f)
	return f
}

// reindex indexes all followers again. It happens only when a placement's selectors change, a placement is deleted, or
// the hub's kinds change. w.mu is held.
func (w *Source) reindex() {
	w.index = newIndex()
	for _, f := range w.followers {
		w.file(f)
	}
}

func (w *Source) file(f *follower) {
	for _, interest := range f.interests {
		kind, known := selection.Kind{Namespaced: true}, false
		if w.catalogue != nil {
			kind, known = w.catalogue.preferred[interest.Kind]
		}
		w.index.add(f, interest, !known || kind.Namespaced)
	}
}

// needs returns the kinds whose objects can affect a follower. w.mu is held, and the catalogue known.
func (w *Source) needs(f *follower) []selection.Kind {
	var out []selection.Kind
	for _, interest := range f.interests {
		if kind, ok := w.catalogue.preferred[interest.Kind]; ok {
			out = append(out, kind)
		}
		if interest.Contents {
			out = append(out, w.catalogue.contents...)
		}
	}
	return out
}

// watchNeeded starts watching the kinds that f needs. w.mu is held.
func (w *Source) watchNeeded(f *follower) {
	if w.catalogue == nil || w.running == nil {
		return
	}
	for _, kind := range w.needs(f) {
		delete(w.idle, kind.GroupKind())
		if w.stores[kind.GroupKind()] == nil {
			w.start(newStore(kind, w.catalogue.custom[kind.GroupKind()], w.rules.Never, w.now))
		}
	}
}

// start runs a store. w.mu is held.
func (w *Source) start(s *store) {
	ctx, cancel := context.WithCancel(w.running)
	s.changed, s.settled, s.gone, s.stop, s.client = w.changed, w.settled, w.rediscover, cancel, w.metadata
	w.stores[s.kind.GroupKind()] = s
	w.active.Go(func() { s.run(ctx) })
}

// dropIdle stops watching kinds that no placement has needed for a while, and leaves namespaces that none needs.
func (w *Source) dropIdle(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.catalogue == nil {
		return
	}
	needed := map[schema.GroupKind]bool{}
	for _, f := range w.followers {
		for _, kind := range w.needs(f) {
			needed[kind.GroupKind()] = true
		}
	}
	w.leaveIdle()
	for kind, s := range w.stores {
		since, idle := w.idle[kind]
		switch {
		case needed[kind]:
			delete(w.idle, kind)
		case !idle:
			w.idle[kind] = now
		case now.Sub(since) > linger:
			s.stop()
			delete(w.stores, kind)
			delete(w.idle, kind)
		}
	}
}

// leaveIdle drops the namespaces in which no placement selects. A placement becomes a follower before its selection
// requests a namespace. w.mu is held.
func (w *Source) leaveIdle() {
	type place struct {
		kind      schema.GroupKind
		namespace string
	}
	needed := map[place]bool{}
	for _, f := range w.followers {
		for _, interest := range f.interests {
			needed[place{interest.Kind, interest.Namespace}] = true
		}
	}
	for kind, s := range w.stores {
		for _, namespace := range s.places() {
			if !needed[place{kind, namespace}] && len(w.index.followersOf(namespace, w.namespace(namespace))) == 0 {
				s.leave(namespace)
			}
		}
	}
}

// changed records a change for the placements that it can affect. old is nil if the object was created, new if it was
// deleted.
func (w *Source) changed(kind schema.GroupKind, old, new *entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	object := new
	if object == nil {
		object = old
	}
	now := w.now()
	if x := w.index.kinds[kind]; x != nil {
		x.find(object.Namespace, object.Name, func(f *follower) { w.recordChange(f, now) }, old, new)
	}
	if object.Namespace != "" {
		for _, f := range w.index.followersOf(object.Namespace, w.namespace(object.Namespace)) {
			w.recordChange(f, now)
		}
	} else if kind == namespaces {
		delete(w.index.resolved, object.Name)
	}
}

var namespaces = schema.GroupKind{Kind: "Namespace"}

// namespace returns the metadata of a namespace; nil if unknown. w.mu is held.
func (w *Source) namespace(name string) *entry {
	if s := w.stores[namespaces]; s != nil {
		return s.get("", name)
	}
	return nil
}

// recordChange records that a change can affect f. A placement is notified once: its next selection includes all
// later changes. w.mu is held.
func (w *Source) recordChange(f *follower, now time.Time) {
	known := !f.changes.First.IsZero()
	if f.changes = f.changes.With(now); !known {
		w.notify(f.key)
	}
}

// settled is called when a list that placements wait for is complete, or fails for long. It notifies those placements.
func (w *Source) settled(schema.GroupKind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wakeWaiting()
}

// wakeWaiting notifies every placement whose last selection failed because a kind is not listed. w.mu is held.
func (w *Source) wakeWaiting() {
	for _, f := range w.followers {
		if f.waits {
			w.notify(f.key)
		}
	}
}

// world is the view of the Source for one selection.
type world struct {
	*Source
	ctx       context.Context
	catalogue *catalogue
}

func (w world) Kind(gvk schema.GroupVersionKind) (selection.Kind, error) {
	if kind, ok := w.catalogue.kinds[gvk]; ok {
		return kind, nil
	}
	return selection.Kind{}, w.confirmUnknown(w.ctx, gvk)
}

// confirmUnknown reads from the discovery API whether the hub serves a kind that is not in the catalogue.
func (w *Source) confirmUnknown(ctx context.Context, gvk schema.GroupVersionKind) error {
	w.mu.Lock()
	known := w.catalogue
	number := known.number
	confirmed, asked := w.unknown[gvk]
	w.mu.Unlock()
	if asked && confirmed == number {
		return known.unknown(gvk)
	}
	list, err := w.discovery.ServerResourcesForGroupVersionWithContext(ctx, gvk.GroupVersion().String())
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("discover %s on the hub: %w", gvk, err)
	}
	if err == nil {
		for i := range list.APIResources {
			if r := &list.APIResources[i]; r.Kind == gvk.Kind && listable(r) {
				w.rediscover()
				return fmt.Errorf("%w: %s has just appeared", selection.ErrNotListed, gvk)
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unknown[gvk] = number
	return known.unknown(gvk)
}

// Contents starts all lists that are needed concurrently. Their errors are ignored: List returns them afterwards.
func (w world) Contents(namespaces []string) ([]selection.Kind, []schema.GroupKind, error) {
	var unlisted []*store
	for _, kind := range w.catalogue.contents {
		if s, err := w.store(kind); err == nil && s.wouldFill(namespaces) {
			unlisted = append(unlisted, s)
		}
	}
	_ = loop.Each(w.ctx, readers, unlisted, func(ctx context.Context, s *store) error { return s.ask(ctx, namespaces...) })
	return w.catalogue.contents, w.catalogue.unread, w.catalogue.cause
}

func (w world) Get(kind selection.Kind, namespace, name string) (*selection.Object, error) {
	s, err := w.store(kind)
	if err != nil {
		return nil, err
	}
	if err := s.ask(w.ctx, namespace); err != nil {
		return nil, err
	}
	if e := s.get(namespace, name); e != nil {
		return &e.Object, nil
	}
	return nil, nil
}

func (w world) List(kind selection.Kind, namespace string) ([]*selection.Object, error) {
	s, err := w.store(kind)
	if err != nil {
		return nil, err
	}
	if err := s.ask(w.ctx, namespace); err != nil {
		return nil, err
	}
	entries := s.list(namespace)
	out := make([]*selection.Object, len(entries))
	for i, e := range entries {
		out[i] = &e.Object
	}
	return out, nil
}

// store returns the store of a kind.
func (w *Source) store(kind selection.Kind) (*store, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stores[kind.GroupKind()]
	if s == nil {
		return nil, fmt.Errorf("%w: %s", selection.ErrNotListed, kind)
	}
	return s, nil
}

// NeedLeaderElection makes the manager start the Source only on the leader.
func (w *Source) NeedLeaderElection() bool { return true }

// Start watches until ctx ends. The manager calls it.
func (w *Source) Start(ctx context.Context) error {
	w.mu.Lock()
	w.running = ctx
	w.mu.Unlock()
	w.active.Go(func() { w.watchDefinitions(ctx) })
	w.active.Go(func() { w.watchServices(ctx) })
	w.active.Go(func() { w.discover(ctx) })
	tick := time.NewTicker(linger / 10)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.dropIdle(w.now())
		case <-ctx.Done():
			w.active.Wait()
			return nil
		}
	}
}

// update makes a new catalogue once discovery and CRDs are known, and starts and stops watches accordingly. w.mu is
// held.
func (w *Source) update(ctx context.Context) {
	if w.discovered.resources == nil || w.definitions == nil {
		return
	}
	for _, def := range w.definitions {
		delete(w.discovered.resources, def.key) // or an old response would bring it back when its CRD is deleted
	}
	old := w.catalogue
	number := 0
	if old != nil {
		number = old.number + 1
	}
	w.catalogue = newCatalogue(w.discovered, w.definitions, w.rules, number)
	clear(w.unknown)
	w.reindex()
	replaced := w.replaceStores()
	for _, f := range w.followers {
		w.watchNeeded(f)
		if w.affected(f, old, replaced) {
			f.changes = f.changes.Taken() // notify it even if it has been notified of another change
			w.recordChange(f, w.now())
		}
	}
	w.wakeWaiting()
	log.FromContext(ctx).V(1).Info("Updated kinds of the hub", "kinds", len(w.catalogue.preferred), "unanswered", len(w.catalogue.unread))
}

// replaceStores stops watching kinds that are no longer served, and those whose preferred version has changed or whose
// CRD was deleted and created again. It returns them. w.mu is held.
func (w *Source) replaceStores() map[schema.GroupKind]bool {
	replaced := map[schema.GroupKind]bool{}
	for key, s := range w.stores {
		kind, served := w.catalogue.preferred[key]
		if served && kind == s.kind && s.definition == w.catalogue.custom[key] {
			continue
		}
		s.stop()
		delete(w.stores, key)
		replaced[key] = true
	}
	return replaced
}

// affected reports whether a new catalogue can affect f: f selects from a kind whose watch was stopped, names a kind
// that is served in another way than before, or follows contents and kinds of contents were replaced or removed.
// Additional kinds do not count: their objects cause events. w.mu is held.
func (w *Source) affected(f *follower, old *catalogue, replaced map[schema.GroupKind]bool) bool {
	if old == nil {
		return false // it waits
	}
	for _, term := range f.terms {
		gvk := schema.GroupVersionKind{Group: term.Group, Version: term.Version, Kind: term.Kind}
		if old.kinds[gvk] != w.catalogue.kinds[gvk] {
			return true
		}
	}
	for _, interest := range f.interests {
		if replaced[interest.Kind] {
			return true
		}
		if interest.Contents && (!slices.Equal(old.unread, w.catalogue.unread) ||
			slices.ContainsFunc(old.contents, func(k selection.Kind) bool {
				return replaced[k.GroupKind()] || w.catalogue.preferred[k.GroupKind()] != k
			})) {
			return true
		}
	}
	return false
}
