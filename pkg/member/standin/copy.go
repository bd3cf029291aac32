// Package standin lets a member agent that starts while its hub is unreachable keep the last known Works applied.
// While the hub answers, each Work is written to disk before the agent acts on it; when it does not, the copy stands
// in for it. The copy never causes a deletion, it is never older than the last state that the member received, and it
// is dropped in doubt: then the agent waits for the hub and changes nothing.
package standin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// mostBytes bounds the copy. Works that do not fit are left out and wait for the hub.
const mostBytes = 64 << 20

// Epoch is when a copy was made. A copy from before another leader, or before the machine was restarted, may be older
// than the last state that the member received.
type Epoch struct {
	// Leader is the number of the leader that made it; 0 without leader election.
	Leader int
	// Boot is the start of the machine.
	Boot string
}

// Boot identifies the start of this machine; "" if unknown.
func Boot() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// follows reports whether no other leader was between an epoch and the next one of the same machine.
func (e Epoch) follows(before Epoch) bool {
	return e.Boot == before.Boot && (e.Leader == 0 && before.Leader == 0 || e.Leader == before.Leader+1)
}

// label describes the copy.
type label struct {
	Server, Member string
	Epoch          Epoch
	// Joined is whether the hub requested that the member join.
	Joined bool
}

// Copy holds the hub's Works for this member, in a folder. The zero value, and one whose disk fails, is empty.
type Copy struct {
	dir   string
	label label

	mu sync.Mutex
	// kept describes each Work's file, and total is their size.
	kept  map[string]kept
	total int
	// mine is whether this process has begun or adopted the folder.
	mine bool
}

// kept is one Work in the copy.
type kept struct {
	uid        types.UID
	version    string
	generation int64
	size       int
}

// In is the copy for a member of the hub at server, in its own folder below dir. With an empty dir nothing is stored.
func In(dir, server, member string, epoch Epoch) *Copy {
	c := &Copy{label: label{Server: server, Member: member, Epoch: epoch}}
	if dir != "" {
		sum := xxhash.Sum64String(server + " " + member)
		c.dir = filepath.Join(dir, fmt.Sprintf("%s-%016x", member, sum))
	}
	return c
}

const (
	labelFile  = "copy.json"
	workSuffix = ".work.json"
)

// fileOf is the file of a Work. Object names are too long for some file systems, so the file has a hash of it.
func (c *Copy) fileOf(work string) string {
	return filepath.Join(c.dir, fmt.Sprintf("%016x%s", xxhash.Sum64String(work), workSuffix))
}

// Begin starts an empty copy: the hub answers and lists its Works anew.
func (c *Copy) Begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept, c.total, c.mine, c.label.Joined = map[string]kept{}, 0, false, false
	if c.dir == "" {
		return nil
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("empty the copy of the hub's Works: %w", err)
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return fmt.Errorf("make a folder for the copy of the hub's Works: %w", err)
	}
	c.mine = true
	return nil
}

// Drop deletes the copy: the hub no longer grants the agent access.
func (c *Copy) Drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop()
}

// drop removes the label first; without it the rest is never used.
func (c *Copy) drop() {
	if c.dir != "" {
		_ = os.Remove(filepath.Join(c.dir, labelFile))
		_ = os.RemoveAll(c.dir)
	}
	c.mine = false
}

// Adopt returns the Works of a copy that this process may use; none if there is no such copy, or the member has to
// leave. Works that are being deleted, or that the agent never began to apply, are left out: they wait for the hub.
func (c *Copy) Adopt() ([]placementv1beta1.Work, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dir == "" {
		return nil, nil
	}
	var found label
	text, err := os.ReadFile(filepath.Join(c.dir, labelFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &found) //nolint:forbidigo // this agent wrote it
	}
	if err != nil {
		return nil, fmt.Errorf("read the copy of the hub's Works: %w", err)
	}
	current := found.Epoch == c.label.Epoch && c.mine || c.label.Epoch.follows(found.Epoch)
	if found.Server != c.label.Server || found.Member != c.label.Member || !found.Joined || !current {
		return nil, nil
	}
	works, err := c.read()
	if err != nil {
		return nil, err
	}
	c.mine, c.label.Joined = true, true
	return works, c.writeLabel() // the next leader follows this process
}

