package failover

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/failover"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

const region = "topology.kubernetes.io/region"

// member was heard that long ago, and is silent in that state since then; empty for none.
func member(name string, heard time.Duration, state clusterv1beta1.SilenceState) *clusterv1beta1.MemberCluster {
	c := testworld.NewMemberCluster(name)
	c.Labels = map[string]string{region: "west"}
	last := metav1.NewTime(now.Add(-heard))
	c.Status.AgentStatus = []clusterv1beta1.AgentStatus{{Type: clusterv1beta1.AgentTypeMemberAgent, LastReceivedHeartbeat: last}}
	if state != "" {
		c.Status.Silence = &clusterv1beta1.ClusterSilence{Since: last, State: state, StateSince: last}
	}
	return c
}

func announced(c *clusterv1beta1.MemberCluster) *clusterv1beta1.MemberCluster {
	c.Annotations = map[string]string{contract.AnnotationAway: "true"}
	return c
}

// binding is one of the placement web, to a cluster that another one replaces; empty for none.
func binding(cluster, replacedBy string) *v1beta1.ClusterResourceBinding {
	b := &v1beta1.ClusterResourceBinding{}
	b.Name = "web-" + cluster
	b.Labels = map[string]string{contract.LabelPlacement: "web"}
	b.Spec.TargetCluster = cluster
	if replacedBy != "" {
		e := failover.Exchange{With: replacedBy, Reason: failover.Lost, Since: metav1.NewTime(now.Add(-10 * time.Minute))}
		b.Annotations = map[string]string{contract.AnnotationReplacedBy: e.String()}
	}
	return b
}

func printed(t *testing.T, s status, format string) string {
	t.Helper()
	var out strings.Builder
	if err := s.print(&out, format, now); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestStatus(t *testing.T) {
	clusters := []*clusterv1beta1.MemberCluster{
		member("a", 10*time.Minute, clusterv1beta1.SilenceLost), member("b", time.Second, ""), member("c", 3*time.Minute, clusterv1beta1.SilenceSuspected),
		announced(member("d", 3*time.Hour, "")), member("e", time.Second, clusterv1beta1.SilenceOver), testworld.NewMemberCluster("f"),
	}
	odd, orphan, removed := binding("g", ""), binding("h", "z"), binding("i", "b")
	odd.Annotations = map[string]string{contract.AnnotationReplacedBy: "{"}
	removed.DeletionTimestamp = &metav1.Time{Time: now}
	bindings := []v1beta1.BindingObject{removed, binding("e", "b"), binding("a", "b"), binding("b", ""), odd, orphan}
	s := statusOf(clusters, bindings, region, now)
	const want = `Failovers are not braked: 1 of 4 clusters suspected.

CLUSTER   STATE       SINCE     LAST HEARTBEAT   DOMAIN
a         Lost        10m ago   10m ago          west
c         Suspected   3m ago    3m ago           west
d         Away        -         3h ago           west
e         Over        1s ago    1s ago           west

PLACEMENT                      FROM   TO    REASON   SINCE     OLD COPY
ClusterResourcePlacement web   a      b     Lost     10m ago   waits until its cluster is heard
ClusterResourcePlacement web   e      b     Lost     10m ago   waits until b is available
ClusterResourcePlacement web   i      b     Lost     10m ago   is being removed
`
	if diff := cmp.Diff(want, printed(t, s, "table")); diff != "" {
		t.Error(diff)
	}
	for format, want := range map[string][]string{
		"json": {`"braked": false`, `"suspected": 1`, `"counted": 4`, `"state": "Away"`, `"oldCopy": "is being removed"`, `"lastHeartbeat": "2026-01-01T11:50:00Z"`},
		"yaml": {"braked: false\n", "name: a\n", "from: a\n"},
	} {
		got := printed(t, s, format)
		for _, part := range want {
			if !strings.Contains(got, part) {
				t.Errorf("%s without %q:\n%s", format, part, got)
			}
		}
	}
}

func TestStatusOfABrakedFleet(t *testing.T) {
	clusters := []*clusterv1beta1.MemberCluster{
		member("a", 10*time.Minute, clusterv1beta1.SilenceBraked), member("b", 10*time.Minute, clusterv1beta1.SilenceBraked), member("c", 0, ""),
	}
	const want = "Failovers are braked: 2 of 3 clusters suspected. The hub's own network may be the cause; if it is not, run: " +
		"kubectl fleet failover release CLUSTER\n"
	if got := printed(t, statusOf(clusters, nil, "", now), "table"); !strings.HasPrefix(got, want) || strings.Contains(got, "west") {
		t.Errorf("printed\n%s", got)
	}
}

func TestStatusOfAQuietFleet(t *testing.T) {
	s := statusOf([]*clusterv1beta1.MemberCluster{member("a", 0, "")}, nil, region, now)
	if got := printed(t, s, "table"); got != "Failovers are not braked: 0 of 1 clusters suspected.\n" {
		t.Errorf("printed %q", got)
	}
	if got := printed(t, s, "json"); !strings.Contains(got, `"clusters": []`) || !strings.Contains(got, `"left": []`) {
		t.Errorf("printed %s", got)
	}
}

func TestRelease(t *testing.T) {
	const silent = 5 * time.Minute
	leaving := member("g", silent, clusterv1beta1.SilenceBraked)
	leaving.DeletionTimestamp, leaving.Finalizers = &metav1.Time{Time: now}, []string{"x/y"}
	released := member("h", silent, clusterv1beta1.SilenceBraked)
	released.Annotations = map[string]string{contract.AnnotationRelease: failover.Release(released.Status.Silence)}
	earlier := member("i", silent, clusterv1beta1.SilenceBraked)
	earlier.Annotations = map[string]string{contract.AnnotationRelease: "2025-01-01T00:00:00Z"}
	objects := func() []client.Object {
		return []client.Object{
			member("a", silent, clusterv1beta1.SilenceSuspected), member("b", silent, clusterv1beta1.SilenceBraked), member("c", silent, clusterv1beta1.SilenceLost),
			member("d", 0, ""), member("e", 0, clusterv1beta1.SilenceOver), announced(member("f", silent, clusterv1beta1.SilenceBraked)),
			leaving.DeepCopy(), released.DeepCopy(), earlier.DeepCopy(),
		}
	}
	const done, would = ": released: placements with a failover policy leave it\n", ": would be released (dry run)\n"
	for what, tc := range map[string]struct {
		names       []string
		all, dryRun bool
		printed     string
		errs        []string
		// written are the clusters that have the annotation of their silence.
		written string
	}{
		"named":                      {names: []string{"b", "a"}, printed: "cluster b" + done + "cluster a" + done, written: "a b h"},
		"all":                        {all: true, printed: "cluster a" + done + "cluster b" + done + "cluster h: is already released\ncluster i" + done, written: "a b h i"},
		"all, dry run":               {all: true, dryRun: true, printed: "cluster a" + would + "cluster b" + would + "cluster h: is already released\ncluster i" + would, written: "h"},
		"lost":                       {names: []string{"c"}, printed: "cluster c" + done, written: "c h"},
		"released in an earlier one": {names: []string{"i"}, printed: "cluster i" + done, written: "h i"},
		"others than silent ones, beside a silent one": {
			names: []string{"d", "e", "f", "g", "x", "b"}, printed: "cluster b" + done, written: "b h",
			errs: []string{
				"release cluster d: it is not silent;", "release cluster e: it is Over;", "release cluster f: it is away;",
				"release cluster g: it is leaving", `there is no member cluster "x"`,
			},
		},
	} {
		t.Run(what, func(t *testing.T) {
			hub := fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(objects()...).Build()
			streams, _, out, _ := genericiooptions.NewTestIOStreams()
			o := &ReleaseOptions{clusters: tc.names, all: tc.all, dryRun: tc.dryRun, IOStreams: streams}
			err := o.release(t.Context(), hub)
			if (err != nil) != (len(tc.errs) > 0) {
				t.Errorf("error %v", err)
			}
			for _, part := range tc.errs {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %v; want %q", err, part)
				}
			}
			if out.String() != tc.printed {
				t.Errorf("printed\n%s\nwant\n%s", out, tc.printed)
			}
			clusters, err := clustersOf(t.Context(), hub)
			if err != nil {
				t.Fatal(err)
			}
			var written []string
			for _, c := range clusters {
				if s := c.Status.Silence; s != nil && c.Annotations[contract.AnnotationRelease] == failover.Release(s) {
					written = append(written, c.Name)
				}
			}
			if got := strings.Join(written, " "); got != tc.written {
				t.Errorf("released: %s; want %s", got, tc.written)
			}
		})
	}
}

