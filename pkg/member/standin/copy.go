// Package standin lets a member agent that is started while its hub is away go on with what it was given. While the hub answers, each
// Work that the agent acts on is put on disk first; when it does not, the copy stands in for it. Nothing is ever deleted on its word, it
// is never older than what the member was given last, and it is thrown away in doubt: then the agent waits for the hub, and changes nothing.
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

// mostBytes bounds the copy. Works that do not fit are not in it, and wait for the hub.
const mostBytes = 64 << 20

// Epoch says when a copy was made. One that was made before somebody else led, or before the machine was started again, may be older than
// what the member was given last.
type Epoch struct {
	// Leader is the number of the leader that made it, 0 if nobody is elected.
	Leader int
	// Boot is the start of the machine.
	Boot string
}

// Boot names the start of this machine, "" where it has no name.
func Boot() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// follows says whether nobody was between an epoch and the next one of the same machine.
func (e Epoch) follows(before Epoch) bool {
	return e.Boot == before.Boot && (e.Leader == 0 && before.Leader == 0 || e.Leader == before.Leader+1)
}

// label is what the copy says of itself.
type label struct {
	Server, Member string
	Epoch          Epoch
	// Joined is whether the member was asked to be part of the fleet.
	Joined bool
}

// Copy is what the hub gave this member, in a folder. The zero value, and one whose disk fails, holds nothing.
type Copy struct {
	dir   string
	label label

	mu sync.Mutex
	// kept is what is known of each Work's file, and total their size.
	kept  map[string]kept
	total int
	// mine is whether the folder is of this process: begun or adopted by it.
	mine bool
}

// kept is one Work in the copy.
type kept struct {
	uid        types.UID
	version    string
	generation int64
	size       int
}

// In is the copy for a member of the hub at server, in a folder of its own below dir. An empty dir is no copy.
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

// fileOf is where a Work is. A name of an object is too long for some file systems, hence the sum.
func (c *Copy) fileOf(work string) string {
	return filepath.Join(c.dir, fmt.Sprintf("%016x%s", xxhash.Sum64String(work), workSuffix))
}

// Begin starts an empty copy: the hub answers, and says anew what there is.
func (c *Copy) Begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept, c.total, c.mine, c.label.Joined = map[string]kept{}, 0, false, false
	if c.dir == "" {
		return nil
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("empty the copy of what the hub says: %w", err)
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return fmt.Errorf("make a folder for the copy of what the hub says: %w", err)
	}
	c.mine = true
	return nil
}

// Drop throws the copy away: the hub does not let the agent in any more.
func (c *Copy) Drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop()
}

// drop removes the label first, without which the rest is worth nothing.
func (c *Copy) drop() {
	if c.dir != "" {
		_ = os.Remove(filepath.Join(c.dir, labelFile))
		_ = os.RemoveAll(c.dir)
	}
	c.mine = false
}

// Adopt returns the Works of a copy that this process may go on with; none if there is no such copy, or the member is to leave. Works
// that are being removed, or were never begun, are left out: their time comes when the hub is back.
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
		return nil, fmt.Errorf("read the copy of what the hub says: %w", err)
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
	return works, c.writeLabel() // whoever comes next follows this process
}

func (c *Copy) read() ([]placementv1beta1.Work, error) {
	files, err := filepath.Glob(filepath.Join(c.dir, "*"+workSuffix))
	if err != nil {
		return nil, fmt.Errorf("read the copy of what the hub says: %w", err)
	}
	var works []placementv1beta1.Work
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the copy of what the hub says: %w", err)
		}
		var work placementv1beta1.Work
		if err := json.Unmarshal(text, &work); err != nil { //nolint:forbidigo // this agent wrote it, and what is in it is read again
			return nil, fmt.Errorf("read the copy of what the hub says: %s: %w", filepath.Base(file), err)
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

// replace writes a file whole or not at all.
func replace(file string, text []byte) error {
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// keepWork puts a Work into the copy. An error means that the copy is no more.
func (c *Copy) keepWork(work *placementv1beta1.Work) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.kept[work.Name]
	// Whoever read it some time ago must not put an older order in the place of a newer one.
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

// dropWork takes a Work out of the copy.
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

// keepState remembers whether the member is to be part of the fleet.
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

// fail gives the copy up: a disk that does not take everything would keep what is old.
func (c *Copy) fail(err error) error {
	c.drop()
	return fmt.Errorf("keep a copy of what the hub says: %w", err)
}

// Recording is a client of the hub whose reads go into the copy before anybody acts on them.
func Recording(hub client.Client, copies *Copy) client.Client { return recording{hub, copies} }

type recording struct {
	client.Client
	copies *Copy
}

// Get reads an object, and keeps it. A copy that fails stops nobody: it is gone then, and the log says so.
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
		ctrl.LoggerFrom(ctx).Error(failure, "a restart while the hub is away will wait for the hub")
	}
	return err
}
