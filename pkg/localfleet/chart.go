package localfleet

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/action"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/kube"
	"helm.sh/helm/v4/pkg/release"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage/driver"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/flagship-fleet/flagship/charts"
	"github.com/flagship-fleet/flagship/pkg/brief"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// installed is the saved state of an installed chart.
type installed struct {
	// Namespace is the agent's.
	Namespace string `json:"namespace"`
	// Deployment is the agent's name, in that namespace.
	Deployment string `json:"deployment"`
	// Definitions is whether the chart installed the CustomResourceDefinitions.
	Definitions bool `json:"definitions"`
	// Sum changes with the chart and its values.
	Sum string `json:"sum"`
}

func (c *cluster) chartName() string {
	if c.member == nil {
		return charts.HubAgent
	}
	return charts.MemberAgent
}

// installChart installs the cluster's chart as its administrator, or upgrades an earlier installation if it has
// changed.
func (f *Fleet) installChart(ctx context.Context, c *cluster) error {
	loaded, err := f.loadChart(c.chartName())
	if err != nil {
		return err
	}
	values, err := f.values(c)
	if err != nil {
		return err
	}
	sum, err := sumOf(loaded, values)
	if err != nil {
		return fmt.Errorf("chart %s: %w", c.chartName(), err)
	}
	if c.hasInstalled(ctx, sum) {
		return nil
	}
	f.report(c, "installing chart "+c.chartName(), false)
	config, err := c.admin()
	if err != nil {
		return err
	}
	namespace := contract.NamespaceSystem
	if given, ok := values["namespace"].(string); ok && given != "" {
		namespace = given
	}
	clientset, err := c.clientset()
	if err != nil {
		return err
	}
	if err := ensureNamespace(ctx, clientset, namespace); err != nil {
		return fmt.Errorf("prepare cluster %s: %w", c.Name, err)
	}
	released, err := f.release(ctx, config, c.chartName(), namespace, loaded, values)
	if err != nil {
		return fmt.Errorf("install chart %s in cluster %s: %w", c.chartName(), c.Name, err)
	}
	deployment, err := deploymentIn(released.Manifest)
	if err != nil {
		return fmt.Errorf("chart %s: %w", c.chartName(), err)
	}
	c.chart = &installed{Namespace: deployment.Namespace, Deployment: deployment.Name, Definitions: values["installCRDs"] != false, Sum: sum}
	return c.rememberChart()
}

// sumOf is a digest of all inputs of an installation.
func sumOf(c *chart.Chart, values map[string]any) (string, error) {
	sum := sha256.New()
	for _, file := range c.Raw {
		fmt.Fprintf(sum, "%s %d\n", file.Name, len(file.Data))
		sum.Write(file.Data)
	}
	err := json.NewEncoder(sum).Encode(values)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// hasInstalled reports whether the saved state is of this same chart. In doubt the chart is upgraded, which only costs
// time.
func (c *cluster) hasInstalled(ctx context.Context, sum string) bool {
	data, err := os.ReadFile(c.path(chartState))
	if err != nil {
		return false
	}
	var known installed
	if err := json.Unmarshal(data, &known); err != nil || known.Sum != sum { //nolint:forbidigo // our own file
		return false
	}
	c.chart = &known
	_, err = c.podSpec(ctx)
	return err == nil
}

func (c *cluster) rememberChart() error {
	data, err := json.Marshal(c.chart)
	if err == nil {
		err = os.WriteFile(c.path(chartState), data, filePermission)
	}
	if err != nil {
		return fmt.Errorf("save the chart state of cluster %s: %w", c.Name, err)
	}
	return nil
}

func (f *Fleet) loadChart(name string) (*chart.Chart, error) {
	if f.options.ChartDir == "" {
		return charts.Load(name)
	}
	path := filepath.Join(f.options.ChartDir, name)
	loaded, err := loader.Load(path)
	if err != nil {
		return nil, fmt.Errorf("load chart %s: %w", path, err)
	}
	return loaded, nil
}

// values are the user's values on top of those for a fleet on one machine. There are no replicas, because the agent is
// a local process and the simulated nodes of a member would report that they run it.
func (f *Fleet) values(c *cluster) (map[string]any, error) {
	values := map[string]any{"replicaCount": 0}
	if c.member != nil {
		hub, err := f.hub().admin()
		if err != nil {
			return nil, err
		}
		values["config"] = map[string]any{
			"hubURL":            hub.Host,
			"hubCA":             base64.StdEncoding.EncodeToString(hub.CAData),
			"memberClusterName": c.Name,
		}
		values["extraArgs"] = map[string]any{"hub-copy-dir": c.path("hub-copy")} // there is no pod whose memory could hold it
	}
	values = merge(values, c.Agent.Values)
	if len(c.Agent.Flags) > 0 {
		flags := map[string]any{}
		for name, value := range c.Agent.Flags {
			flags[name] = value
		}
		values = merge(values, map[string]any{"extraArgs": flags})
	}
	return values, nil
}

// merge merges over into under, map by map.
func merge(under, over map[string]any) map[string]any {
	merged := maps.Clone(under)
	for key, value := range over {
		below, ok := merged[key].(map[string]any)
		above, both := value.(map[string]any)
		if ok && both {
			value = merge(below, above)
		}
		merged[key] = value
	}
	return merged
}

func ensureNamespace(ctx context.Context, kube *kubernetes.Clientset, name string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err := kube.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", name, err)
	}
	return nil
}

