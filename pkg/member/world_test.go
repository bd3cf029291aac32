package member_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/member"
	"github.com/flagship-fleet/flagship/pkg/member/hublink"
	"github.com/flagship-fleet/flagship/pkg/membership"
	"github.com/flagship-fleet/flagship/pkg/report"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// world is a hub and a member on real API servers, without a hub agent: the tests do what it would.
type world struct {
	t           *testing.T
	hub, member client.Client
	spoke       *testworld.Cluster
	hubCA       []byte
	// hubFiles is the folder of the hub's cluster.
	hubFiles string
	// way is how agents reach the hub; it can be closed.
	way *way
}

func newWorld(t *testing.T) *world {
	t.Helper()
	log := logr.Discard()
	if testing.Verbose() {
		log = klog.NewKlogr()
	}
	ctrl.SetLogger(log)
	both := testworld.StartClusters(t,
		testworld.ClusterOptions{Name: "hub", CRDs: []string{"hub-agent/files/crds/*_internalmemberclusters.yaml", "hub-agent/files/crds/*_works.yaml"}},
		testworld.ClusterOptions{Name: "spoke", Nodes: 2}) // its CRD is a test's to install
	hub, spoke := both[0], both[1]
	t.Setenv("KUBECONFIG", spoke.Kubeconfig)
	return &world{
		t: t, hub: hub.Client, member: spoke.Client, spoke: spoke,
		hubCA: hub.Config.CAData, hubFiles: filepath.Dir(hub.Kubeconfig), way: openWay(t, hub.Config.Host),
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil && !apierrors.IsAlreadyExists(err) {
		w.t.Fatal(err)
	}
}

// until waits for check to return nil.
func (w *world) until(what string, check func() error) {
	w.t.Helper()
	testworld.Await(w.t, testworld.Workload, what, func(context.Context) error { return check() })
}

// way is a TCP relay to the hub that can be closed, as if the hub were not there.
type way struct {
	target, address string

	mu       sync.Mutex
	closed   bool
	listener net.Listener
	open     map[net.Conn]bool
}

func openWay(t *testing.T, hub string) *way {
	t.Helper()
	u, err := url.Parse(hub)
	if err != nil {
		t.Fatal(err)
	}
	address, err := testworld.FreeAddress() // it closes, and opens again
	if err != nil {
		t.Fatal(err)
	}
	w := &way{target: u.Host, address: address, open: map[net.Conn]bool{}}
	if err := w.up(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.down)
	return w
}

func (w *way) up() error {
	listener, err := net.Listen("tcp", w.address)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.listener, w.closed = listener, false
	w.mu.Unlock()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go w.relay(conn)
		}
	}()
	return nil
}

func (w *way) relay(from net.Conn) {
	to, err := net.Dial("tcp", w.target)
	if err != nil {
		from.Close()
		return
	}
	w.mu.Lock()
	w.open[from], w.open[to] = true, true
	if w.closed { // while the hub was dialled
		from.Close()
		to.Close()
	}
	w.mu.Unlock()
	go func() { _, _ = io.Copy(to, from); to.Close() }()
	_, _ = io.Copy(from, to)
	from.Close()
}

func (w *way) down() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.listener.Close()
	for conn := range w.open {
		conn.Close()
	}
	w.open = map[net.Conn]bool{}
}

// guest is one member name with everything that belongs to it on both clusters.
type guest struct {
	*world
	name   string
	period int32
}

func (w *world) guest(t *testing.T, name string, period int32) *guest {
	copied := *w
	copied.t = t
	// One cluster plays all the guests, one after the other.
	marker := membership.Marker{}.ConfigMap()
	copied.must(client.IgnoreNotFound(copied.member.Delete(t.Context(), marker)))
	return &guest{world: &copied, name: name, period: period}
}

func (g *guest) namespace() string { return "fleet-member-" + g.name }

func (g *guest) createNamespace() {
	g.t.Helper()
	g.must(g.hub.Create(g.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: g.namespace()}}))
}

func (g *guest) access() (*rbacv1.Role, *rbacv1.RoleBinding) {
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: g.namespace(), Name: "fleet-role-" + g.name}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"cluster.kubernetes-fleet.io", "placement.kubernetes-fleet.io"}, Resources: []string{"*"}, Verbs: []string{"*"}},
		{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"get", "list", "watch", "create", "update", "patch"}},
	}}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: g.namespace(), Name: "fleet-rolebinding-" + g.name},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "default", Name: g.name}}}
	return role, binding
}

func (g *guest) letIn() {
	g.t.Helper()
	role, binding := g.access()
	g.must(g.hub.Create(g.t.Context(), role))
	g.must(g.hub.Create(g.t.Context(), binding))
}

func (g *guest) shutOut() {
	g.t.Helper()
	_, binding := g.access()
	g.must(g.hub.Delete(g.t.Context(), binding))
}

func (g *guest) invite() {
	g.t.Helper()
	g.must(g.hub.Create(g.t.Context(), &clusterv1beta1.InternalMemberCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: g.namespace(), Name: g.name},
		Spec:       clusterv1beta1.InternalMemberClusterSpec{State: clusterv1beta1.ClusterStateJoin, HeartbeatPeriodSeconds: g.period},
	}))
}

