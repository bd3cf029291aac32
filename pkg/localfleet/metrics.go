package localfleet

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// metricsReader is a ServiceAccount in the namespace of each agent with read access to the agent's metrics.
const metricsReader = "fleet-metrics-reader"

// Metrics reads the metrics of the agent of cluster name with a token that has access, as a scraper does.
func (f *Fleet) Metrics(ctx context.Context, name string) (string, error) {
	c, err := f.cluster(name)
	if err != nil {
		return "", err
	}
	token, err := f.metricsToken(ctx, c)
	if err != nil {
		return "", fmt.Errorf("read metrics of the agent of %s: %w", name, err)
	}
	return f.MetricsAs(ctx, name, token)
}

// MetricsAs reads the metrics of the agent of cluster name with a token, or without one if it is empty. The agent's
// certificate is self-signed and not verified.
func (f *Fleet) MetricsAs(ctx context.Context, name, token string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.AgentMetricsURL(name), nil)
	if err != nil {
		return "", fmt.Errorf("read metrics of the agent of %s: %w", name, err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return "", fmt.Errorf("read metrics of the agent of %s: %w", name, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("unexpected status %s", response.Status)
	}
	if err != nil {
		return "", fmt.Errorf("read metrics of the agent of %s: %w", name, err)
	}
	return string(body), nil
}

// metricsToken is empty for an agent that requires none.
func (f *Fleet) metricsToken(ctx context.Context, c *cluster) (string, error) {
	if c.plainMetrics {
		return "", nil
	}
	kube, err := c.clientset()
	if err != nil {
		return "", err
	}
	if err := ensureServiceAccount(ctx, kube, Identity{Namespace: c.chart.Namespace, Name: metricsReader}); err != nil {
		return "", err
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: metricsReader},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: c.chart.Deployment + "-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: c.chart.Namespace, Name: metricsReader}},
	}
	_, err = kube.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return "", fmt.Errorf("grant %s access to metrics: %w", metricsReader, err)
	}
	return mint(ctx, kube, c.chart.Namespace, metricsReader)
}
