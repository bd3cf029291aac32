// Package pki makes and keeps the keys and certificates of one cluster: one authority for servers and clients, one for
// the aggregation layer's front proxy, and the key pair that signs ServiceAccount tokens.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime is long because nobody renews the certificates of a cluster on a laptop.
const lifetime = 10 * 365 * 24 * time.Hour

// Files are the paths of everything, by who reads it. A Pair's files are PEM.
type Files struct {
	CA, FrontProxyCA                                  string
	Server, FrontProxyClient                          Pair
	Admin, Node, ControllerManager, Scheduler         Pair
	Signer                                            Pair
	ServiceAccountPublicKey, ServiceAccountSigningKey string
}

// Pair is a certificate with its key.
type Pair struct{ Cert, Key string }

// Ensure makes what is missing in dir and leaves what is there: restarted clusters keep their identity.
func Ensure(dir string) (Files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Files{}, fmt.Errorf("create the certificate folder: %w", err)
	}
	files := layout(dir)
	// The marker is written last, so that a start that was cut short begins anew.
	marker := filepath.Join(dir, "complete")
	if _, err := os.Stat(marker); err == nil {
		return files, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Files{}, fmt.Errorf("look for certificates: %w", err)
	}
	if err := files.make(); err != nil {
		return Files{}, err
	}
	return files, write(marker, nil)
}

func layout(dir string) Files {
	path := func(name string) string { return filepath.Join(dir, name) }
	pair := func(name string) Pair { return Pair{Cert: path(name + ".crt"), Key: path(name + ".key")} }
	signer := pair("ca")
	return Files{
		CA:                       signer.Cert,
		Signer:                   signer,
		FrontProxyCA:             path("front-proxy-ca.crt"),
		Server:                   pair("apiserver"),
		FrontProxyClient:         pair("front-proxy-client"),
		Admin:                    pair("admin"),
		Node:                     pair("node"),
		ControllerManager:        pair("controller-manager"),
		Scheduler:                pair("scheduler"),
		ServiceAccountPublicKey:  path("service-account.pub"),
		ServiceAccountSigningKey: path("service-account.key"),
	}
}

func (f Files) make() error {
	ca, err := newAuthority("kubernetes")
	if err != nil {
		return err
	}
	frontProxyCA, err := newAuthority("kubernetes-front-proxy")
	if err != nil {
		return err
	}
	if err := errors.Join(write(f.CA, ca.certPEM()), writeKey(f.Signer.Key, ca.key), write(f.FrontProxyCA, frontProxyCA.certPEM())); err != nil {
		return err
	}
	server := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
			"kubernetes.default.svc.cluster.local"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	return errors.Join(
		ca.issue(server, f.Server),
		frontProxyCA.issue(client("front-proxy-client"), f.FrontProxyClient),
		ca.issue(client("kubernetes-admin", "system:masters"), f.Admin),
		// The simulated nodes are all played by one identity, which no node authorizer limits.
		ca.issue(client("embedded-cluster:simulation", "system:masters"), f.Node),
		ca.issue(client("system:kube-controller-manager"), f.ControllerManager),
		ca.issue(client("system:kube-scheduler"), f.Scheduler),
		f.makeServiceAccountKeys(),
	)
}

func (f Files) makeServiceAccountKeys() error {
	key, err := newKey()
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encode the service account key: %w", err)
	}
	return errors.Join(
		writeKey(f.ServiceAccountSigningKey, key),
		write(f.ServiceAccountPublicKey, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
	)
}

func client(name string, groups ...string) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(name string) (authority, error) {
	key, err := newKey()
	if err != nil {
		return authority{}, err
	}
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: name},
		IsCA:     true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return authority{}, fmt.Errorf("make the authority %s: %w", name, err)
	}
	return authority{cert: cert, key: key}, nil
}

func (a authority) certPEM() []byte { return certPEM(a.cert) }

func (a authority) issue(template *x509.Certificate, to Pair) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	cert, err := sign(template, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("make the certificate of %s: %w", template.Subject.CommonName, err)
	}
	return errors.Join(write(to.Cert, certPEM(cert)), writeKey(to.Key, key))
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, by crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.BasicConstraintsValid = true
	// An hour back: clocks of containers and laptops that slept are not exact.
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(lifetime)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// newKey makes an elliptic key: an RSA key would cost a noticeable part of the start.
func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate a key: %w", err)
	}
	return key, nil
}

func certPEM(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func writeKey(path string, key crypto.Signer) error {
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("write %s: unexpected key type %T", path, key)
	}
	der, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		return fmt.Errorf("encode the key for %s: %w", path, err)
	}
	return write(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

func write(path string, data []byte) error {
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
