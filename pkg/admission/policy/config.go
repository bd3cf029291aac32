// Package policy generates the ValidatingAdmissionPolicies of the admission policy manager: workloads stay off the
// hub, and service accounts of reserved namespaces are left to the cluster's own components. The hub's API server
// enforces them, also while no agent runs.
package policy

import (
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// Config selects the policies and their exceptions. A policy whose field is nil is not generated.
type Config struct {
	// Workloads denies pods and replica sets outside reserved namespaces.
	Workloads *WorkloadConfig `json:"denyPodsAndReplicaSetsOutsideReservedNamespaces,omitempty"`
	// ServiceAccounts denies writes of service accounts in reserved namespaces, and requests for their tokens.
	ServiceAccounts *ServiceAccountConfig `json:"denyServiceAccountsAndTokenRequestsInReservedNamespaces,omitempty"`
}

// WorkloadConfig configures one policy.
type WorkloadConfig struct {
	// ReservedNamespacePrefixes are prefixes of names of namespaces. Default: fleet- and kube-.
	ReservedNamespacePrefixes []string
}

// ServiceAccountConfig configures one policy.
type ServiceAccountConfig struct {
	// ReservedNamespacePrefixes are prefixes of names of namespaces. Default: fleet- and kube-.
	ReservedNamespacePrefixes []string
	// WhitelistedUsernames and WhitelistedUserGroups are exempt beside Kubernetes' own components and cluster
	// administrators.
	WhitelistedUsernames, WhitelistedUserGroups []string
}

// mostEntries bounds each list, and mostBytes each of their entries, so that the expression stays within the budget of
// CEL.
const (
	mostEntries = 100
	mostBytes   = 253
)

// Default is the configuration without a file: both policies, without exceptions of their own.
func Default() Config {
	c := Config{Workloads: &WorkloadConfig{}, ServiceAccounts: &ServiceAccountConfig{}}
	c.complete()
	return c
}

// Parse reads a configuration in YAML or JSON. Names of fields are matched without regard to case. The error names
// each wrong field.
func Parse(data []byte) (Config, error) {
	var c Config
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return c, fmt.Errorf("read the configuration of the admission policy manager: %w", err)
	}
	c.complete()
	return c, c.validate().ToAggregate()
}

func (c *Config) complete() {
	reserved := func(prefixes *[]string) {
		if *prefixes == nil {
			*prefixes = []string{"fleet-", "kube-"}
		}
	}
	if c.Workloads != nil {
		reserved(&c.Workloads.ReservedNamespacePrefixes)
	}
	if c.ServiceAccounts != nil {
		reserved(&c.ServiceAccounts.ReservedNamespacePrefixes)
	}
}

func (c *Config) validate() field.ErrorList {
	var errs field.ErrorList
	if c.Workloads != nil {
		path := field.NewPath("denyPodsAndReplicaSetsOutsideReservedNamespaces")
		errs = append(errs, prefixes(path, c.Workloads.ReservedNamespacePrefixes)...)
	}
	if c.ServiceAccounts != nil {
		path := field.NewPath("denyServiceAccountsAndTokenRequestsInReservedNamespaces")
		errs = append(errs, prefixes(path, c.ServiceAccounts.ReservedNamespacePrefixes)...)
		errs = append(errs, names(path.Child("WhitelistedUsernames"), c.ServiceAccounts.WhitelistedUsernames)...)
		errs = append(errs, names(path.Child("WhitelistedUserGroups"), c.ServiceAccounts.WhitelistedUserGroups)...)
	}
	return errs
}

var prefixPattern = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

func prefixes(path *field.Path, list []string) field.ErrorList {
	path = path.Child("ReservedNamespacePrefixes")
	if len(list) == 0 {
		return field.ErrorList{field.Required(path, "list at least one prefix, or leave the field out for fleet- and kube-")}
	}
	errs := bounded(path, list)
	for i, p := range list {
		if !prefixPattern.MatchString(p) {
			errs = append(errs, field.Invalid(path.Index(i), p, "must be 1 to 63 characters of a-z, 0-9 and -"))
		}
	}
	return errs
}

func names(path *field.Path, list []string) field.ErrorList {
	errs := bounded(path, list)
	for i, n := range list {
		if n == "" || len(n) > mostBytes || strings.ContainsAny(n, "'\"\\\n\r\x00") {
			errs = append(errs, field.Invalid(path.Index(i), n, fmt.Sprintf("must have 1 to %d bytes, without quotes, backslashes and line breaks", mostBytes)))
		}
	}
	return errs
}

func bounded(path *field.Path, list []string) field.ErrorList {
	if len(list) > mostEntries {
		return field.ErrorList{field.TooMany(path, len(list), mostEntries)}
	}
	return nil
}
