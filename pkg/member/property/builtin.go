package property

import (
	"context"
	"errors"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/flagship-fleet/flagship/pkg/report"
)

// Builtin is the Provider that works on every cluster: the number of nodes, and cpu and memory.
type Builtin struct {
	nodes, pods followed
	changes     chan struct{}

	mu    sync.Mutex
	total total
}

// NewBuiltin makes the provider for the cluster of cfg.
func NewBuiltin(cfg *rest.Config) (*Builtin, error) {
	clients, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make a client for nodes and pods: %w", err)
	}
	api := clients.CoreV1().RESTClient()
	b := &Builtin{changes: make(chan struct{}, 1)}
	b.nodes, err = follow(cache.NewListWatchFromClient(api, "nodes", metav1.NamespaceAll, fields.Everything()), &corev1.Node{}, shrinkNode, b.node)
	if err != nil {
		return nil, fmt.Errorf("watch nodes: %w", err)
	}
	// The selector spares the pods that wait for a node, and those that have finished: a cluster keeps thousands of them.
	running := fields.AndSelectors(
		fields.OneTermNotEqualSelector("spec.nodeName", ""),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
	)
	b.pods, err = follow(cache.NewListWatchFromClient(api, "pods", metav1.NamespaceAll, running), &corev1.Pod{}, shrinkPod, b.pod)
	if err != nil {
		return nil, fmt.Errorf("watch pods: %w", err)
	}
	return b, nil
}

// followed is a kind of object that is watched. listed is closed once all that were there have been counted.
type followed struct {
	informer cache.SharedInformer
	listed   <-chan struct{}
}

// follow stores what shrink leaves of each object, and passes each change to move, with what was there before and what is there now;
// nil stands for nothing.
func follow(source cache.ListerWatcher, kind runtime.Object, shrink cache.TransformFunc, move func(was, is any)) (followed, error) {
	informer := cache.NewSharedInformer(source, kind, 0)
	if err := informer.SetTransform(shrink); err != nil {
		return followed{}, err
	}
	handler, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { move(nil, obj) },
		UpdateFunc: func(was, is any) { move(was, is) },
		DeleteFunc: func(obj any) {
			if missed, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = missed.Obj
			}
			move(obj, nil)
		},
	})
	if err != nil {
		return followed{}, err
	}
	return followed{informer: informer, listed: handler.HasSyncedChecker().Done()}, nil
}

// wait returns whether everything was counted before ctx ended.
func (f *followed) wait(ctx context.Context) bool {
	select {
	case <-f.listed:
		return true
	case <-ctx.Done():
		return false
	}
}

func shrinkNode(obj any) (any, error) {
	if n, ok := obj.(*corev1.Node); ok {
		return nodeOf(n), nil
	}
	return obj, nil // shrunk already
}

func shrinkPod(obj any) (any, error) {
	if p, ok := obj.(*corev1.Pod); ok {
		return podOf(p), nil
	}
	return obj, nil
}

func (b *Builtin) node(was, is any) {
	before, _ := was.(*node)
	after, _ := is.(*node)
	b.mu.Lock()
	b.total.moveNode(before, after)
	b.mu.Unlock()
	if before == nil || after == nil || before.capacity != after.capacity || before.allocatable != after.allocatable {
		select {
		case b.changes <- struct{}{}:
		default: // one is on its way
		}
	}
}

func (b *Builtin) pod(was, is any) {
	before, _ := was.(*pod)
	after, _ := is.(*pod)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total.movePod(before, after)
}

// Start watches until ctx ends.
func (b *Builtin) Start(ctx context.Context) error {
	var both sync.WaitGroup
	both.Go(func() { b.nodes.informer.RunWithContext(ctx) })
	both.Go(func() { b.pods.informer.RunWithContext(ctx) })
	both.Wait()
	return nil
}

// Changes announces changes of the nodes.
func (b *Builtin) Changes() <-chan struct{} { return b.changes }

// Collect reports the sums of now.
func (b *Builtin) Collect(ctx context.Context) (*report.Inventory, error) {
	nodes, pods := b.nodes.wait(ctx), b.pods.wait(ctx)
	if !nodes {
		return nil, errors.New("nodes are not listed yet; may the agent list and watch them?")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !pods {
		return b.total.inventory(false), errors.New("pods are not listed yet; may the agent list and watch them?")
	}
	return b.total.inventory(true), nil
}
