package admission

import (
	"context"
	"crypto"
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
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/pkg/admission/webhook"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// certManager plays the parts of cert-manager that the chart uses: Certificates of a self-signed Issuer and of one with
// a CA, and the injection of the CA into webhook configurations. There are no Services here by whose name the API
// server could call the agent, so certificates are for the loopback address, too.
type certManager struct {
	mu sync.Mutex
	// serial is that of the last certificate.
	serial int64
}

// run issues what is missing, and injects, until ctx ends.
func (m *certManager) run(ctx context.Context) error {
	for ; ctx.Err() == nil; testworld.Pause() {
		all := &unstructured.UnstructuredList{}
		all.SetAPIVersion("cert-manager.io/v1")
		all.SetKind("CertificateList")
		if err := master.List(ctx, all, client.InNamespace(contract.NamespaceSystem)); err != nil {
			continue // the chart is not installed yet
		}
		for i := range all.Items {
			if _, err := m.secret(ctx, secretOf(&all.Items[i])); apierrors.IsNotFound(err) {
				_ = m.issue(ctx, &all.Items[i]) // again with the next turn, like a CA that is not issued yet
			}
		}
		_ = m.inject(ctx) // again with the next turn
	}
	return nil
}

func field(obj *unstructured.Unstructured, path ...string) string {
	text, _, _ := unstructured.NestedString(obj.Object, append([]string{"spec"}, path...)...)
	return text
}

func secretOf(certificate *unstructured.Unstructured) string { return field(certificate, "secretName") }

func (m *certManager) secret(ctx context.Context, name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	return secret, master.Get(ctx, types.NamespacedName{Namespace: contract.NamespaceSystem, Name: name}, secret)
}

func certManagerObject(ctx context.Context, kind, name string) (*unstructured.Unstructured, error) {
	obj := &unstructured.Unstructured{}
	obj.SetAPIVersion("cert-manager.io/v1")
	obj.SetKind(kind)
	return obj, master.Get(ctx, types.NamespacedName{Namespace: contract.NamespaceSystem, Name: name}, obj)
}

// renew issues the Certificate of a name again.
func (m *certManager) renew(t *testing.T, name string) {
	t.Helper()
	c, err := certManagerObject(t.Context(), "Certificate", name)
	if err == nil {
		err = m.issue(t.Context(), c)
	}
	if err != nil {
		t.Fatalf("renew Certificate %s: %v", name, err)
	}
}

// issue issues a Certificate, and writes its Secret.
func (m *certManager) issue(ctx context.Context, c *unstructured.Unstructured) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	secret, err := m.secret(ctx, secretOf(c))
	exists := err == nil
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	key, err := keyOf(secret, exists && field(c, "privateKey", "rotationPolicy") == "Never")
	if err != nil {
		return err
	}
	issuer, err := certManagerObject(ctx, "Issuer", field(c, "issuerRef", "name"))
	if err != nil {
		return err
	}
	m.serial++
	template, err := templateOf(c, m.serial)
	if err != nil {
		return err
	}
	parent, signer := template, key
	if caSecret := field(issuer, "ca", "secretName"); caSecret != "" {
		ca, err := m.secret(ctx, caSecret)
		if err != nil {
			return err
		}
		pair, err := tls.X509KeyPair(ca.Data["tls.crt"], ca.Data["tls.key"])
		if err != nil {
			return err
		}
		parent, signer = pair.Leaf, pair.PrivateKey.(crypto.Signer)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return err
	}
	encoded := pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: der})
	secret.Data = map[string][]byte{"tls.crt": encoded, "tls.key": keyPEM, "ca.crt": encoded}
	if parent != template {
		secret.Data["ca.crt"] = pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: parent.Raw})
	}
	if exists {
		return master.Update(ctx, secret)
	}
	secret.Namespace, secret.Name = contract.NamespaceSystem, secretOf(c)
	return master.Create(ctx, secret)
}

// keyOf is the key in a Secret if it is kept, or else another one.
func keyOf(secret *corev1.Secret, keep bool) (crypto.Signer, error) {
	if !keep {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	key, err := keyutil.ParsePrivateKeyPEM(secret.Data["tls.key"])
	if err != nil {
		return nil, err
	}
	return key.(crypto.Signer), nil
}

// templateOf is the certificate that a Certificate specifies.
func templateOf(c *unstructured.Unstructured, serial int64) (*x509.Certificate, error) {
	life, err := time.ParseDuration(field(c, "duration"))
	if err != nil {
		return nil, err
	}
	hosts, _, _ := unstructured.NestedStringSlice(c.Object, "spec", "dnsNames")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: field(c, "commonName")},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: hosts, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if isCA, _, _ := unstructured.NestedBool(c.Object, "spec", "isCA"); isCA {
		template.IsCA, template.KeyUsage, template.ExtKeyUsage, template.IPAddresses = true, x509.KeyUsageCertSign, nil, nil
	}
	return template, nil
}

// inject writes the CA of each configuration that asks for it.
func (m *certManager) inject(ctx context.Context) error {
	mutating := &registrationv1.MutatingWebhookConfiguration{}
	err := m.injectInto(ctx, webhook.MutatingName, mutating, func() (out []*registrationv1.WebhookClientConfig) {
		for i := range mutating.Webhooks {
			out = append(out, &mutating.Webhooks[i].ClientConfig)
		}
		return out
	})
	for _, name := range []string{webhook.ValidatingName, webhook.GuardRailName} {
		validating := &registrationv1.ValidatingWebhookConfiguration{}
		err = errors.Join(err, m.injectInto(ctx, name, validating, func() (out []*registrationv1.WebhookClientConfig) {
			for i := range validating.Webhooks {
				out = append(out, &validating.Webhooks[i].ClientConfig)
			}
			return out
		}))
	}
	return err
}

