package hublink

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// unreachable is why a request got no answer, and what the user has to change if retrying cannot help.
func (s *Settings) unreachable(err error) string {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		plain   tls.RecordHeaderError
	)
	switch {
	case errors.Is(err, errNoToken), errors.Is(err, errNoCertificate):
		return err.Error()
	case errors.As(err, &unknown):
		return fmt.Sprintf("%s is not trusted: %v; set %s (base64 of PEM) or %s (file) to the hub's certificate authority", s.Server, unknown, caInline, caFile)
	case errors.As(err, &name), errors.As(err, &invalid):
		return fmt.Sprintf("%s is not trusted: %v; %s must be a URL whose host is in the hub's certificate", s.Server, err, serverURL)
	case errors.As(err, &plain):
		return fmt.Sprintf("%s does not speak TLS: %v; check %s", s.Server, plain, serverURL)
	}
	return fmt.Sprintf("%s is unreachable: %v", s.Server, err)
}

// barred is why the hub denies the agent access to its namespace, and what to check.
func (s *Settings) barred(err error) string {
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Sprintf("namespace %s on %s: %v; is there a MemberCluster %s whose spec.identity is this identity?", s.Namespace(), s.Server, err, s.Member)
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("%s does not serve Flagship's API: %v; is the hub agent's chart installed there?", s.Server, err)
	}
	return fmt.Sprintf("namespace %s on %s cannot be read: %v", s.Namespace(), s.Server, err)
}
