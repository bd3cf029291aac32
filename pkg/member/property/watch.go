package property

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/flagship-fleet/flagship/pkg/report"
)

// watcher is the Provider for every cluster: the number of nodes, cpu and memory, and optionally the namespaces.
type watcher struct {
	// nodes, pods and namespaces; the last two are nil unless the options select them.
	nodes, pods, namespaces *followed
	changes                 chan struct{}

	mu     sync.Mutex
	total  total
	spaces spaces
}

// watch sets up a watcher for the cluster of cfg.
func watch(cfg *rest.Config, options Options) (*watcher, error) {
	clients, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make a client for nodes and pods: %w", err)
	}
	api := clients.CoreV1().RESTClient()
	w := &watcher{changes: make(chan struct{}, 1), total: newTotal(), spaces: spaces{}}
	nodes := cache.NewListWatchFromClient(api, "nodes", metav1.NamespaceAll, fields.Everything())
	if w.nodes, err = follow("nodes", cache.NewSharedInformer(nodes, &corev1.Node{}, 0), shrinkNode, w.node); err != nil {
		return nil, err
	}
	if options.Available {
		// The selector excludes pods that wait for a node, and finished ones: a cluster may keep thousands of them.
		pods := cache.NewListWatchFromClient(api, "pods", metav1.NamespaceAll, fields.AndSelectors(
			fields.OneTermNotEqualSelector("spec.nodeName", ""),
			fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
			fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
		))
		if w.pods, err = follow("pods", cache.NewSharedInformer(pods, &corev1.Pod{}, 0), shrinkPod, w.pod); err != nil {
			return nil, err
		}
	}
	if !options.Namespaces {
		return w, nil
	}
	objects, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make a client for namespaces: %w", err)
	}
	informer := metadatainformer.NewFilteredMetadataInformer(objects, corev1.SchemeGroupVersion.WithResource("namespaces"),
		metav1.NamespaceAll, 0, cache.Indexers{}, nil).Informer()
	if w.namespaces, err = follow("namespaces", informer, shrinkNamespace, w.namespace); err != nil {
		return nil, err
	}
	return w, nil
}

// followed is a watched kind of object. listed is closed once all objects of the first list are counted.
type followed struct {
	kind     string
	informer cache.SharedInformer
	listed   <-chan struct{}

	mu sync.Mutex
	// refused is the last answer to a list or watch, if it was Forbidden.
	refused error
}

// follow stores the result of shrink for each object, and calls move for each change, with the previous and the
// present object; nil is an absent one.
func follow(kind string, informer cache.SharedInformer, shrink cache.TransformFunc, move func(was, is any)) (*followed, error) {
	f := &followed{kind: kind, informer: informer}
	handler, err := f.prepare(shrink, move)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", kind, err)
	}
	f.listed = handler.HasSyncedChecker().Done()
	return f, nil
}

func (f *followed) prepare(shrink cache.TransformFunc, move func(was, is any)) (cache.ResourceEventHandlerRegistration, error) {
	if err := f.informer.SetTransform(shrink); err != nil {
		return nil, err
	}
	if err := f.informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
		f.refuse(err)
		cache.DefaultWatchErrorHandler(ctx, r, err)
	}); err != nil {
		return nil, err
	}
	return f.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { move(nil, obj) },
		UpdateFunc: func(was, is any) { move(was, is) },
		DeleteFunc: func(obj any) {
			if missed, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = missed.Obj
			}
			move(obj, nil)
		},
	})
}

func (f *followed) refuse(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused = nil
	if apierrors.IsForbidden(err) {
		f.refused = err
	}
}

// wait returns nil once all objects are counted, or why they were not before ctx ended.
func (f *followed) wait(ctx context.Context) error {
	select {
	case <-f.listed:
		return nil
	default:
	}
	select {
	case <-f.listed:
		return nil
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refused != nil {
		return &refusedError{kind: f.kind, err: f.refused}
	}
	return fmt.Errorf("%s are not listed yet", f.kind)
}

// refusedError means that the agent lacks the permission to list a kind of object.
type refusedError struct {
	kind string
	err  error
}

func (e *refusedError) Unwrap() error { return e.err }
func (e *refusedError) Error() string {
	return fmt.Sprintf("%s cannot be listed: %v; the agent's ClusterRole must allow get, list and watch of %s", e.kind, e.err, e.kind)
}

func shrinkNode(obj any) (any, error) {
	if n, ok := obj.(*corev1.Node); ok {
		return nodeOf(n), nil
	}
	return obj, nil // already shrunk
}

func shrinkPod(obj any) (any, error) {
	if p, ok := obj.(*corev1.Pod); ok {
		return podOf(p), nil
	}
	return obj, nil
}

func shrinkNamespace(obj any) (any, error) {
	if n, ok := obj.(*metav1.PartialObjectMetadata); ok {
		return spaceOf(n), nil
	}
	return obj, nil
}

func (w *watcher) node(was, is any) {
	before, _ := was.(*node)
	after, _ := is.(*node)
	w.mu.Lock()
	w.total.moveNode(before, after)
	w.mu.Unlock()
	if before == nil || after == nil || before.load != after.load {
		w.announce()
	}
}

func (w *watcher) pod(was, is any) {
	before, _ := was.(*pod)
	after, _ := is.(*pod)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.total.movePod(before, after)
}

func (w *watcher) namespace(was, is any) {
	before, _ := was.(*space)
	after, _ := is.(*space)
	w.mu.Lock()
	changed := w.spaces.move(before, after)
	w.mu.Unlock()
	if changed {
		w.announce()
	}
}

func (w *watcher) announce() {
	select {
	case w.changes <- struct{}{}:
	default: // an unread announcement exists
	}
}

// Start watches until ctx ends.
func (w *watcher) Start(ctx context.Context) error {
	var all sync.WaitGroup
	for _, f := range w.all() {
		all.Go(func() { f.informer.RunWithContext(ctx) })
	}
	all.Wait()
	return nil
}

// all are the watched kinds.
func (w *watcher) all() []*followed {
	var out []*followed
	for _, f := range []*followed{w.nodes, w.pods, w.namespaces} {
		if f != nil {
			out = append(out, f)
		}
	}
	return out
}

// Changes receives when nodes or namespaces change.
func (w *watcher) Changes() <-chan struct{} { return w.changes }

// Collect reports the present sums.
func (w *watcher) Collect(ctx context.Context) (*report.Inventory, error) {
	inventory, _, err := w.collect(ctx)
	return inventory, err
}

// collect is Collect, and returns the sums over the nodes too.
func (w *watcher) collect(ctx context.Context) (*report.Inventory, total, error) {
	known := map[*followed]bool{}
	var errs []error
	for _, f := range w.all() {
		err := f.wait(ctx)
		known[f] = err == nil
		errs = append(errs, err)
	}
	err := errors.Join(errs...)
	w.mu.Lock()
	defer w.mu.Unlock()
	out := &report.Inventory{Partial: err != nil}
	if known[w.nodes] {
		out.Properties, out.Usage = w.total.properties(), w.total.usage(w.pods != nil && known[w.pods])
	}
	if w.namespaces != nil && known[w.namespaces] {
		names, left := w.spaces.names(mostNamespaces)
		out.Namespaces = names
		out.Conditions = append(out.Conditions, report.NamespacesCollected(mostNamespaces, left))
	}
	return out, w.total.clone(), err
}
