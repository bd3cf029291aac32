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

// Metrics returns the options to serve /metrics at address. If secure, it is served over TLS with a self-signed
// certificate, and only to clients whose token own, the cluster that the agent runs in, authenticates and authorizes
// to get the path /metrics, because metrics contain names of placements. own is a parameter because the manager that
// serves them may belong to another cluster, where the agent must not create TokenReviews.
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
				return nil, fmt.Errorf("make a client to authenticate readers of metrics: %w", err)
			}
			return filters.WithAuthenticationAndAuthorization(own, client)
		},
	}
}
