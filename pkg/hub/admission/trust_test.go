package admission

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"

	"github.com/flagship-fleet/flagship/pkg/admission/certificate"
	"github.com/flagship-fleet/flagship/pkg/admission/webhook"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// made is a certificate with a CA of its own.
func made(t *testing.T) certificate.State {
	t.Helper()
	state, err := certificate.New(time.Now(), certificate.DefaultTerms, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// mount replaces the files of the certificate, each at once.
func mount(t *testing.T, dir string, pair certificate.Pair) {
	t.Helper()
	for name, data := range map[string][]byte{"tls.key": pair.Key, "tls.crt": pair.Certificate} {
		next := filepath.Join(dir, name+".next")
		if err := errors.Join(os.WriteFile(next, data, 0o600), os.Rename(next, filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
	}
}

// holds is nil if a source of certificates returns pair.
func holds(of func() ([][]byte, error), pair certificate.Pair) error {
	want, err := pair.TLS()
	if err != nil {
		return err
	}
	got, err := of()
	if err == nil && string(got[0]) != string(want.Certificate[0]) {
		err = errors.New("it is another certificate")
	}
	return err
}

// The files of a pod and the CA in the configurations change in any order: a replica serves what is trusted.
func TestTheCertificateThatIsTrustedIsServed(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	hub := testworld.StartCluster(t, testworld.ClusterOptions{Name: "hub"})
	older, newer := made(t), made(t)
	configuration := webhook.Make(webhook.Options{Client: webhook.Client{URL: "https://127.0.0.1:1"}, CA: older.CA}).Validating
	if err := hub.Client.Create(t.Context(), configuration); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	mount(t, dir, older.Serving)
	files, err := certwatcher.New(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	trust := &Trust{Config: hub.Config, Now: time.Now}
	files.WithWatchInterval(50 * time.Millisecond).RegisterCallback(func(pair tls.Certificate) { trust.Take(t.Context(), &pair) })
	testworld.Go(t, "the watch of files", files.Start)
	testworld.Go(t, "the watch of configurations", trust.Start)
	loaded := func() ([][]byte, error) {
		c, err := files.GetCertificate(nil)
		return c.Certificate, err
	}
	served := func() ([][]byte, error) {
		c, err := trust.Certificate(nil)
		return c.Certificate, err
	}
	trusted := func(context.Context) error {
		trust.mu.Lock()
		defer trust.mu.Unlock()
		if !trust.trusted {
			return errors.New("it does not")
		}
		return nil
	}
	testworld.Await(t, testworld.Soon, "the agent to know the CA", trusted)
	mount(t, dir, newer.Serving)
	testworld.Await(t, testworld.Soon, "the new certificate to be read", func(context.Context) error { return holds(loaded, newer.Serving) })
	if err := holds(served, older.Serving); err != nil {
		t.Errorf("the certificate that the configuration trusts is not served: %v", err)
	}
	for i := range configuration.Webhooks {
		configuration.Webhooks[i].ClientConfig.CABundle = newer.CA
	}
	if err := hub.Client.Update(t.Context(), configuration); err != nil {
		t.Fatal(err)
	}
	testworld.Await(t, testworld.Soon, "the new certificate to be served", func(context.Context) error { return holds(served, newer.Serving) })
	if notes := trust.Notes(); notes != nil {
		t.Errorf("notes %v", notes)
	}
	for i := range configuration.Webhooks {
		configuration.Webhooks[i].ClientConfig.CABundle = made(t).CA
	}
	if err := hub.Client.Update(t.Context(), configuration); err != nil {
		t.Fatal(err)
	}
	testworld.Await(t, testworld.Soon, "a note about a CA that trusts nothing", func(context.Context) error {
		if len(trust.Notes()) == 0 {
			return errors.New("there is none")
		}
		return nil
	})
}
