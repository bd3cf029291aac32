package localfleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/flagship-fleet/flagship/pkg/localfleet/freeport"
)

// tokenLife is longer than any local fleet exists, so that tokens need no renewal.
const tokenLife = 365 * 24 * time.Hour

// leaseNames are the leases of the agents' leader elections; the charts grant access to them by name.
var leaseNames = []string{"136224848560.hub.fleet.azure.com", "136224848560.member.fleet.azure.com"}

// Environment variables that locate a member agent's token for the hub.
const (
	envTokenSecret = "HUB_TOKEN_SECRET"
	envTokenFile   = "CONFIG_PATH"
)

func (f *Fleet) agentProgram(c *cluster) program {
	path := f.options.Binaries.MemberAgent
	if c.member == nil {
		path = f.options.Binaries.HubAgent
	}
	return program{
		name: "agent of " + c.Name,
		path: path,
		dir:  c.dir, log: c.path(agentLog), record: c.path(agentPID),
		detached: f.options.Detached,
	}
}

// startAgent runs the agent as its Deployment specifies. It does not wait until the agent is ready; see awaitJoined.
// An agent that is running or configured as stopped is left alone.
func (f *Fleet) startAgent(ctx context.Context, c *cluster) error {
	if c.Agent.Stopped || c.agent != nil && c.agent.running() {
		return nil
	}
	return f.runAgent(ctx, c)
}

func (f *Fleet) runAgent(ctx context.Context, c *cluster) error {
	pod, err := c.podSpec(ctx)
	if err != nil {
		return err
	}
	if err := f.writeAgentConfig(ctx, c, pod.ServiceAccountName); err != nil {
		return err
	}
	container := pod.Containers[0]
	program := f.agentProgram(c)
	patient, cancel := f.patient(ctx)
	defer cancel()
	mounts, err := c.mountFiles(patient, pod)
	if err != nil {
		return err
	}
	if program.args, err = c.listenLocally(ctx, localPaths(container.Args, mounts)); err != nil {
		return err
	}
	program.args = leadLong(program.args)
	env, err := c.environment(container.Env, mounts)
	if err != nil {
		return err
	}
	c.plainMetrics = slices.Contains(container.Args, "--metrics-secure=false")
	program.env = append(inherited(), env...)
	if err := c.releaseLeases(ctx, container.Args); err != nil {
		return err
	}
	if c.agent, err = launch(program, f.onExit(c)); err != nil {
		return err
	}
	f.report(c, "agent started", false)
	return nil
}

// podSpec is the pod template of the installed Deployment.
func (c *cluster) podSpec(ctx context.Context) (*corev1.PodSpec, error) {
	if c.chart == nil {
		return nil, fmt.Errorf("cluster %s has no chart installed", c.Name)
	}
	client, err := c.clientset()
	if err != nil {
		return nil, err
	}
	deployment, err := client.AppsV1().Deployments(c.chart.Namespace).Get(ctx, c.chart.Deployment, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the Deployment of the agent of cluster %s: %w", c.Name, err)
	}
	pod := &deployment.Spec.Template.Spec
	if len(pod.Containers) != 1 {
		return nil, fmt.Errorf("deployment %s of cluster %s has %d containers; it must have the agent alone", deployment.Name, c.Name, len(pod.Containers))
	}
	return pod, nil
}

// writeAgentConfig writes the kubeconfig with which the agent reaches its own cluster: with a token of the chart's
// ServiceAccount, and so with the permissions that the chart grants.
func (f *Fleet) writeAgentConfig(ctx context.Context, c *cluster, serviceAccount string) error {
	config, err := c.admin()
	if err != nil {
		return err
	}
	kube, err := c.clientset()
	if err != nil {
		return err
	}
	token, err := mint(ctx, kube, c.chart.Namespace, serviceAccount)
	if err != nil {
		return fmt.Errorf("create a token for the agent of cluster %s: %w", c.Name, err)
	}
	if err := clientcmd.WriteToFile(*kubeconfigOf(config, token), c.path(agentConfig)); err != nil {
		return fmt.Errorf("write the kubeconfig of the agent of cluster %s: %w", c.Name, err)
	}
	return nil
}

// kubeconfigOf returns a kubeconfig for the cluster of config, with token or, if that is empty, with the credentials
// of config.
func kubeconfigOf(config *rest.Config, token string) *clientcmdapi.Config {
	const name = "default"
	file := clientcmdapi.NewConfig()
	file.Clusters[name] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	user := &clientcmdapi.AuthInfo{Token: token}
	if token == "" {
		user = &clientcmdapi.AuthInfo{Token: config.BearerToken, ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}
	}
	file.AuthInfos[name] = user
	file.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	file.CurrentContext = name
	return file
}