func TestReleaseOfNone(t *testing.T) {
	hub := fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(member("a", 0, "")).Build()
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	o := &ReleaseOptions{all: true, IOStreams: streams}
	if err := o.release(t.Context(), hub); err != nil || out.String() != "no cluster is Suspected or Braked\n" {
		t.Errorf("printed %q, error %v", out, err)
	}
}

// The hub agent may begin another silence while the command runs: it releases the one that is there when it writes.
func TestReleaseAfterAConflict(t *testing.T) {
	later := metav1.NewTime(now.Add(time.Minute))
	conflicts := 0
	hub := fake.NewClientBuilder().WithScheme(apis.Scheme()).WithObjects(member("a", time.Minute, clusterv1beta1.SilenceBraked)).
		WithInterceptorFuncs(interceptor.Funcs{
			Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
				if conflicts++; conflicts > 1 {
					return c.Patch(ctx, obj, patch, opts...)
				}
				var is clusterv1beta1.MemberCluster
				if err := c.Get(ctx, client.ObjectKeyFromObject(obj), &is); err != nil {
					return err
				}
				is.Status.Silence.Since = later
				if err := c.Update(ctx, &is); err != nil {
					return err
				}
				return apierrors.NewConflict(schema.GroupResource{Resource: "memberclusters"}, "a", nil)
			},
		}).Build()
	o := &ReleaseOptions{clusters: []string{"a"}, IOStreams: genericiooptions.NewTestIOStreamsDiscard()}
	if err := o.release(t.Context(), hub); err != nil {
		t.Fatal(err)
	}
	var is clusterv1beta1.MemberCluster
	if err := hub.Get(t.Context(), client.ObjectKey{Name: "a"}, &is); err != nil {
		t.Fatal(err)
	}
	if got := is.Annotations[contract.AnnotationRelease]; got != later.UTC().Format(time.RFC3339) {
		t.Errorf("released %q", got)
	}
}

func TestArguments(t *testing.T) {
	for args, want := range map[string]string{
		"release":         "name the clusters, or use --all",
		"release a --all": "name no clusters with it",
		"status -o wide":  "use one of table, json, yaml",
		"status a":        "unknown command",
	} {
		streams := genericiooptions.NewTestIOStreamsDiscard()
		root := &cobra.Command{Use: "fleet", SilenceErrors: true, SilenceUsage: true}
		root.AddCommand(NewCommand(streams))
		root.SetArgs(append([]string{"failover"}, strings.Fields(args)...))
		if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", args, err, want)
		}
	}
}
