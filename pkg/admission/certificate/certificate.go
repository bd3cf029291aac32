// Package certificate makes the certificates of the hub's webhook server, and decides when they are replaced, so that
// at every moment the API servers trust what each replica of the agent serves.
package certificate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// Terms say how long certificates are valid, and when they are replaced.
type Terms struct {
	// Life is how long a certificate is valid.
	Life time.Duration
	// Renew is how long before its end a certificate is replaced.
	Renew time.Duration
	// Overlap is how long API servers have to learn of a new CA before certificates of it are served.
	Overlap time.Duration
}

// DefaultTerms are those of an agent: a certificate of a year is replaced when a quarter of it is left.
var DefaultTerms = Terms{Life: 365 * 24 * time.Hour, Renew: 91 * 24 * time.Hour, Overlap: time.Minute}

// Pair is a certificate and its key, both PEM.
type Pair struct{ Certificate, Key []byte }

// State is what is kept of the certificates, and shared by all replicas. Each pair has a CA of its own, whose key is
// not kept.
type State struct {
	// Serving is what replicas serve.
	Serving Pair
	// Next is served when API servers trust its CA; empty if there is none.
	Next Pair
	// CA are the certificates to trust, PEM: the CAs of Serving and Next, and that of the pair before, which a replica
	// may serve still.
	CA []byte
}

// Keys of a Secret that holds a State.
const (
	keyCertificate, keyKey         = "tls.crt", "tls.key"
	keyNextCertificate, keyNextKey = "next.crt", "next.key"
	keyCA                          = "ca.crt"
)

// Data is the state in the form of a Secret.
func (s State) Data() map[string][]byte {
	data := map[string][]byte{keyCertificate: s.Serving.Certificate, keyKey: s.Serving.Key, keyCA: s.CA}
	if len(s.Next.Certificate) > 0 {
		data[keyNextCertificate], data[keyNextKey] = s.Next.Certificate, s.Next.Key
	}
	return data
}

// Read is the inverse of Data. It returns an error if what is there cannot be served.
func Read(data map[string][]byte) (State, error) {
	s := State{
		Serving: Pair{data[keyCertificate], data[keyKey]}, Next: Pair{data[keyNextCertificate], data[keyNextKey]}, CA: data[keyCA],
	}
	if _, err := s.Serving.TLS(); err != nil {
		return s, err
	}
	if _, err := cert.ParseCertsPEM(s.CA); err != nil {
		return s, fmt.Errorf("read %s: %w", keyCA, err)
	}
	return s, nil
}

// TLS is the pair for a server.
func (p Pair) TLS() (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(p.Certificate, p.Key)
	if err != nil {
		return nil, fmt.Errorf("read %s and %s: %w", keyCertificate, keyKey, err)
	}
	return &pair, nil
}

// New makes the first state, for a server with these names and addresses.
func New(now time.Time, terms Terms, hosts ...string) (State, error) {
	pair, ca, err := issue(now, terms, hosts)
	return State{Serving: pair, CA: ca}, err
}

// Step returns what to make of a state, and when to look again. The state it returns equals s if nothing is due.
// published is the CA that the API servers have been given, and since when; a pair is served only when they have had
// its CA for terms.Overlap.
func Step(s State, now time.Time, terms Terms, published []byte, since time.Time, hosts ...string) (State, time.Time, error) {
	serving, err := leaf(s.Serving)
	if err == nil {
		_, err = issuer(s.CA, serving) // clients could not trust it
	}
	if err != nil || !covers(serving, hosts) || !now.Before(serving.NotAfter) {
		// Nothing can be kept up: what is served is of no use.
		s, err := New(now, terms, hosts...)
		return s, now, err
	}
	renew := serving.NotAfter.Add(-terms.Renew)
	next, err := leaf(s.Next)
	switch {
	case len(s.Next.Certificate) == 0 && now.Before(renew):
		return s, renew, nil
	case err != nil || !covers(next, hosts): // nothing is prepared yet, or not for these hosts
		pair, ca, err := issue(now, terms, hosts)
		if err != nil {
			return s, now, err
		}
		own, err := issuer(s.CA, serving)
		if err != nil {
			return s, now, err
		}
		s.Next, s.CA = pair, slices.Concat(ca, own)
		return s, now.Add(terms.Overlap), nil
	case !bytes.Equal(published, s.CA) || now.Sub(since) < terms.Overlap:
		return s, now.Add(terms.Overlap), nil
	}
	s.Serving, s.Next = s.Next, Pair{}
	return s, next.NotAfter.Add(-terms.Renew), nil
}

// After returns a state in which the pair of found is served after that of kept, when its CA is published. It is found
// if kept cannot be served at now, and kept if found cannot.
func After(kept, found State, now time.Time, hosts ...string) State {
	if c, err := leaf(kept.Serving); err != nil || !covers(c, hosts) || !now.Before(c.NotAfter) {
		return found
	}
	next, err := leaf(found.Serving)
	if err != nil {
		return kept
	}
	if _, err := issuer(found.CA, next); err != nil {
		return kept
	}
	return State{Serving: kept.Serving, Next: found.Serving, CA: slices.Concat(found.CA, kept.CA)}
}

// leaf is the certificate of a pair.
func leaf(p Pair) (*x509.Certificate, error) {
	pair, err := p.TLS()
	if err != nil {
		return nil, err
	}
	return pair.Leaf, nil
}

// covers reports whether a certificate is for all hosts.
func covers(c *x509.Certificate, hosts []string) bool {
	for _, host := range hosts {
		if c.VerifyHostname(host) != nil {
			return false
		}
	}
	return true
}

// issuer is the certificate, among those of a bundle, that signed another one; PEM.
func issuer(bundle []byte, of *x509.Certificate) ([]byte, error) {
	all, err := cert.ParseCertsPEM(bundle)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", keyCA, err)
	}
	for _, ca := range all {
		if of.CheckSignatureFrom(ca) == nil {
			return cert.EncodeCertificates(ca)
		}
	}
	return nil, errors.New("the CA of the certificate that is served is not kept")
}

// issue makes a pair and its CA. They are valid from an hour ago, for clocks that are behind.
func issue(now time.Time, terms Terms, hosts []string) (Pair, []byte, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, nil, fmt.Errorf("make the key of a CA: %w", err)
	}
	caSerial, err := serial()
	if err != nil {
		return Pair{}, nil, err
	}
	from, to := now.Add(-time.Hour), now.Add(terms.Life)
	ca := &x509.Certificate{
		// CAs differ by name, so that clients that look for an issuer by its name find the right one.
		SerialNumber: caSerial, Subject: pkix.Name{CommonName: fmt.Sprintf("fleet-webhook-ca-%x", caSerial)}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return Pair{}, nil, fmt.Errorf("make a CA: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, nil, fmt.Errorf("make the key of a certificate: %w", err)
	}
	number, err := serial()
	if err != nil {
		return Pair{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: number, Subject: pkix.Name{CommonName: hosts[0]}, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
	if err != nil {
		return Pair{}, nil, fmt.Errorf("make a certificate: %w", err)
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return Pair{}, nil, fmt.Errorf("write the key of a certificate: %w", err)
	}
	encode := func(der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: der})
	}
	return Pair{encode(der), keyPEM}, encode(caDER), nil
}

func serial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	return n, nil
}
