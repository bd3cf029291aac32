// Package hublink connects a member agent to its hub: the address, the credentials, and the messages for a connection
// that fails. Settings come from the environment; the result is a client configuration whose reads wait for the hub
// instead of failing, and Await, which returns once the agent may read its namespace there.
package hublink

import (
	"bufio"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/flagship-fleet/flagship/pkg/contract"
)

// Variables of the environment. Except tokenSecret they are the names that existing manifests use.
const (
	serverURL   = "HUB_SERVER_URL"
	memberName  = "MEMBER_CLUSTER_NAME"
	tokenFile   = "CONFIG_PATH"
	tokenSecret = "HUB_TOKEN_SECRET"
	clientKey   = "IDENTITY_KEY"
	clientCert  = "IDENTITY_CERT"
	caFile      = "CA_BUNDLE"
	caInline    = "HUB_CERTIFICATE_AUTHORITY"
	headerLines = "HUB_KUBE_HEADER"
)

// Settings are the hub's address and the agent's credentials. Exactly one of TokenFile, TokenSecret, and the pair
// CertFile and KeyFile is set.
type Settings struct {
	// Server is the URL of the hub's API server.
	Server string
	// Member is the name of the MemberCluster that this agent serves.
	Member string

	// TokenFile holds a bearer token; it is read again whenever it changes.
	TokenFile string
	// TokenSecret is a Secret of the member cluster whose key "token" holds the bearer token; it is watched.
	TokenSecret types.NamespacedName
	// CertFile and KeyFile are a client certificate.
	CertFile, KeyFile string

	// CAFile or CA hold the PEM certificates against which the hub's certificate is verified; with neither the
	// system's are used.
	CAFile string
	CA     []byte
	// Insecure disables that verification.
	Insecure bool
	// Headers are added to every request.
	Headers http.Header
}

// Environment is os.LookupEnv, or a test's.
type Environment func(string) (string, bool)

// FromEnvironment reads the settings. useCertificate and insecure are the flags --use-ca-auth and --tls-insecure. The
// error names every invalid variable and how to correct it.
func FromEnvironment(env Environment, useCertificate, insecure bool) (Settings, error) {
	s := Settings{Insecure: insecure}
	errs := []error{s.readHub(env), s.readTrust(env), s.readHeaders(env)}
	if useCertificate {
		errs = append(errs, s.readCertificate(env))
	} else {
		errs = append(errs, s.readToken(env))
	}
	return s, errors.Join(errs...)
}

// Namespace is the member's namespace on the hub.
func (s *Settings) Namespace() string { return contract.MemberNamespace(s.Member) }

func (s *Settings) readHub(env Environment) error {
	var errs []error
	s.Server, _ = env(serverURL)
	if u, err := url.Parse(s.Server); s.Server == "" {
		errs = append(errs, fmt.Errorf("%s is not set: set it to the URL of the hub's API server, https://host:port", serverURL))
	} else if err != nil || u.Host == "" || u.Scheme != "https" {
		// With plain text, any listener reads the token, and any server that answers decides what runs on this
		// cluster.
		errs = append(errs, fmt.Errorf("%s is %q: it must be a URL like https://host:port; plain http is refused, on loopback too", serverURL, s.Server))
	}
	s.Member, _ = env(memberName)
	if s.Member == "" {
		errs = append(errs, fmt.Errorf("%s is not set: set it to the name of this cluster's MemberCluster on the hub", memberName))
	} else if wrong := validation.IsDNS1123Label(s.Namespace()); wrong != nil {
		errs = append(errs, fmt.Errorf("%s is %q, and %q cannot be a namespace on the hub: %s", memberName, s.Member, s.Namespace(), strings.Join(wrong, "; ")))
	}
	return errors.Join(errs...)
}

func (s *Settings) readToken(env Environment) error {
	file, hasFile := env(tokenFile)
	secret, hasSecret := env(tokenSecret)
	switch {
	case hasFile && hasSecret:
		return fmt.Errorf("%s and %s are both set: set only the one that locates the hub token", tokenFile, tokenSecret)
	case hasSecret:
		namespace, name, ok := strings.Cut(secret, "/")
		if !ok || validation.IsDNS1123Label(namespace) != nil || validation.IsDNS1123Subdomain(name) != nil {
			return fmt.Errorf("%s is %q: it must be <namespace>/<name> of a Secret in this cluster whose key %q holds the hub token", tokenSecret, secret, tokenKey)
		}
		s.TokenSecret = types.NamespacedName{Namespace: namespace, Name: name}
	case file != "":
		s.TokenFile = file
	case hasFile:
		return fmt.Errorf("%s is empty: set it to the path of the file that holds the hub token", tokenFile)
	default:
		return fmt.Errorf("no credentials for the hub: set %s to <namespace>/<name> of a Secret in this cluster, or %s to a file, that holds a hub token; or start with --use-ca-auth", tokenSecret, tokenFile)
	}
	return nil
}

func (s *Settings) readCertificate(env Environment) error {
	var errs []error
	for name, into := range map[string]*string{clientCert: &s.CertFile, clientKey: &s.KeyFile} {
		if *into, _ = env(name); *into == "" {
			errs = append(errs, fmt.Errorf("%s is not set: with --use-ca-auth, set it to the path of a PEM file", name))
		}
	}
	return errors.Join(errs...)
}

func (s *Settings) readTrust(env Environment) error {
	if s.Insecure {
		return nil
	}
	file, hasFile := env(caFile)
	inline, hasInline := env(caInline)
	switch {
	case hasFile && hasInline:
		return fmt.Errorf("%s and %s are both set: set one of them, or neither to trust the system's certificates", caFile, caInline)
	case hasFile && file == "":
		return fmt.Errorf("%s is empty: set it to the path of a PEM file, or unset it to trust the system's certificates", caFile)
	case hasFile:
		s.CAFile = file
	case hasInline:
		pem, err := base64.StdEncoding.DecodeString(strings.TrimSpace(inline))
		if err != nil || !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s does not hold a certificate: it must be PEM, encoded as base64; unset it to trust the system's certificates", caInline)
		}
		s.CA = pem
	}
	return nil
}

func (s *Settings) readHeaders(env Environment) error {
	lines, _ := env(headerLines)
	if strings.TrimSpace(lines) == "" {
		return nil
	}
	text := strings.TrimRight(lines, "\r\n") + "\r\n\r\n"
	header, err := textproto.NewReader(bufio.NewReader(strings.NewReader(text))).ReadMIMEHeader()
	if err != nil {
		return fmt.Errorf("%s cannot be read: %w; set it to lines of the form Name: value", headerLines, err)
	}
	s.Headers = http.Header(header)
	return nil
}