func (m *certManager) injectInto(ctx context.Context, name string, obj client.Object, clients func() []*registrationv1.WebhookClientConfig) error {
	if err := master.Get(ctx, types.NamespacedName{Name: name}, obj); err != nil {
		return err
	}
	_, from, ok := strings.Cut(obj.GetAnnotations()["cert-manager.io/inject-ca-from"], "/")
	if !ok {
		return nil
	}
	c, err := certManagerObject(ctx, "Certificate", from)
	if err != nil {
		return err
	}
	secret, err := m.secret(ctx, secretOf(c))
	if err != nil {
		return err
	}
	changed := false
	for _, to := range clients() {
		changed = changed || string(to.CABundle) != string(secret.Data["ca.crt"])
		to.CABundle = secret.Data["ca.crt"]
	}
	if !changed {
		return nil
	}
	return master.Update(ctx, obj)
}

// kindsOfCertManager are the definitions of the kinds in the chart, without schemas.
func kindsOfCertManager() []*unstructured.Unstructured {
	const definition = `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: %[1]ss.cert-manager.io}, spec: {
		group: cert-manager.io, scope: Namespaced, names: {kind: %[2]s, plural: %[1]ss, singular: %[1]s}, versions: [{name: v1, served: true,
		storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}`
	return []*unstructured.Unstructured{
		object(fmt.Sprintf(definition, "issuer", "Issuer")), object(fmt.Sprintf(definition, "certificate", "Certificate")),
	}
}

// servedSerial is the serial number of the certificate that the agent serves.
func servedSerial(ctx context.Context) (int64, error) {
	configuration := &registrationv1.ValidatingWebhookConfiguration{}
	if err := master.Get(ctx, types.NamespacedName{Name: webhook.ValidatingName}, configuration); err != nil {
		return 0, err
	}
	address, err := url.Parse(*configuration.Webhooks[0].ClientConfig.URL)
	if err != nil {
		return 0, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(configuration.Webhooks[0].ClientConfig.CABundle)
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}).DialContext(ctx, "tcp", address.Host)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

// standing writes overrides until the test stops it; it ends with the first refusal. It returns how many it has
// written.
func standing(t *testing.T, tolerates func(error) bool) (*testworld.Running, *atomic.Int64) {
	t.Helper()
	var written atomic.Int64
	running := testworld.Go(t, "the writer", func(ctx context.Context) error {
		for n := 0; ctx.Err() == nil; n++ {
			role := fmt.Sprintf("[{group: rbac.authorization.k8s.io, version: v1, kind: ClusterRole, name: r%d}]", n)
			err := master.Create(ctx, clusterOverride("standing", role, good))
			if err == nil || apierrors.IsAlreadyExists(err) {
				err = client.IgnoreNotFound(master.Delete(ctx, clusterOverride("standing", role, good)))
			}
			if err != nil && ctx.Err() == nil && !tolerates(err) {
				return fmt.Errorf("after %d writes: %w", written.Load(), err)
			}
			if err == nil {
				written.Add(1)
			}
		}
		return nil
	})
	t.Cleanup(func() { removed(t, clusterOverride("standing", `[`+roleA+`]`, good)) })
	return running, &written
}

func never(error) bool { return false }

// With cert-manager, neither a new certificate nor a new certificate of its CA keeps users from writing, in whatever
// order the configurations and the pods get them.
func TestNoWriteIsRefusedWhileCertManagerRenews(t *testing.T) {
	for _, kind := range kindsOfCertManager() {
		given(t, kind)
	}
	plays := &certManager{}
	testworld.Go(t, "cert-manager", plays.run)
	values := hubAgent(map[string]any{"enableWorkload": true, "useCertManager": true, "webhookCertSecretName": "fleet-webhook-server-cert"})
	t.Cleanup(func() {
		restart(t, hubAgent(nil), inForce)
		for _, name := range []string{"fleet-webhook-server-cert", "fleet-webhook-server-cert-ca"} {
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: contract.NamespaceSystem, Name: name}}
			if err := client.IgnoreNotFound(master.Delete(testworld.Context(t), secret)); err != nil {
				t.Error(err)
			}
		}
	})
	restart(t, values, inForce)
	writer, written := standing(t, never)
	testworld.AwaitProgress(t, writer, written)
	// mount updates the files of the pod, as the kubelet does some time after the Secret has changed.
	mount := func() {
		if err := local.ConfigureAgent(t.Context(), local.Hub(), values); err != nil {
			t.Fatal(err)
		}
	}
	before, err := servedSerial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name  string
		renew []string
	}{
		{"the certificate", []string{"fleet-webhook-certificate"}},
		{"its CA, and then the certificate", []string{"fleet-webhook-ca", "fleet-webhook-certificate"}},
	} {
		for _, name := range step.renew {
			plays.renew(t, name)
			testworld.AwaitProgress(t, writer, written)
		}
		mount()
		testworld.Await(t, testworld.Workload, "the new certificate to be served", func(ctx context.Context) error {
			serial, err := servedSerial(ctx)
			if err == nil && serial == before {
				err = errors.New("the old one is")
			}
			if err == nil {
				before = serial
			}
			return err
		})
		testworld.AwaitProgress(t, writer, written)
	}
	writer.Stop()
}
