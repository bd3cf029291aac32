package localfleet

import (
	"slices"
	"strings"
	"testing"
)

func TestDefaultFleet(t *testing.T) {
	config := DefaultConfig()
	if err := config.check(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, member := range config.Members {
		names = append(names, member.Name)
		if !member.Joins() || member.Labels["region"] == "" || member.Labels["env"] == "" {
			t.Errorf("%s: joins %v, labels %v", member.Name, member.Joins(), member.Labels)
		}
	}
	if got := config.Hub.Name + " " + strings.Join(names, " "); got != "hub spoke-1 spoke-2 spoke-3" {
		t.Errorf("clusters %s", got)
	}
	if id := config.Members[0].Identity; id != (Identity{Kind: "ServiceAccount", Namespace: "fleet-system", Name: "fleet-member-agent-spoke-1"}) {
		t.Errorf("identity %+v", id)
	}
}

func TestDescriptionOfAFleet(t *testing.T) {
	config, err := ParseConfig([]byte(`
hub:
  name: headquarters
  port: 7443
  agent:
    flags: {v: "4"}
    values: {replicaCount: 0, resources: {limits: {cpu: 1}}}
  nodes: [{count: 3}]
members:
- name: paris
  labels: {region: europe}
  taints: [{key: dedicated, value: gpu, effect: NoSchedule}]
  nodes:
  - {count: 2}
  - {count: 1, namePrefix: big, capacity: {cpu: "64"}, taints: [{key: big, effect: NoSchedule}]}
  identity: {namespace: agents, name: paris}
  heartbeatPeriodSeconds: 1
  join: false
`))
	if err != nil {
		t.Fatal(err)
	}
	paris := config.Members[0]
	if config.Hub.Name != "headquarters" || config.Hub.Port != 7443 || config.Hub.Agent.Flags["v"] != "4" ||
		len(config.Hub.Nodes) != 1 || config.Hub.Nodes[0].Count != 3 {
		t.Errorf("hub %+v", config.Hub)
	}
	if paris.Joins() || paris.HeartbeatPeriodSeconds != 1 || len(paris.Nodes) != 2 || paris.Identity.Name != "paris" {
		t.Errorf("member %+v", paris)
	}
}

// An empty list means none, and a missing one the default; also after the description was saved.
func TestNoneIsNotTheDefault(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"members: []", "members: [{name: a, nodes: []}]"} {
		given, err := ParseConfig([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := (state{Config: given}).save(dir); err != nil {
			t.Fatal(err)
		}
		known, err := loadState(dir)
		if err != nil || !sameConfig(known.Config, given) || sameConfig(known.Config, Config{}) {
			t.Errorf("%s: remembered as %+v, error %v", text, known, err)
		}
		config := known.Config.complete()
		for _, member := range config.Members {
			if member.Nodes == nil || len(member.Nodes) > 0 {
				t.Errorf("%s: nodes %v", text, member.Nodes)
			}
		}
		if want := strings.Count(text, "name"); len(config.Members) != want {
			t.Errorf("%s: %d members", text, len(config.Members))
		}
	}
}

// An error names the field, its value and what to do.
func TestWrongDescriptions(t *testing.T) {
	for name, c := range map[string]struct {
		yaml string
		says []string
	}{
		"unknown field":      {"members: [{name: a, lables: {}}]", []string{`members[0].lables`}},
		"two of one name":    {"members: [{name: a}, {name: a}]", []string{`members[1].name "a"`, "members[0]", "use another name"}},
		"member named hub":   {"members: [{name: hub}]", []string{`members[0].name "hub"`, "use another name"}},
		"bad name":           {"hub: {name: Hub_1}", []string{`hub.name "Hub_1"`, "lower"}},
		"name of a file":     {"hub: {name: kubeconfig}", []string{"hub.name", "use another name"}},
		"no name":            {"members: [{}]", []string{`members[0].name ""`}},
		"long name":          {"members: [{name: " + strings.Repeat("a", 51) + "}]", []string{"at most 50"}},
		"port out of range":  {"hub: {port: 70000}", []string{"hub.port 70000", "65535"}},
		"port twice":         {"hub: {port: 7000}\nmembers: [{name: a, port: 7000}]", []string{"members[0].port 7000", "already the port of hub"}},
		"flag with dashes":   {"hub: {agent: {flags: {--v: \"4\"}}}", []string{`hub.agent.flags "--v"`, "without dashes"}},
		"user as identity":   {"members: [{name: a, identity: {kind: User, name: u}}]", []string{`identity.kind "User"`, "ServiceAccount"}},
		"heartbeat too slow": {"members: [{name: a, heartbeatPeriodSeconds: 601}]", []string{"heartbeatPeriodSeconds 601", "1 to 600"}},
		"bad label":          {"members: [{name: a, labels: {region: \"a b\"}}]", []string{"members[0].labels region"}},
		"wrong effect":       {"members: [{name: a, taints: [{key: k, effect: NoExecute}]}]", []string{"members[0].taints[0] k=:NoExecute", "NoSchedule"}},
		"negative count":     {"members: [{name: a, nodes: [{count: -1}]}]", []string{"members[0].nodes[0].count -1"}},
		"of the hub's nodes": {"hub: {nodes: [{count: -1}]}", []string{"hub.nodes[0].count -1"}},
		"same prefix twice":  {"members: [{name: a, nodes: [{count: 1}, {count: 1}]}]", []string{"members[0].nodes[1].namePrefix"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseConfig([]byte(c.yaml))
			if err == nil {
				t.Fatal("accepted")
			}
			for _, says := range c.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("error %q does not say %q", err, says)
				}
			}
		})
	}
}

func TestAgentsLeadLong(t *testing.T) {
	for _, tc := range []struct{ args, want []string }{
		{[]string{"--v=2"}, []string{"--v=2", "--leader-lease-duration=10m", "--leader-renew-deadline=8m"}},
		{[]string{"--leader-lease-duration=5s"}, []string{"--leader-lease-duration=5s"}},
		{[]string{"-leader-renew-deadline=5s", "--v=2"}, []string{"-leader-renew-deadline=5s", "--v=2"}},
	} {
		if got := leadLong(tc.args); !slices.Equal(got, tc.want) {
			t.Errorf("%q becomes %q; want %q", tc.args, got, tc.want)
		}
	}
}
