package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// Promise 1: the hub is put back to an older state, as by restoring a backup of etcd. What it no longer knows of is
// kept on the member, what is kept is said where its owners look, and each of both has a way to end it.
func TestHubRestoredFromAnOlderBackup(t *testing.T) {
	ctx := t.Context()
	place(t, "early", "a")
	awaitOnMember(t, "early", "a")
	backup := filepath.Join(t.TempDir(), "backup")
	withHubDown(t, func(data string) error { return os.CopyFS(backup, os.DirFS(data)) })

	// What happens after the backup: an object more in a placement, and a placement more.
	add := testworld.ConfigMap("early", "later")
	add.Name = "b"
	testworld.Create(t, theHub, hubName, add)
	awaitOnMember(t, "early", "b")
	place(t, "late", "c")
	awaitOnMember(t, "late", "c")
	before := versions(t)

	withHubDown(t, func(data string) error {
		if err := os.RemoveAll(data); err != nil {
			return err
		}
		return os.CopyFS(data, os.DirFS(backup))
	})

	work := &v1beta1.Work{ObjectMeta: metav1.ObjectMeta{Namespace: onHub, Name: "early-work"}}
	testworld.Await(t, testworld.Long, "the Work of early to say that b is held", func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(work), work); err != nil {
			return err
		}
		return heldBy(work.Status.Conditions, "ConfigMap early/b", contract.AnnotationHeld)
	})
	ledger := &v1beta1.AppliedWork{ObjectMeta: metav1.ObjectMeta{Name: "late-work"}}
	testworld.Await(t, testworld.Long, "the ledger of late to say that it is held", func(ctx context.Context) error {
		if err := c1.Get(ctx, client.ObjectKeyFromObject(ledger), ledger); err != nil {
			return err
		}
		return heldBy(ledger.Status.Conditions, "no Work late-work", "--cascade=orphan")
	})
	for name, uid := range versions(t) {
		if before[name] != uid {
			t.Errorf("%s was made anew", name)
		}
		delete(before, name)
	}
	if len(before) > 0 {
		t.Errorf("gone from the member: %v", before)
	}

	// The member's owner releases b and lets late go.
	release := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "early", Name: "b"}}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, contract.AnnotationHeld, contract.HeldRelease)
	if err := c1.Patch(ctx, release, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		t.Fatal(err)
	}
	if err := c1.Delete(ctx, ledger); err != nil {
		t.Fatal(err)
	}
	for _, obj := range []client.Object{release, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "late", Name: "c"}}} {
		testworld.AwaitGone(t, c1, obj, nil)
	}
}

// withHubDown does something to the data of the hub while its agent and its API server are stopped. The member agent
// goes on.
func withHubDown(t *testing.T, do func(data string) error) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	steps := []func() error{
		func() error { return fleet.StopAgent(ctx, "hub") },
		func() error { return fleet.StopCluster(ctx, "hub") },
		func() error { return do(filepath.Join(fleet.Dir(), "hub", "data")) },
		func() error { return fleet.StartCluster(ctx, "hub") },
		func() error { return fleet.StartAgent(ctx, "hub") },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			t.Fatalf("replace the data of the hub: %v", err)
		}
	}
}

// place makes a namespace with one config map on the hub and places it.
func place(t *testing.T, name, object string) {
	t.Helper()
	testworld.Create(t, theHub, hubName, testworld.Namespace(name))
	cm := testworld.ConfigMap(name, "first")
	cm.Name = object
	testworld.Create(t, theHub, hubName, cm)
	testworld.Create(t, theHub, hubName, testworld.ClusterPlacement(name, name, testworld.PickFixed(memberName)))
}

func awaitOnMember(t *testing.T, namespace, name string) {
	t.Helper()
	testworld.AwaitPresent(t, c1, memberName, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
}

// versions are the UIDs of what was placed.
func versions(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, at := range [][2]string{{"early", "a"}, {"early", "b"}, {"late", "c"}} {
		cm := &corev1.ConfigMap{}
		if err := c1.Get(t.Context(), client.ObjectKey{Namespace: at[0], Name: at[1]}, cm); err != nil {
			t.Errorf("ConfigMap %s/%s: %v", at[0], at[1], err)
			continue
		}
		out[at[0]+"/"+at[1]] = string(cm.UID)
	}
	return out
}

func heldBy(conditions []metav1.Condition, words ...string) error {
	c := meta.FindStatusCondition(conditions, report.ConditionHeld)
	if c == nil || c.Status != metav1.ConditionTrue {
		return fmt.Errorf("Held is %+v", c)
	}
	for _, word := range words {
		if !strings.Contains(c.Message, word) {
			return fmt.Errorf("the message lacks %q: %s", word, c.Message)
		}
	}
	return nil
}