func (g *guest) ask(state clusterv1beta1.ClusterState) {
	g.t.Helper()
	g.until("the state is asked for", func() error {
		imc := g.imc()
		imc.Spec.State = state
		return g.hub.Update(g.t.Context(), imc)
	})
}

// giveToken makes a token of the guest's identity on the hub, and stores it on the member.
func (g *guest) giveToken() {
	g.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: g.name}}
	g.must(g.hub.Create(g.t.Context(), account))
	request := &authenticationv1.TokenRequest{}
	g.must(g.hub.SubResource("token").Create(g.t.Context(), account, request))
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: g.name}}
	_, err := ctrl.CreateOrUpdate(g.t.Context(), g.member, secret, func() error {
		secret.Data = map[string][]byte{"token": []byte(request.Status.Token)}
		return nil
	})
	g.must(err)
}

// revoke makes every token of the guest's identity worthless.
func (g *guest) revoke() {
	g.t.Helper()
	g.must(g.hub.Delete(g.t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: g.name}}))
}

func (g *guest) imc() *clusterv1beta1.InternalMemberCluster {
	g.t.Helper()
	imc := &clusterv1beta1.InternalMemberCluster{}
	g.must(g.hub.Get(g.t.Context(), types.NamespacedName{Namespace: g.namespace(), Name: g.name}, imc))
	return imc
}

// joined is nil if the agent reports Joined with status.
func (g *guest) joined(status metav1.ConditionStatus) error {
	imc := g.imc()
	agent := report.Agent(&imc.Status, clusterv1beta1.AgentTypeMemberAgent)
	if agent == nil || !meta.IsStatusConditionPresentAndEqual(agent.Conditions, clusterv1beta1.ConditionJoined, status) {
		return fmt.Errorf("the agent reports %+v", agent)
	}
	return nil
}

func (g *guest) lastBeat() time.Time {
	imc := g.imc()
	if agent := report.Agent(&imc.Status, clusterv1beta1.AgentTypeMemberAgent); agent != nil {
		return agent.LastReceivedHeartbeat.Time
	}
	return time.Time{}
}

// agent is a member agent that runs in this process.
type agent struct {
	*guest
	*testworld.Running
	probes string
}

func (g *guest) start(change ...func(*member.Options)) *agent {
	g.t.Helper()
	address, err := testworld.FreeAddress()
	g.must(err)
	options := member.Options{
		Hub: hublink.Settings{
			Server: "https://" + g.way.address, Member: g.name, CA: g.hubCA,
			TokenSecret: types.NamespacedName{Namespace: "default", Name: g.name},
		},
		ProbeAddress: address, HubProbeAddress: "0", MetricsAddress: "0", HubMetricsAddress: "0",
		HubQPS: 50, HubBurst: 500, MemberQPS: 250, MemberBurst: 1000, DeletionWait: 5,
		LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryWait: 2 * time.Second, LeaderNamespace: "kube-system",
	}
	for _, f := range change {
		f(&options)
	}
	run := func(ctx context.Context) error { return member.Run(ctx, options) }
	return &agent{guest: g, Running: testworld.Go(g.t, "the agent", run), probes: "http://" + address}
}

// says is the answer of the agent's readiness probe; "ok" if it is ready.
func (a *agent) says() string {
	response, err := http.Get(a.probes + "/readyz")
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}

// running fails the test if the agent has ended.
func (a *agent) running() {
	a.t.Helper()
	select {
	case <-a.Ended():
		a.t.Error("the agent has ended")
		a.Stop() // shows why
	default:
	}
}

func (a *agent) saysOf(part string) error {
	if said := a.says(); !strings.Contains(said, part) {
		return errors.New(said)
	}
	return nil
}

func (a *agent) ready() error {
	if said := a.says(); said != "ok" {
		return errors.New(said)
	}
	return nil
}

// certificate signs a client certificate for user, valid for age, and writes it and its key to files in dir.
func (g *guest) certificate(dir, user string, age time.Duration) {
	g.t.Helper()
	found, err := filepath.Glob(filepath.Join(g.hubFiles, "data", "*", "ca.key"))
	if err != nil || len(found) != 1 {
		g.t.Fatalf("the hub's signing key is not the one of %v: %v", found, err)
	}
	authority, err := tls.LoadX509KeyPair(strings.TrimSuffix(found[0], ".key")+".crt", found[0])
	g.must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.must(err)
	now := time.Now()
	made, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: user},
		NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(age), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, authority.Leaf, key.Public(), authority.PrivateKey)
	g.must(err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	g.must(err)
	g.must(os.WriteFile(filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	g.must(os.WriteFile(filepath.Join(dir, "tls.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made}), 0o600))
}

// letInUser binds the guest's role to a user of that name only.
func (g *guest) letInUser(user string) {
	g.t.Helper()
	role, binding := g.access()
	g.must(g.hub.Create(g.t.Context(), role))
	_, err := ctrl.CreateOrUpdate(g.t.Context(), g.hub, binding, func() error {
		binding.Subjects = []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}}
		return nil
	})
	g.must(err)
}
