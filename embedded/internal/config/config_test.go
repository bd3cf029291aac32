package config

import (
	"strings"
	"testing"
)

func TestDefaults(t *testing.T) {
	c, err := Parse([]byte("name: spoke-1\nnodes:\n- count: 2\n  capacity: {cpu: \"2\"}\n- count: 1\n  os: windows\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !c.Schedules() || !*c.Controllers || c.ServiceCIDR != "10.96.0.0/16" {
		t.Errorf("defaults are missing: %+v", c)
	}
	first, second := c.Nodes[0], c.Nodes[1]
	if first.NamePrefix != "spoke-1-node" || first.OS != "linux" || first.Arch != "amd64" {
		t.Errorf("first set: %+v", first)
	}
	if first.Capacity["cpu"] != "2" || first.Capacity["memory"] != "32Gi" || second.Capacity["cpu"] != "8" {
		t.Errorf("capacity: %v, %v", first.Capacity, second.Capacity)
	}
}

func TestNodesFollowTheScheduler(t *testing.T) {
	for text, nodes := range map[string]int{"name: a": 1, "name: a\nscheduler: false": 0, "name: a\nnodes: []": 0} {
		c, err := Parse([]byte(text))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if len(c.Nodes) != nodes {
			t.Errorf("%q: %d node sets, want %d", text, len(c.Nodes), nodes)
		}
	}
}

func TestErrorsNameTheField(t *testing.T) {
	for text, want := range map[string]string{
		"name: a\nnode: []":       `unknown field "node"`,
		"name: A_b":               "name",
		"port: 1":                 "name",
		"name: a\nport: 70000":    "port 70000",
		"name: a\nserviceCIDR: x": "serviceCIDR",
		"name: a\nscheduler: false\nnodes: [{count: 1}]":      "nodes",
		"name: a\nnodes: [{count: 1, os: plan9}]":             "nodes[0]: os",
		"name: a\nnodes: [{count: 1, colour: red}]":           `unknown field "nodes[0].colour"`,
		"name: a\nnodes: [{count: 1, capacity: {cpu: lots}}]": "capacity of cpu",
		"name: a\nnodes: [{count: 1, taints: [{key: k}]}]":    "taints[0]",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", text, err, want)
		}
	}
}
