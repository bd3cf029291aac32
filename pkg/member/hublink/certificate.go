package hublink

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"
)

// errNoCertificate means that there is no certificate to send. Nothing was sent.
var errNoCertificate = errors.New("no client certificate for the hub")

// certificate is a client certificate in two files. A rotation needs no restart: when the files are written or
// replaced, connections made with the old certificate are closed, and new ones use the new one.
type certificate struct {
	certFile, keyFile string
	connections       *connrotation.Dialer

	mu    sync.Mutex
	pair  *tls.Certificate
	state [2]fileState
}

// fileState changes when a file is written or replaced.
type fileState struct {
	written time.Time
	size    int64
}

// withCertificate sets a transport in cfg that uses the certificate in the files of settings.
func withCertificate(cfg *rest.Config, s *Settings) error {
	trust, err := rest.TLSConfigFor(cfg)
	if err != nil {
		return err
	}
	if trust == nil {
		trust = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	c := &certificate{certFile: s.CertFile, keyFile: s.KeyFile, connections: connrotation.NewDialer(connrotation.DialFunc(cfg.Dial))}
	trust.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.current() }
	cfg.Transport = utilnet.SetTransportDefaults(&http.Transport{
		TLSClientConfig:     trust,
		DialContext:         c.connections.DialContext,
		TLSHandshakeTimeout: dialLimit,
		MaxIdleConnsPerHost: 25, // as clients of API servers have
	})
	cfg.TLSClientConfig, cfg.Dial = rest.TLSClientConfig{}, nil
	cfg.Wrap(c.wrap)
	return nil
}

// wrap checks the files before each request.
func (c *certificate) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if _, err := c.current(); err != nil {
			return nil, err
		}
		return next.RoundTrip(r)
	})
}

// current is the newest certificate. While the files are being replaced and do not match, the last one stays in use.
func (c *certificate) current() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	state, err := c.look()
	if err == nil && state != c.state {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(c.certFile, c.keyFile); err == nil {
			if c.pair != nil {
				c.connections.CloseAll()
			}
			c.pair, c.state = &pair, state
		}
	}
	if c.pair == nil {
		return nil, fmt.Errorf("%w: %w; %s and %s must name PEM files with a certificate and its key", errNoCertificate, err, clientCert, clientKey)
	}
	return c.pair, nil
}

func (c *certificate) look() (state [2]fileState, err error) {
	for i, file := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(file)
		if err != nil {
			return state, err
		}
		state[i] = fileState{info.ModTime(), info.Size()}
	}
	return state, nil
}
