package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	both := []string{"fleet-", "kube-"}
	for name, c := range map[string]struct {
		file string
		want Config
		errs []string
	}{
		"without policies": {file: "{}"},
		"a policy with defaults": {
			file: "denyPodsAndReplicaSetsOutsideReservedNamespaces: {}",
			want: Config{Workloads: &WorkloadConfig{ReservedNamespacePrefixes: both}},
		},
		"all fields, in JSON": {
			file: `{"denyServiceAccountsAndTokenRequestsInReservedNamespaces":
				{"ReservedNamespacePrefixes": ["a-"], "WhitelistedUsernames": ["u"], "WhitelistedUserGroups": ["g:h"]}}`,
			want: Config{ServiceAccounts: &ServiceAccountConfig{
				ReservedNamespacePrefixes: []string{"a-"}, WhitelistedUsernames: []string{"u"}, WhitelistedUserGroups: []string{"g:h"},
			}},
		},
		"names of fields in lower case": {
			file: "denyPodsAndReplicaSetsOutsideReservedNamespaces: {reservedNamespacePrefixes: [a]}",
			want: Config{Workloads: &WorkloadConfig{ReservedNamespacePrefixes: []string{"a"}}},
		},
		"an unknown policy": {file: "denyEverything: {}", errs: []string{`unknown field "denyEverything"`}},
		"no prefix": {
			file: "denyPodsAndReplicaSetsOutsideReservedNamespaces: {ReservedNamespacePrefixes: []}",
			errs: []string{"denyPodsAndReplicaSetsOutsideReservedNamespaces.ReservedNamespacePrefixes: Required value"},
		},
		"wrong values": {
			file: `denyServiceAccountsAndTokenRequestsInReservedNamespaces:
  ReservedNamespacePrefixes: ["Fleet-", ""]
  WhitelistedUsernames: ["it's"]
  WhitelistedUserGroups: ["a\\b", ""]`,
			errs: []string{
				`ReservedNamespacePrefixes[0]: Invalid value: "Fleet-"`, `ReservedNamespacePrefixes[1]: Invalid value: ""`,
				`WhitelistedUsernames[0]: Invalid value: "it's"`, `WhitelistedUserGroups[0]: Invalid value: "a\\b"`,
				`WhitelistedUserGroups[1]: Invalid value: ""`,
			},
		},
		"no YAML": {file: "[", errs: []string{"read the configuration of the admission policy manager"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse([]byte(c.file))
			if len(c.errs) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("configuration (-want +got):\n%s", diff)
				}
				return
			}
			if err == nil {
				t.Fatalf("accepted, as %+v", got)
			}
			for _, want := range c.errs {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error is %q; it lacks %q", err, want)
				}
			}
		})
	}
}

func TestGenerateOnlyWhatIsConfigured(t *testing.T) {
	names := func(c Config) []string {
		var out []string
		for _, p := range Generate(c) {
			out = append(out, p.Policy.Name, p.Binding.Name)
		}
		return out
	}
	for name, c := range map[string]struct {
		config Config
		want   []string
	}{
		"none":             {},
		"workloads":        {Config{Workloads: Default().Workloads}, []string{WorkloadsName, WorkloadsName + "-binding"}},
		"service accounts": {Config{ServiceAccounts: Default().ServiceAccounts}, []string{ServiceAccountsName, ServiceAccountsName + "-binding"}},
		"both": {Default(), []string{
			WorkloadsName, WorkloadsName + "-binding", ServiceAccountsName, ServiceAccountsName + "-binding",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, names(c.config)); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
		})
	}
}
