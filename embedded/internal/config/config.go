// Package config is the file that describes one embedded cluster.
//
// The main module cannot import this one (it would compile Kubernetes), so pkg/localfleet writes the same YAML by hand;
// the schema is in embedded/README.md. Unknown fields are errors, so that the two cannot drift silently.
package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// Cluster is one cluster. Load fills in the defaults.
type Cluster struct {
	// Name is also the name of the kubeconfig's context, cluster and user.
	Name string `json:"name"`
	// Port is the API server's on 127.0.0.1; 0 picks a free one, which a kept data folder remembers.
	Port int `json:"port,omitempty"`
	// Controllers turns the controller manager on; default true.
	Controllers *bool `json:"controllers,omitempty"`
	// Scheduler turns on the scheduler and the simulated nodes and pods; default true. Hubs do without.
	Scheduler *bool `json:"scheduler,omitempty"`
	// ServiceCIDR is the range of Service addresses.
	ServiceCIDR string `json:"serviceCIDR,omitempty"`
	// Nodes are the simulated nodes; default one node if there is a scheduler.
	Nodes []NodeSet `json:"nodes,omitempty"`
	// FeatureGates are Kubernetes' own, by name.
	FeatureGates map[string]bool `json:"featureGates,omitempty"`
	// Verbosity is that of the components' log (klog's -v); at 0 only warnings and errors are written.
	Verbosity int `json:"verbosity,omitempty"`
}

// NodeSet is a number of equal nodes.
type NodeSet struct {
	Count      int               `json:"count"`
	NamePrefix string            `json:"namePrefix,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Taints     []corev1.Taint    `json:"taints,omitempty"`
	OS         string            `json:"os,omitempty"`
	Arch       string            `json:"arch,omitempty"`
	Capacity   map[string]string `json:"capacity,omitempty"`
}

const defaultServiceCIDR = "10.96.0.0/16"

// defaultCapacity is that of a node whose set says nothing about the resource.
var defaultCapacity = map[string]string{"cpu": "8", "memory": "32Gi", "pods": "110"}

// Load reads, completes and checks the file at path.
func Load(path string) (Cluster, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Cluster{}, fmt.Errorf("read the cluster's config: %w", err)
	}
	cluster, err := Parse(data)
	if err != nil {
		return Cluster{}, fmt.Errorf("config %s: %w", path, err)
	}
	return cluster, nil
}

// Parse decodes, completes and checks a config.
func Parse(data []byte) (Cluster, error) {
	var c Cluster
	asJSON, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return Cluster{}, err
	}
	// This decoder, unlike sigs.k8s.io/yaml's own, names the whole path of an unknown field.
	strict, err := json.UnmarshalStrict(asJSON, &c)
	if err := errors.Join(append(strict, err)...); err != nil {
		return Cluster{}, err
	}
	c.complete()
	if err := c.check(); err != nil {
		return Cluster{}, err
	}
	return c, nil
}

// Schedules says whether pods are scheduled and run.
func (c Cluster) Schedules() bool { return *c.Scheduler }

func (c *Cluster) complete() {
	yes := true
	if c.Controllers == nil {
		c.Controllers = &yes
	}
	if c.Scheduler == nil {
		c.Scheduler = &yes
	}
	if c.ServiceCIDR == "" {
		c.ServiceCIDR = defaultServiceCIDR
	}
	if c.Nodes == nil && *c.Scheduler {
		c.Nodes = []NodeSet{{Count: 1}}
	}
	for i := range c.Nodes {
		c.Nodes[i].complete(c.Name)
	}
}

func (s *NodeSet) complete(cluster string) {
	if s.NamePrefix == "" {
		s.NamePrefix = cluster + "-node"
	}
	if s.OS == "" {
		s.OS = "linux"
	}
	if s.Arch == "" {
		s.Arch = "amd64"
	}
	capacity := maps.Clone(defaultCapacity)
	maps.Copy(capacity, s.Capacity)
	s.Capacity = capacity
}

func (c Cluster) check() error {
	var errs []error
	if problems := validation.IsDNS1123Label(c.Name); len(problems) > 0 {
		errs = append(errs, fmt.Errorf("name %q: %s", c.Name, strings.Join(problems, "; ")))
	}
	if c.Port < 0 || c.Port > 65535 {
		errs = append(errs, fmt.Errorf("port %d: must be 0 (pick one) or up to 65535", c.Port))
	}
	if _, _, err := net.ParseCIDR(c.ServiceCIDR); err != nil {
		errs = append(errs, fmt.Errorf("serviceCIDR: %w", err))
	}
	if len(c.Nodes) > 0 && !*c.Scheduler {
		errs = append(errs, errors.New("nodes: a cluster with scheduler: false has none"))
	}
	for i, set := range c.Nodes {
		if err := set.check(); err != nil {
			errs = append(errs, fmt.Errorf("nodes[%d]: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

func (s NodeSet) check() error {
	var errs []error
	if s.Count < 0 {
		errs = append(errs, fmt.Errorf("count %d: must not be negative", s.Count))
	}
	if problems := validation.IsDNS1123Subdomain(s.NamePrefix + "-0"); len(problems) > 0 {
		errs = append(errs, fmt.Errorf("namePrefix %q: %s", s.NamePrefix, strings.Join(problems, "; ")))
	}
	if s.OS != "linux" && s.OS != "windows" {
		errs = append(errs, fmt.Errorf("os %q: must be linux or windows", s.OS))
	}
	effects := []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}
	for i, taint := range s.Taints {
		if taint.Key == "" || !slices.Contains(effects, taint.Effect) {
			errs = append(errs, fmt.Errorf("taints[%d]: needs a key, and an effect out of %v", i, effects))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Capacity)) {
		if _, err := resource.ParseQuantity(s.Capacity[name]); err != nil {
			errs = append(errs, fmt.Errorf("capacity of %s, %q: %w", name, s.Capacity[name], err))
		}
	}
	return errors.Join(errs...)
}
