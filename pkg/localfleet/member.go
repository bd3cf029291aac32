package localfleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/flagship-fleet/flagship/apis"
	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

// letIn creates the member's identity on the hub and stores a token of it where the member's chart expects it.
func (f *Fleet) letIn(ctx context.Context, c *cluster) error {
	hub, err := f.hub().clientset()
	if err != nil {
		return err
	}
	identity := c.member.Identity
	if err := ensureNamespace(ctx, hub, identity.Namespace); err != nil {
		return fmt.Errorf("create the identity of member %s on the hub: %w", c.Name, err)
	}
	if err := ensureServiceAccount(ctx, hub, identity); err != nil {
		return fmt.Errorf("create the identity of member %s on the hub: %w", c.Name, err)
	}
	token, err := mint(ctx, hub, identity.Namespace, identity.Name)
	if err != nil {
		return fmt.Errorf("create a token for member %s on the hub: %w", c.Name, err)
	}
	pod, err := c.podSpec(ctx)
	if err != nil {
		return err
	}
	for _, v := range pod.Containers[0].Env {
		switch v.Name {
		case envTokenSecret:
			namespace, name, _ := strings.Cut(v.Value, "/")
			err = c.storeToken(ctx, namespace, name, token)
		case envTokenFile:
			err = writeSecretFile(c.path(hubToken), token)
		}
		if err != nil {
			return fmt.Errorf("store the hub token of member %s: %w", c.Name, err)
		}
	}
	return nil
}

func (c *cluster) storeToken(ctx context.Context, namespace, name, token string) error {
	clientset, err := c.clientset()
	if err != nil {
		return err
	}
	if err := ensureNamespace(ctx, clientset, namespace); err != nil {
		return err
	}
	config, err := c.admin()
	if err != nil {
		return err
	}
	kube, err := client.New(config, client.Options{})
	if err != nil {
		return err
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	_, err = controllerutil.CreateOrPatch(ctx, kube, secret, func() error {
		secret.Data = map[string][]byte{"token": []byte(token)}
		return nil
	})
	return err
}

// invite creates the member's MemberCluster, or updates an existing one to the Config.
func (f *Fleet) invite(ctx context.Context, c *cluster) error {
	hub, err := f.HubClient()
	if err != nil {
		return err
	}
	member := &clusterv1beta1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: c.Name}}
	_, err = controllerutil.CreateOrPatch(ctx, hub, member, func() error {
		if member.Labels == nil {
			member.Labels = map[string]string{}
		}
		for key, value := range c.member.Labels {
			member.Labels[key] = value
		}
		member.Spec.Identity = c.member.Identity.Subject()
		member.Spec.HeartbeatPeriodSeconds = c.member.HeartbeatPeriodSeconds
		member.Spec.Taints = c.member.Taints
		return nil
	})
	if err != nil {
		return fmt.Errorf("create MemberCluster %s: %w", c.Name, err)
	}
	f.report(c, "MemberCluster created", false)
	return nil
}

// Join joins a member whose Config has Join false, and returns when it has joined.
func (f *Fleet) Join(ctx context.Context, name string) error {
	c, err := f.cluster(name)
	if err != nil {
		return err
	}
	if c.member == nil {
		return fmt.Errorf("%s is the hub, not a member", name)
	}
	if err := f.awaitKinds(ctx, f.hub()); err != nil {
		return err
	}
	if err := f.invite(ctx, c); err != nil {
		return err
	}
	return f.awaitJoined(ctx, c)
}

// awaitJoined returns when the hub reports that the member has joined. It fails early if one of the two agents exits.
func (f *Fleet) awaitJoined(ctx context.Context, c *cluster) error {
	f.report(c, "joining", false)
	hub, err := f.HubClient()
	if err != nil {
		return err
	}
	outer := ctx
	ctx, cancel := f.patient(ctx)
	defer cancel()
	status := "the hub has reported no status yet"
	err = until(ctx, func() (bool, error) {
		for _, agent := range []*process{f.hub().agent, c.agent} {
			if agent != nil && !agent.running() {
				return false, agent.failure()
			}
		}
		var member clusterv1beta1.MemberCluster
		err := hub.Get(ctx, client.ObjectKey{Name: c.Name}, &member)
		if err != nil {
			status = err.Error() // a busy hub answers later
		}
		joined := meta.FindStatusCondition(member.Status.Conditions, clusterv1beta1.ConditionJoined)
		if err != nil || joined == nil {
			return false, nil //nolint:nilerr // see above
		}
		status = fmt.Sprintf("Joined is %s, %s: %s", joined.Status, joined.Reason, joined.Message)
		return joined.Status == metav1.ConditionTrue && c.reported(&member), nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("member %s has not joined after %s: %s%s", c.Name, f.options.Patience, status, f.waitsFor(outer, c))
	}
	return err
}

// reported reports whether the member's agent has reported since its start: an existing MemberCluster has Joined from
// before.
func (c *cluster) reported(member *clusterv1beta1.MemberCluster) bool {
	if c.agent == nil {
		return true
	}
	since := c.agent.launched.Truncate(time.Second) // as exact as a heartbeat
	return slices.ContainsFunc(member.Status.AgentStatus, func(a clusterv1beta1.AgentStatus) bool {
		return a.Type == clusterv1beta1.AgentTypeMemberAgent && !a.LastReceivedHeartbeat.Time.Before(since)
	})
}

// waitsFor describes what the agents of the hub and of c wait for.
func (f *Fleet) waitsFor(ctx context.Context, c *cluster) string {
	var text strings.Builder
	for _, name := range []string{f.Hub(), c.Name} {
		for _, ready := range f.AgentReadyURLs(name) {
			if answer := unready(ctx, ready); answer != "" {
				fmt.Fprintf(&text, "\nagent of %s is not ready (%s): %s", name, ready, answer)
			}
		}
		fmt.Fprintf(&text, "\nlog of the agent of %s: %s", name, f.AgentLog(name))
	}
	return text.String()
}

// unready is the answer of a readiness endpoint that is not ready; "" if it is.
func unready(ctx context.Context, address string) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"?verbose", nil)
	if err != nil {
		return err.Error()
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return ""
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err != nil {
		return response.Status
	}
	return strings.TrimSpace(string(body))
}

// HubClient is a client of the hub's administrator.
func (f *Fleet) HubClient() (client.Client, error) {
	config, err := f.hub().admin()
	if err != nil {
		return nil, err
	}
	hub, err := client.New(config, client.Options{Scheme: apis.Scheme()})
	if err != nil {
		return nil, fmt.Errorf("reach the hub: %w", err)
	}
	return hub, nil
}

func ensureServiceAccount(ctx context.Context, kube *kubernetes.Clientset, identity Identity) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: identity.Name}}
	_, err := kube.CoreV1().ServiceAccounts(identity.Namespace).Create(ctx, account, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create service account %s/%s: %w", identity.Namespace, identity.Name, err)
	}
	return nil
}