// leadLong gives the agent more time to renew its lease, unless a flag sets it. In a cluster, an agent that loses its
// lead is restarted; here, where a busy machine may be late by more than the usual time, nothing restarts it. A long
// lease has no cost because of releaseLeases.
func leadLong(args []string) []string {
	for _, arg := range args {
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if name == "leader-lease-duration" || name == "leader-renew-deadline" {
			return args
		}
	}
	return append(slices.Clone(args), "--leader-lease-duration=10m", "--leader-renew-deadline=8m")
}

// listenLocally replaces the agent's listen addresses, which are the same for all agents, by free ports of the
// loopback interface.
func (c *cluster) listenLocally(ctx context.Context, args []string) ([]string, error) {
	if c.ports == nil {
		ports, err := freePorts(ctx, listeners(args))
		if err != nil {
			return nil, fmt.Errorf("find ports for the agent of cluster %s: %w", c.Name, err)
		}
		c.ports = ports
	}
	replaced := slices.Clone(args)
	for i, arg := range args {
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		port, ok := c.ports[name]
		switch {
		case !ok:
		case strings.HasSuffix(name, "bind-address"):
			replaced[i] = fmt.Sprintf("--%s=%s", name, net.JoinHostPort(loopback, strconv.Itoa(port)))
		default:
			replaced[i] = fmt.Sprintf("--%s=%d", name, port)
		}
	}
	if port, ok := c.ports[webhookPort]; ok {
		// There are no Services here that the API server could go by.
		replaced = slices.DeleteFunc(replaced, func(arg string) bool { return strings.HasPrefix(arg, "--webhook-client-connection-type=") })
		replaced = append(replaced, "--webhook-client-connection-type=url", "--webhook-url=https://"+net.JoinHostPort(loopback, strconv.Itoa(port)))
	}
	return replaced, nil
}

// webhookPort is the flag of the port at which the API server calls the agent.
const webhookPort = "webhook-port"

// listeners are the flags among args that set a listen address. 0 disables a listener.
func listeners(args []string) []string {
	var names []string
	for _, arg := range args {
		name, value, ok := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		listens := strings.HasSuffix(name, "bind-address") || strings.HasSuffix(name, "pprof-port") || name == webhookPort
		if ok && listens && value != "" && value != "0" {
			names = append(names, name)
		}
	}
	return names
}

// freePorts assigns each name a free port. Agents keep their ports over restarts.
func freePorts(ctx context.Context, names []string) (map[string]int, error) {
	ports := map[string]int{}
	for _, name := range names {
		port, err := freeport.Next(ctx)
		if err != nil {
			return nil, err
		}
		ports[name] = port
	}
	return ports, nil
}

// releaseLeases releases the leases of an agent that was killed before it could do so. Only this package starts agents
// here, so no running agent holds one, and the next need not wait until they expire.
func (c *cluster) releaseLeases(ctx context.Context, args []string) error {
	namespace := ""
	for _, arg := range args {
		if name, value, _ := strings.Cut(strings.TrimLeft(arg, "-"), "="); name == "leader-election-namespace" {
			namespace = value
		}
	}
	if namespace == "" {
		return nil
	}
	kube, err := c.clientset()
	if err != nil {
		return err
	}
	leases, err := kube.CoordinationV1().Leases(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list the leases of an earlier agent of cluster %s: %w", c.Name, err)
	}
	for _, lease := range leases.Items {
		held := lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != ""
		if !held || !slices.Contains(leaseNames, lease.Name) {
			continue
		}
		// Without a precondition on the version: the last renewal of the killed agent may be stored only now.
		free := []byte(`{"spec":{"holderIdentity":null}}`)
		if _, err := kube.CoordinationV1().Leases(namespace).Patch(ctx, lease.Name, types.MergePatchType, free, metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("release lease %s of an earlier agent of cluster %s: %w", lease.Name, c.Name, err)
		}
	}
	return nil
}

// environment is the container's environment for a local process.
func (c *cluster) environment(vars []corev1.EnvVar, mounts []mounted) ([]string, error) {
	env := []string{"KUBECONFIG=" + c.path(agentConfig)}
	for _, v := range vars {
		value := localPath(v.Value, mounts)
		switch from := v.ValueFrom; {
		case v.Name == envTokenFile:
			value = c.path(hubToken)
		case from == nil:
		case from.FieldRef != nil && from.FieldRef.FieldPath == "metadata.namespace":
			value = c.chart.Namespace
		default:
			return nil, fmt.Errorf("the chart of cluster %s sets environment variable %s from a source that a local process does not have", c.Name, v.Name)
		}
		env = append(env, v.Name+"="+value)
	}
	return env, nil
}

func (c *cluster) stopAgent(ctx context.Context) error {
	if c.agent == nil {
		return nil
	}
	return c.agent.stop(ctx, agentGrace)
}

// onExit reports processes that end without a request.
func (f *Fleet) onExit(c *cluster) func(*process) {
	return func(p *process) {
		f.report(c, p.failure().Error(), false)
	}
}

