package walls

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// two-agents-one-cluster: the agent of another MemberCluster runs against the victim's cluster. It is refused, and its
// end takes nothing of what the victim was given.
func TestTwoAgentsOneCluster(t *testing.T) {
	t.Parallel()
	const name = "rg-two"
	create(t, theHub, testworld.Namespace(name))
	create(t, theHub, testworld.ConfigMap(name, "mine"))
	apply(t, theHub, input(t, "two-agents-one-cluster"))
	placed := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "cm"}}
	testworld.AwaitPresent(t, m2, m2.name, placed)
	before := placed.UID

	intruder, cluster := letIn(t, "rg-intruder")
	end := runAgent(t, intruder, cluster.Name, m2)
	internal := &clusterv1beta1.InternalMemberCluster{ObjectMeta: metav1.ObjectMeta{Namespace: contract.MemberNamespace(cluster.Name), Name: cluster.Name}}
	testworld.Await(t, testworld.Long, "the intruder to be refused", func(ctx context.Context) error {
		if err := intruder.Get(ctx, client.ObjectKeyFromObject(internal), internal); err != nil {
			return err
		}
		for _, agent := range internal.Status.AgentStatus {
			joined := meta.FindStatusCondition(agent.Conditions, clusterv1beta1.ConditionJoined)
			if joined != nil && joined.Status != metav1.ConditionTrue && strings.Contains(joined.Message, m2.namespace) {
				return nil
			}
		}
		return fmt.Errorf("it reports %+v", internal.Status.AgentStatus)
	})
	// The same namespace for the intruder, which then leaves.
	theirs := testworld.ClusterPlacement(name+"-theirs", name, testworld.PickFixed(cluster.Name))
	theirs.Finalizers = nil
	create(t, theHub, theirs)
	if err := theHub.Delete(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	testworld.AwaitGone(t, theHub, cluster, nil)
	end()
	arrives(t, "rg-after-intruder")
	if err := m2.Get(t.Context(), client.ObjectKeyFromObject(placed), placed); err != nil || placed.UID != before || placed.DeletionTimestamp != nil {
		t.Errorf("the victim's config map: error %v, UID %s (was %s), deletion time %v", err, placed.UID, before, placed.DeletionTimestamp)
	}
}

// runAgent runs a member agent for the MemberCluster called name against the cluster of m, beside the agent that is
// there. end stops it.
func runAgent(t *testing.T, onHub actor, name string, m member) (end func()) {
	t.Helper()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(onHub.config.BearerToken), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	agent := exec.CommandContext(ctx, "../../bin/memberagent", "--leader-elect=false", "--metrics-bind-address=0", "--hub-metrics-bind-address=0",
		"--health-probe-bind-address=0", "--hub-health-probe-bind-address=0")
	agent.Env = append(os.Environ(), "KUBECONFIG="+local.AgentKubeconfig(m.cluster), "HUB_SERVER_URL="+onHub.config.Host, "MEMBER_CLUSTER_NAME="+name,
		"CONFIG_PATH="+token, "HUB_CERTIFICATE_AUTHORITY="+base64.StdEncoding.EncodeToString(onHub.config.CAData))
	var log bytes.Buffer
	agent.Stdout, agent.Stderr = &log, &log
	if err := agent.Start(); err != nil {
		t.Fatalf("run a second agent: %v", err)
	}
	end = sync.OnceFunc(func() {
		cancel()
		_ = agent.Wait() // it was killed
		if t.Failed() {
			t.Logf("log of the second agent:\n%s", log.String())
		}
	})
	t.Cleanup(end)
	return end
}

// abandon-deletes: the placement's deletion leaves what was placed on the member, owned by nothing of ours.
func TestAbandonDeletes(t *testing.T) {
	t.Parallel()
	const name = "rg-keep"
	create(t, theHub, testworld.Namespace(name))
	create(t, theHub, testworld.ConfigMap(name, "kept"))
	placement := apply(t, theHub, input(t, "abandon-deletes"))[0]
	placed := []client.Object{&corev1.Namespace{}, &corev1.ConfigMap{}}
	placed[0].SetName(name)
	placed[1].SetNamespace(name)
	placed[1].SetName("cm")
	for _, obj := range placed {
		testworld.AwaitPresent(t, m2, m2.name, obj)
	}
	const watched = `{"metadata": {"finalizers": [%s]}}`
	patch := func(finalizers string) {
		t.Helper()
		if err := theHub.Patch(t.Context(), placement, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, watched, finalizers))); err != nil {
			t.Fatal(err)
		}
	}
	if err := theHub.Get(t.Context(), client.ObjectKeyFromObject(placement), placement); err != nil {
		t.Fatal(err)
	}
	patch(`"example.test/watched", "` + strings.Join(placement.GetFinalizers(), `", "`) + `"`)
	if err := theHub.Delete(t.Context(), placement); err != nil {
		t.Fatal(err)
	}
	testworld.Await(t, testworld.Workload, "the placement to be released, with the condition", func(ctx context.Context) error {
		now := &v1beta1.ClusterResourcePlacement{}
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(placement), now); err != nil {
			return err
		}
		if len(now.Finalizers) != 1 || !meta.IsStatusConditionTrue(now.Status.Conditions, "ClusterResourcePlacementAbandoned") {
			return fmt.Errorf("finalizers %v, conditions %+v", now.Finalizers, now.Status.Conditions)
		}
		return nil
	})
	testworld.AwaitEvents(t, theHub, metav1.NamespaceDefault, "an event on the placement", func(events []corev1.Event) bool {
		return slices.ContainsFunc(events, func(e corev1.Event) bool {
			return e.InvolvedObject.UID == placement.GetUID() && e.Reason == "ObjectsAbandoned" && strings.Contains(e.Message, "rg-m2")
		})
	})
	patch("")
	testworld.AwaitGone(t, theHub, placement, nil)
	for _, obj := range placed {
		testworld.Await(t, testworld.Workload, fmt.Sprintf("%T %s to be let go", obj, obj.GetName()), func(ctx context.Context) error {
			if err := m2.Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
				t.Fatalf("%T %s was deleted with its placement: %v", obj, obj.GetName(), err)
			}
			if owners := obj.GetOwnerReferences(); len(owners) > 0 {
				return fmt.Errorf("it is owned by %v", owners)
			}
			return nil
		})
	}
	arrives(t, "rg-after-abandon")
	for _, obj := range placed {
		if err := m2.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil || obj.GetDeletionTimestamp() != nil {
			t.Errorf("%T %s: error %v, deletion time %v", obj, obj.GetName(), err, obj.GetDeletionTimestamp())
		}
	}
}
