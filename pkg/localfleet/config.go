package localfleet

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Config is the user's description of a local fleet. The zero value is the default fleet: hub and spoke-1 to spoke-3.
type Config struct {
	// Hub is the cluster with the placements; its default name is hub.
	Hub Hub `json:"hub,omitempty"`
	// Members are the clusters that placements go to. By default there are three, spoke-1 to spoke-3, with labels
	// region and env. An empty list: none.
	Members []Member `json:"members"`
}

// Cluster are the settings common to hub and members.
type Cluster struct {
	// Name of the cluster, of its context in the kubeconfig, of its folder and, for a member, of its MemberCluster.
	// Lower-case letters, digits and dashes.
	Name string `json:"name,omitempty"`
	// Port of the API server on 127.0.0.1; 0, the default, picks a free one.
	Port int `json:"port,omitempty"`
	// FeatureGates of Kubernetes, by name.
	FeatureGates map[string]bool `json:"featureGates,omitempty"`
	// Verbosity of Kubernetes' own log (klog's -v); 0, the default, writes warnings and errors only.
	Verbosity int `json:"verbosity,omitempty"`
	// Agent configures the cluster's agent.
	Agent Agent `json:"agent,omitempty"`
}

// Agent are changes to an agent, on top of the settings for a fleet on one machine.
type Agent struct {
	// Flags of the agent, by name without dashes. They are passed through the chart's value extraArgs.
	Flags map[string]string `json:"flags,omitempty"`
	// Values of the agent's chart.
	Values map[string]any `json:"values,omitempty"`
	// Stopped installs the agent without running it.
	Stopped bool `json:"stopped,omitempty"`
}

// Hub is the cluster with the placements.
type Hub struct {
	Cluster `json:",inline"`
	// Nodes are simulated, with a scheduler that uses them: for a hub that runs its own workloads (the chart's value
	// enableWorkload). By default there are none.
	Nodes []NodeSet `json:"nodes,omitempty"`
}

// Member is a cluster that placements go to.
type Member struct {
	Cluster `json:",inline"`
	// Labels of the MemberCluster, which placements can select.
	Labels map[string]string `json:"labels,omitempty"`
	// Taints of the MemberCluster.
	Taints []clusterv1beta1.Taint `json:"taints,omitempty"`
	// Nodes are simulated; by default there is one. An empty list: none.
	Nodes []NodeSet `json:"nodes"`
	// Identity is the agent's identity on the hub: a ServiceAccount, by default fleet-member-agent-<name> in
	// fleet-system. It is created if it does not exist.
	Identity Identity `json:"identity,omitempty"`
	// HeartbeatPeriodSeconds is how often the agent reports, 1 to 600; by default 15.
	HeartbeatPeriodSeconds int32 `json:"heartbeatPeriodSeconds,omitempty"`
	// Join false creates no MemberCluster: the agent runs and waits for access.
	Join *bool `json:"join,omitempty"`
}

// NodeSet is a number of identical simulated nodes.
type NodeSet struct {
	// Count of nodes.
	Count int `json:"count"`
	// NamePrefix of the nodes, whose names are <namePrefix>-0 and so on; by default <cluster>-node. Two sets of one
	// cluster need different prefixes.
	NamePrefix string `json:"namePrefix,omitempty"`
	// Labels of the nodes.
	Labels map[string]string `json:"labels,omitempty"`
	// Taints of the nodes.
	Taints []corev1.Taint `json:"taints,omitempty"`
	// OS is linux, the default, or windows.
	OS string `json:"os,omitempty"`
	// Arch is the processor's architecture, by default amd64.
	Arch string `json:"arch,omitempty"`
	// Capacity by resource; by default cpu 8, memory 32Gi, pods 110.
	Capacity map[string]string `json:"capacity,omitempty"`
}

// Identity is a member's identity on the hub.
type Identity struct {
	// Kind must be ServiceAccount, which is the default.
	Kind string `json:"kind,omitempty"`
	// Namespace of the ServiceAccount, by default fleet-system.
	Namespace string `json:"namespace,omitempty"`
	// Name of the ServiceAccount, by default fleet-member-agent-<member>.
	Name string `json:"name,omitempty"`
}

const (
	// defaultHeartbeat is shorter than the API's default of 60 s, so that a stopped agent is noticed soon.
	defaultHeartbeat = 15
	// longestMember keeps fleet-member-<name> within the 63 characters of a namespace.
	longestMember = 50
)

// kubeconfigName is the file with the contexts of all clusters; clusters have folders beside it.
const kubeconfigName = "kubeconfig"

// LoadConfig reads, completes and validates the file at path.
func LoadConfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read the fleet's description: %w", err)
	}
	config, err := ParseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return config, nil
}

// ParseConfig decodes, completes and validates YAML. Unknown fields are errors.
func ParseConfig(data []byte) (Config, error) {
	var config Config
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return Config{}, err
	}
	// This decoder, unlike sigs.k8s.io/yaml's own, reports the whole path of an unknown field.
	strict, err := json.UnmarshalStrict(asJSON, &config) //nolint:forbidigo // the user's own file, not the fleet's
	if err := errors.Join(append(strict, err)...); err != nil {
		return Config{}, fmt.Errorf("%w; \"kubectl fleet up --help\" lists the fields", err)
	}
	config = config.complete()
	return config, config.check()
}

// DefaultConfig is the fleet without a description.
func DefaultConfig() Config { return Config{}.complete() }

// Joins reports whether the member joins at the start.
func (m Member) Joins() bool { return m.Join == nil || *m.Join }

// Subject is the identity in the form of a MemberCluster's spec.
func (i Identity) Subject() rbacv1.Subject {
	return rbacv1.Subject{Kind: i.Kind, Namespace: i.Namespace, Name: i.Name}
}

