package controlplane

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// authenticationConfig lets strangers ask whether the server lives, and nothing else.
const authenticationConfig = `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions:
  - path: /livez
  - path: /readyz
  - path: /healthz
`

func newAPIServerOptions(settings Settings, listener net.Listener) (*options.ServerRunOptions, error) {
	authentication := settings.Dir.Join("authentication.yaml")
	if err := os.WriteFile(authentication, []byte(authenticationConfig), 0o600); err != nil {
		return nil, fmt.Errorf("write the authentication config: %w", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	pki := settings.PKI
	opts := options.NewServerRunOptions()
	err := parse(opts.Flags(), map[string]string{
		"etcd-servers": etcdSocket,
		// An address of a documentation network: loopback addresses are refused as advertised ones, and the address of
		// an interface would change with the network this machine is in.
		"advertise-address":                  "192.0.2.1",
		"bind-address":                       "127.0.0.1",
		"secure-port":                        strconv.Itoa(port),
		"tls-cert-file":                      pki.Server.Cert,
		"tls-private-key-file":               pki.Server.Key,
		"client-ca-file":                     pki.CA,
		"authentication-config":              authentication,
		"authorization-mode":                 "RBAC",
		"allow-privileged":                   "true",
		"service-cluster-ip-range":           settings.Config.ServiceCIDR,
		"service-account-issuer":             "https://kubernetes.default.svc",
		"service-account-key-file":           pki.ServiceAccountPublicKey,
		"service-account-signing-key-file":   pki.ServiceAccountSigningKey,
		"requestheader-client-ca-file":       pki.FrontProxyCA,
		"requestheader-allowed-names":        "front-proxy-client",
		"requestheader-username-headers":     "X-Remote-User",
		"requestheader-group-headers":        "X-Remote-Group",
		"requestheader-extra-headers-prefix": "X-Remote-Extra-",
		"proxy-client-cert-file":             pki.FrontProxyClient.Cert,
		"proxy-client-key-file":              pki.FrontProxyClient.Key,
		// Nothing takes the not-ready taint away again without the node lifecycle controller.
		"disable-admission-plugins": "TaintNodesByCondition",
		// What follows saves work while nothing happens: clusters idle beside each other on small machines.
		"endpoint-reconciler-type":      "none",
		"enable-priority-and-fairness":  "false",
		"profiling":                     "false",
		"etcd-count-metric-poll-period": "0",
		"etcd-db-metric-poll-interval":  "0",
		"feature-gates":                 featureGates(settings.Config.FeatureGates),
	})
	if err != nil {
		return nil, err
	}
	opts.SecureServing.Listener = listener
	opts.SecureServing.BindPort = port
	return opts, nil
}

func runAPIServer(ctx context.Context, opts *options.ServerRunOptions) error {
	completed, err := opts.Complete(ctx)
	if err != nil {
		return fmt.Errorf("complete its options: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return fmt.Errorf("check its options: %w", utilerrors.NewAggregate(errs))
	}
	return app.Run(ctx, completed)
}
