package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// Choose returns which of several certificates to serve: the first one that every bundle of published verifies, as
// clients do that trust it. pairs begin with the newest one, which is served if no bundle verifies any of them, and
// while nothing is published. It returns an index of pairs, which are not empty, and whether that one is trusted.
func Choose(pairs []*tls.Certificate, published [][]byte, now time.Time) (index int, trusted bool) {
	for i, pair := range pairs {
		if trustedByAll(pair, published, now) {
			return i, len(published) > 0
		}
	}
	return 0, false
}

func trustedByAll(pair *tls.Certificate, published [][]byte, now time.Time) bool {
	between := x509.NewCertPool()
	for _, raw := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(raw); err == nil {
			between.AddCert(c)
		}
	}
	for _, bundle := range published {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(bundle)
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now}); err != nil {
			return false
		}
	}
	return true
}
