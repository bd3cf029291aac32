package hublink

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"encoding/pem"

	"k8s.io/apimachinery/pkg/types"
)

// authority is some certificate in PEM.
func authority(t *testing.T) []byte {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

func TestFromEnvironment(t *testing.T) {
	ca := authority(t)
	inline := base64.StdEncoding.EncodeToString(ca)
	const server = "https://hub:6443"

	type variables map[string]string
	with := func(more variables) variables {
		all := variables{serverURL: server, memberName: "spoke-1", tokenSecret: "default/hub-token"}
		for name, value := range more {
			if value == "unset" {
				delete(all, name)
				continue
			}
			all[name] = value
		}
		return all
	}
	plain := Settings{Server: server, Member: "spoke-1", TokenSecret: types.NamespacedName{Namespace: "default", Name: "hub-token"}}
	but := func(change func(*Settings)) Settings { s := plain; change(&s); return s }

	for name, tc := range map[string]struct {
		env                   variables
		certificate, insecure bool
		want                  Settings
		wrong                 []string // parts of the error
	}{
		"a Secret of the member": {env: with(nil), want: plain},
		"a file": {env: with(variables{tokenSecret: "unset", tokenFile: "/config/token"}),
			want: but(func(s *Settings) { s.TokenSecret, s.TokenFile = types.NamespacedName{}, "/config/token" })},
		"both a Secret and a file":   {env: with(variables{tokenFile: "/config/token"}), wrong: []string{"CONFIG_PATH and HUB_TOKEN_SECRET are both set"}},
		"neither":                    {env: with(variables{tokenSecret: "unset"}), wrong: []string{"set HUB_TOKEN_SECRET", "CONFIG_PATH", "--use-ca-auth"}},
		"a Secret without namespace": {env: with(variables{tokenSecret: "hub-token"}), wrong: []string{`HUB_TOKEN_SECRET is "hub-token"`, "<namespace>/<name>"}},
		"an empty file name":         {env: with(variables{tokenSecret: "unset", tokenFile: ""}), wrong: []string{"CONFIG_PATH is empty"}},
		"a certificate needs no token": {env: with(variables{tokenSecret: "unset", clientCert: "/c", clientKey: "/k"}), certificate: true,
			want: but(func(s *Settings) { s.TokenSecret, s.CertFile, s.KeyFile = types.NamespacedName{}, "/c", "/k" })},
		"a certificate without its files": {env: with(nil), certificate: true, wrong: []string{"IDENTITY_CERT is not set", "IDENTITY_KEY is not set"}},
		"everything missing is said at once": {env: variables{}, wrong: []string{"HUB_SERVER_URL is not set", "MEMBER_CLUSTER_NAME is not set",
			"no credentials for the hub"}},
		"plain text":                     {env: with(variables{serverURL: "http://hub:6443"}), wrong: []string{`HUB_SERVER_URL is "http://hub:6443"`, "plain http is refused"}},
		"plain text on loopback":         {env: with(variables{serverURL: "HTTP://127.0.0.1:6443"}), wrong: []string{"plain http is refused"}},
		"a URL without scheme":           {env: with(variables{serverURL: "hub:6443"}), wrong: []string{`HUB_SERVER_URL is "hub:6443"`, "https://host:port"}},
		"a name that is no name":         {env: with(variables{memberName: "Spoke 1"}), wrong: []string{`MEMBER_CLUSTER_NAME is "Spoke 1"`}},
		"an authority inline":            {env: with(variables{caInline: inline}), want: but(func(s *Settings) { s.CA = ca })},
		"an authority in a file":         {env: with(variables{caFile: "/ca.pem"}), want: but(func(s *Settings) { s.CAFile = "/ca.pem" })},
		"two authorities":                {env: with(variables{caInline: inline, caFile: "/ca.pem"}), wrong: []string{"CA_BUNDLE and HUB_CERTIFICATE_AUTHORITY are both set"}},
		"an authority that is set empty": {env: with(variables{caInline: ""}), wrong: []string{"HUB_CERTIFICATE_AUTHORITY does not hold a certificate"}},
		"a bundle that is set empty":     {env: with(variables{caFile: ""}), wrong: []string{"CA_BUNDLE is empty"}},
		"PEM that is not encoded":        {env: with(variables{caInline: string(ca)}), wrong: []string{"HUB_CERTIFICATE_AUTHORITY", "base64"}},
		"insecure ignores authorities":   {env: with(variables{caInline: "", caFile: ""}), insecure: true, want: but(func(s *Settings) { s.Insecure = true })},
		"headers": {env: with(variables{headerLines: "x-tenant: a\nX-Other: b"}),
			want: but(func(s *Settings) { s.Headers = http.Header{"X-Tenant": {"a"}, "X-Other": {"b"}} })},
		"headers that are none": {env: with(variables{headerLines: "tenant a"}), wrong: []string{"HUB_KUBE_HEADER", "Name: value"}},
	} {
		t.Run(name, func(t *testing.T) {
			env := func(name string) (string, bool) { value, ok := tc.env[name]; return value, ok }
			got, err := FromEnvironment(env, tc.certificate, tc.insecure)
			if (err != nil) != (tc.wrong != nil) {
				t.Fatalf("error %v; want one: %v", err, tc.wrong != nil)
			}
			for _, part := range tc.wrong {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
			if err == nil && !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got\n%+v\nwant\n%+v", got, tc.want)
			}
		})
	}
}