func (c *Copy) read() ([]placementv1beta1.Work, error) {
	files, err := filepath.Glob(filepath.Join(c.dir, "*"+workSuffix))
	if err != nil {
		return nil, fmt.Errorf("read the copy of the hub's Works: %w", err)
	}
	var works []placementv1beta1.Work
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the copy of the hub's Works: %w", err)
		}
		var work placementv1beta1.Work
		if err := json.Unmarshal(text, &work); err != nil { //nolint:forbidigo // this agent wrote it, and the manifests in it are decoded again
			return nil, fmt.Errorf("read the copy of the hub's Works: %s: %w", filepath.Base(file), err)
		}
		if work.DeletionTimestamp.IsZero() && controllerutil.ContainsFinalizer(&work, contract.FinalizerWork) {
			works = append(works, work)
		}
	}
	return works, nil
}

func (c *Copy) writeLabel() error {
	text, err := json.Marshal(c.label)
	if err != nil {
		return err
	}
	return replace(filepath.Join(c.dir, labelFile), text)
}

// replace writes a file atomically.
func replace(file string, text []byte) error {
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// keepWork puts a Work into the copy. After an error the copy no longer exists.
func (c *Copy) keepWork(work *placementv1beta1.Work) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.kept[work.Name]
	// A goroutine that read the Work earlier must not replace a newer state with an older one.
	if !c.mine || was.version == work.ResourceVersion || was.uid == work.UID && was.generation > work.Generation {
		return nil
	}
	text, err := json.Marshal(work)
	if err != nil {
		return c.fail(err)
	}
	c.total += len(text) - was.size
	c.kept[work.Name] = kept{work.UID, work.ResourceVersion, work.Generation, len(text)}
	if c.total > mostBytes {
		return c.forget(work.Name)
	}
	if err := replace(c.fileOf(work.Name), text); err != nil {
		return c.fail(err)
	}
	return nil
}

// dropWork removes a Work from the copy.
func (c *Copy) dropWork(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.kept[name]; !c.mine || !there {
		return nil
	}
	return c.forget(name)
}

func (c *Copy) forget(name string) error {
	c.total -= c.kept[name].size
	delete(c.kept, name)
	if err := os.Remove(c.fileOf(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c.fail(err)
	}
	return nil
}

// keepState records whether the member is part of the fleet.
func (c *Copy) keepState(joined bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mine || c.label.Joined == joined {
		return nil
	}
	c.label.Joined = joined
	if err := c.writeLabel(); err != nil {
		return c.fail(err)
	}
	return nil
}

// fail drops the copy: a disk that refuses a write would keep an outdated state.
func (c *Copy) fail(err error) error {
	c.drop()
	return fmt.Errorf("keep a copy of the hub's Works: %w", err)
}

// Recording is a client of the hub whose reads are written to the copy before the caller gets them.
func Recording(hub client.Client, copies *Copy) client.Client { return recording{hub, copies} }

type recording struct {
	client.Client
	copies *Copy
}

// Get reads an object, and keeps it in the copy. If the copy fails, it is dropped and logged, and the read succeeds.
func (r recording) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	err := r.Client.Get(ctx, key, obj, opts...)
	var failure error
	switch o := obj.(type) {
	case *placementv1beta1.Work:
		if err == nil {
			failure = r.copies.keepWork(o)
		} else if apierrors.IsNotFound(err) {
			failure = r.copies.dropWork(key.Name)
		}
	case *clusterv1beta1.InternalMemberCluster:
		if err == nil {
			failure = r.copies.keepState(o.Spec.State == clusterv1beta1.ClusterStateJoin)
		}
	}
	if failure != nil {
		ctrl.LoggerFrom(ctx).Error(failure, "Dropped the local copy of the Works; after a restart the agent waits until the hub is reachable")
	}
	return err
}