func defaultMembers() []Member {
	labels := []map[string]string{
		{"region": "east", "env": "prod"},
		{"region": "east", "env": "canary"},
		{"region": "west", "env": "prod"},
	}
	members := make([]Member, len(labels))
	for i := range labels {
		members[i] = Member{Cluster: Cluster{Name: fmt.Sprintf("spoke-%d", i+1)}, Labels: labels[i]}
	}
	return members
}

func (c Config) complete() Config {
	if c.Hub.Name == "" {
		c.Hub.Name = "hub"
	}
	if c.Members == nil {
		c.Members = defaultMembers()
	}
	c.Members = slices.Clone(c.Members)
	for i := range c.Members {
		c.Members[i].complete()
	}
	return c
}

func (m *Member) complete() {
	if m.Identity.Kind == "" {
		m.Identity.Kind = rbacv1.ServiceAccountKind
	}
	if m.Identity.Namespace == "" {
		m.Identity.Namespace = contract.NamespaceSystem
	}
	if m.Identity.Name == "" {
		m.Identity.Name = "fleet-member-agent-" + m.Name
	}
	if m.HeartbeatPeriodSeconds == 0 {
		m.HeartbeatPeriodSeconds = defaultHeartbeat
	}
}

// check returns all mistakes, each with the field, its value, and what is valid.
func (c Config) check() error {
	errs := prefixed("hub", append(c.Hub.check(), checkNodes(c.Hub.Nodes)...))
	seen := map[string]string{c.Hub.Name: "hub"}
	ports := map[int]string{}
	if c.Hub.Port != 0 {
		ports[c.Hub.Port] = c.Hub.Name
	}
	for i, member := range c.Members {
		where := fmt.Sprintf("members[%d]", i)
		errs = append(errs, prefixed(where, member.check())...)
		if other, twice := seen[member.Name]; twice && member.Name != "" {
			errs = append(errs, fmt.Errorf("%s.name %q: is already the name of %s; use another name", where, member.Name, other))
		}
		seen[member.Name] = where
		if other, twice := ports[member.Port]; twice {
			errs = append(errs, fmt.Errorf("%s.port %d: is already the port of %s; use another one, or 0 for a free one", where, member.Port, other))
		}
		if member.Port != 0 {
			ports[member.Port] = member.Name
		}
	}
	return errors.Join(errs...)
}

func prefixed(where string, errs []error) []error {
	for i := range errs {
		errs[i] = fmt.Errorf("%s.%w", where, errs[i])
	}
	return errs
}

func (c Cluster) check() []error {
	var errs []error
	if problems := validation.IsDNS1123Label(c.Name); len(problems) > 0 {
		errs = append(errs, fmt.Errorf("name %q: %s", c.Name, strings.Join(problems, "; ")))
	}
	if c.Name == kubeconfigName {
		errs = append(errs, fmt.Errorf("name %q: is reserved for a file of the fleet; use another name", c.Name))
	}
	if c.Port < 0 || c.Port > 65535 {
		errs = append(errs, fmt.Errorf("port %d: must be 1 to 65535, or 0 for a free one", c.Port))
	}
	if c.Verbosity < 0 || c.Verbosity > 10 {
		errs = append(errs, fmt.Errorf("verbosity %d: must be 0 to 10", c.Verbosity))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Agent.Flags)) {
		if name == "" || strings.HasPrefix(name, "-") || strings.ContainsAny(name, "= ") {
			errs = append(errs, fmt.Errorf("agent.flags %q: must be the flag's name without dashes; put its value after the colon", name))
		}
	}
	return errs
}

func (m Member) check() []error {
	errs := m.Cluster.check()
	if len(m.Name) > longestMember {
		errs = append(errs, fmt.Errorf("name %q: must have at most %d characters, because it is part of a namespace's name on the hub", m.Name, longestMember))
	}
	if m.Identity.Kind != rbacv1.ServiceAccountKind {
		errs = append(errs, fmt.Errorf("identity.kind %q: must be %s in a local fleet", m.Identity.Kind, rbacv1.ServiceAccountKind))
	}
	if m.HeartbeatPeriodSeconds < 1 || m.HeartbeatPeriodSeconds > 600 {
		errs = append(errs, fmt.Errorf("heartbeatPeriodSeconds %d: must be 1 to 600", m.HeartbeatPeriodSeconds))
	}
	for _, key := range slices.Sorted(maps.Keys(m.Labels)) {
		problems := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(m.Labels[key])...)
		if len(problems) > 0 {
			errs = append(errs, fmt.Errorf("labels %s=%q: %s", key, m.Labels[key], strings.Join(problems, "; ")))
		}
	}
	for i, taint := range m.Taints {
		if taint.Key == "" || taint.Effect != corev1.TaintEffectNoSchedule {
			errs = append(errs, fmt.Errorf("taints[%d] %s=%s:%s: needs a key, and the effect NoSchedule", i, taint.Key, taint.Value, taint.Effect))
		}
	}
	return append(errs, checkNodes(m.Nodes)...)
}

func checkNodes(sets []NodeSet) []error {
	var errs []error
	prefixes := map[string]bool{}
	for i, nodes := range sets {
		if nodes.Count < 0 {
			errs = append(errs, fmt.Errorf("nodes[%d].count %d: must not be negative", i, nodes.Count))
		}
		if prefixes[nodes.NamePrefix] {
			errs = append(errs, fmt.Errorf("nodes[%d].namePrefix %q: is already the prefix of another set; use another one", i, nodes.NamePrefix))
		}
		prefixes[nodes.NamePrefix] = true
	}
	return errs
}
