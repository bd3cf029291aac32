package process

import (
	"fmt"
	"net/http"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// MetricsSecureUsage is the help of the flag --metrics-secure of both agents.
const MetricsSecureUsage = "serve /metrics over TLS, to clients whose bearer token may get the path /metrics on the agent's own cluster; " +
	"false: over plain HTTP, to every client"

// Metrics serves /metrics at address. Secure, it does so over TLS, with a certificate made at start, and only for clients whose token own,
// the cluster that the agent runs in, knows and lets get the path /metrics: the names of what is placed are in there. own is given because
// the manager that serves them may be one of another cluster, where the agent has no right to ask who a client is.
func Metrics(address string, secure bool, own *rest.Config) metricsserver.Options {
	if !secure {
		return metricsserver.Options{BindAddress: address}
	}
	return metricsserver.Options{
		BindAddress:   address,
		SecureServing: true,
		FilterProvider: func(*rest.Config, *http.Client) (metricsserver.Filter, error) {
			client, err := rest.HTTPClientFor(own)
			if err != nil {
				return nil, fmt.Errorf("ask who reads metrics: %w", err)
			}
			return filters.WithAuthenticationAndAuthorization(own, client)
		},
	}
}