// StartAgent runs the agent of cluster name as its chart specifies, even if its Config has stopped set. It returns
// when the process runs, before it is ready.
func (f *Fleet) StartAgent(ctx context.Context, name string) error {
	c, err := f.cluster(name)
	if err != nil {
		return err
	}
	if c.agent != nil && c.agent.running() {
		return fmt.Errorf("the agent of cluster %s is already running", name)
	}
	return f.runAgent(ctx, c)
}

// StopAgent stops the agent of cluster name with a regular shutdown.
func (f *Fleet) StopAgent(ctx context.Context, name string) error {
	c, err := f.cluster(name)
	if err != nil {
		return err
	}
	return c.stopAgent(ctx)
}

// KillAgent kills the agent of cluster name at once, like a crash.
func (f *Fleet) KillAgent(name string) error {
	c, err := f.cluster(name)
	if err != nil || c.agent == nil {
		return err
	}
	return c.agent.kill()
}

// ConfigureAgent upgrades the chart of cluster name with other flags and values. The agent gets them at its next
// start, but files that it mounts at once.
func (f *Fleet) ConfigureAgent(ctx context.Context, name string, agent Agent) error {
	c, err := f.cluster(name)
	if err != nil {
		return err
	}
	c.Agent = agent
	c.ports = nil
	if err := f.installChart(ctx, c); err != nil {
		return err
	}
	pod, err := c.podSpec(ctx)
	if err != nil {
		return err
	}
	patient, cancel := f.patient(ctx)
	defer cancel()
	_, err = c.mountFiles(patient, pod)
	return err
}

// AgentRunning reports whether the agent of cluster name is running.
func (f *Fleet) AgentRunning(name string) bool {
	c, err := f.cluster(name)
	return err == nil && c.agent != nil && c.agent.running()
}

// AgentPID is the process ID of the agent of cluster name; 0 if none was started.
func (f *Fleet) AgentPID(name string) int {
	c, err := f.cluster(name)
	if err != nil || c.agent == nil {
		return 0
	}
	return c.agent.pid
}

// AgentMetricsURL is the URL of the metrics of the agent of cluster name, if this Fleet started it; empty if it serves
// none. Unless the agent's flag metrics-secure is false, they require a token with access; see Metrics.
func (f *Fleet) AgentMetricsURL(name string) string {
	found := f.agentURL(name, "metrics-bind-address", "/metrics")
	if c, err := f.cluster(name); err == nil && !c.plainMetrics {
		return strings.Replace(found, "http:", "https:", 1)
	}
	return found
}

// AgentProfilesURL is the URL of that agent's Go profiles, if its chart's value enablePprof is true.
func (f *Fleet) AgentProfilesURL(name string) string {
	return f.agentURL(name, "pprof-port", "/debug/pprof/")
}

// AgentReadyURLs are the URLs at which that agent reports whether it is ready, and what it waits for: one for a hub's
// agent, two for a member's, the first for the side of the hub.
func (f *Fleet) AgentReadyURLs(name string) []string {
	var urls []string
	for _, flag := range []string{"hub-health-probe-bind-address", "health-probe-bind-address"} {
		if found := f.agentURL(name, flag, "/readyz"); found != "" {
			urls = append(urls, found)
		}
	}
	return urls
}

func (f *Fleet) agentURL(name, flag, path string) string {
	c, err := f.cluster(name)
	if err != nil || c.ports[flag] == 0 {
		return ""
	}
	return (&url.URL{Scheme: "http", Host: net.JoinHostPort(loopback, strconv.Itoa(c.ports[flag])), Path: path}).String()
}

// MintToken returns a token of a ServiceAccount in cluster name, valid for a year.
func (f *Fleet) MintToken(ctx context.Context, name, namespace, serviceAccount string) (string, error) {
	c, err := f.cluster(name)
	if err != nil {
		return "", err
	}
	kube, err := c.clientset()
	if err != nil {
		return "", err
	}
	return mint(ctx, kube, namespace, serviceAccount)
}

func mint(ctx context.Context, kube *kubernetes.Clientset, namespace, serviceAccount string) (string, error) {
	seconds := int64(tokenLife.Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	answer, err := kube.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, serviceAccount, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("request a token of service account %s/%s: %w", namespace, serviceAccount, err)
	}
	if answer.Status.Token == "" {
		return "", errors.New("the API server returned an empty token")
	}
	return answer.Status.Token, nil
}

func (c *cluster) clientset() (*kubernetes.Clientset, error) {
	config, err := c.admin()
	if err != nil {
		return nil, err
	}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reach cluster %s: %w", c.Name, err)
	}
	return kube, nil
}

func writeSecretFile(path, content string) error {
	return os.WriteFile(path, []byte(content), filePermission)
}