func (f *Fleet) release(ctx context.Context, config *rest.Config, name, namespace string, c *chart.Chart, values map[string]any) (*releasev1.Release, error) {
	helm := action.NewConfiguration(action.ConfigurationSetLogger(slog.DiscardHandler))
	if err := helm.Init(newGetter(config, namespace), namespace, "secret"); err != nil {
		return nil, err
	}
	exists, err := releaseExists(helm, name)
	if err != nil {
		return nil, err
	}
	var released release.Releaser
	if exists {
		upgrade := action.NewUpgrade(helm)
		upgrade.Namespace = namespace
		upgrade.WaitStrategy = kube.HookOnlyStrategy
		upgrade.DisableOpenAPIValidation = true // the API server validates requests
		upgrade.ResetValues = true
		upgrade.MaxHistory = 2
		upgrade.Timeout = f.options.Patience
		released, err = upgrade.RunWithContext(ctx, name, c, values)
	} else {
		install := action.NewInstall(helm)
		install.ReleaseName = name
		install.Namespace = namespace
		install.WaitStrategy = kube.HookOnlyStrategy
		install.DisableOpenAPIValidation = true
		install.Timeout = f.options.Patience
		released, err = install.RunWithContext(ctx, c, values)
	}
	if err != nil {
		return nil, err
	}
	typed, ok := released.(*releasev1.Release)
	if !ok {
		return nil, fmt.Errorf("helm returned a release of type %T", released)
	}
	return typed, nil
}

// releaseExists reports whether there is a release to upgrade. A release that never finished, because its command was
// interrupted, is deleted: Helm would refuse to continue from it, and the locked folder excludes other commands.
func releaseExists(helm *action.Configuration, name string) (bool, error) {
	for {
		last, err := helm.Releases.Last(name)
		if errors.Is(err, driver.ErrReleaseNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		typed, ok := last.(*releasev1.Release)
		if !ok {
			return false, fmt.Errorf("helm returned a release of type %T", last)
		}
		if !typed.Info.Status.IsPending() {
			return true, nil
		}
		if _, err := helm.Releases.Delete(name, typed.Version); err != nil {
			return false, err
		}
	}
}

func deploymentIn(manifest string) (types.NamespacedName, error) {
	for _, document := range strings.Split("\n"+manifest, "\n---\n") {
		var deployment appsv1.Deployment
		// Definitions are long; only what may be a Deployment is decoded.
		if !strings.Contains(document, "kind: Deployment") {
			continue
		}
		if err := yaml.Unmarshal([]byte(document), &deployment); err != nil || deployment.Kind != "Deployment" {
			continue
		}
		return types.NamespacedName{Namespace: deployment.Namespace, Name: deployment.Name}, nil
	}
	return types.NamespacedName{}, errors.New("renders no Deployment for the agent")
}

// awaitKinds returns when the cluster serves all kinds of its chart.
func (f *Fleet) awaitKinds(ctx context.Context, c *cluster) error {
	wanted, err := charts.CRDs(c.chartName())
	if err != nil {
		return err
	}
	if len(wanted) == 0 {
		return fmt.Errorf("chart %s contains no CustomResourceDefinitions; generate them with \"make generate\" and build again", c.chartName())
	}
	config, err := c.admin()
	if err != nil {
		return err
	}
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("reach cluster %s: %w", c.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, f.options.Patience)
	defer cancel()
	var missing []string
	err = until(ctx, func() (bool, error) {
		if !c.server.running() {
			return false, c.server.failure()
		}
		served, err := servedBy(client)
		missing = slices.DeleteFunc(slices.Clone(wanted), func(name string) bool { return served[name] })
		return err == nil && len(missing) == 0, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		remedy := "check its conditions with kubectl describe"
		if !c.chart.Definitions {
			remedy = "the chart's value installCRDs is false, so install the definition yourself, or remove that value"
		}
		return fmt.Errorf("cluster %s does not serve the CustomResourceDefinition %s: %s", c.Name, brief.List(missing, 3), remedy)
	}
	return err
}

func servedBy(client discovery.DiscoveryInterface) (map[string]bool, error) {
	_, lists, err := client.ServerGroupsAndResources()
	if err != nil {
		return nil, err
	}
	served := map[string]bool{}
	for _, list := range lists {
		group, _, _ := strings.Cut(list.GroupVersion, "/")
		for _, resource := range list.APIResources {
			served[resource.Name+"."+group] = true
		}
	}
	return served, nil
}

// getter provides Helm with clients from a rest.Config, without the discovery cache on disk, which identifies clusters
// only by host and port.
type getter struct {
	config    *rest.Config
	namespace string
	discovery discovery.CachedDiscoveryInterface
	err       error
}

func newGetter(config *rest.Config, namespace string) *getter {
	g := &getter{config: config, namespace: namespace}
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		g.err = err
		return g
	}
	g.discovery = memory.NewMemCacheClient(client)
	return g
}

func (g *getter) ToRESTConfig() (*rest.Config, error) { return rest.CopyConfig(g.config), nil }

func (g *getter) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	return g.discovery, g.err
}

func (g *getter) ToRESTMapper() (meta.RESTMapper, error) {
	if g.err != nil {
		return nil, g.err
	}
	return restmapper.NewDeferredDiscoveryRESTMapper(g.discovery), nil
}

func (g *getter) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	overrides := &clientcmd.ConfigOverrides{}
	overrides.Context.Namespace = g.namespace
	return clientcmd.NewDefaultClientConfig(*kubeconfigOf(g.config, ""), overrides)
}
