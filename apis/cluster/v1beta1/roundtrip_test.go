package v1beta1_test

import (
	"encoding/json"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
)

// Clients of other makes read and write these objects: an empty list of conditions is always written, and times that
// are not known are null.
func TestJSONIsWhatOtherClientsWrite(t *testing.T) {
	tests := map[string]struct {
		value any
		want  string
	}{
		"a MemberCluster's conditions are always written": {
			value: &v1beta1.MemberClusterStatus{},
			want:  `{"conditions":null,"resourceUsage":{"observationTime":null}}`,
		},
		"an InternalMemberCluster's conditions are always written": {
			value: &v1beta1.InternalMemberClusterStatus{},
			want:  `{"conditions":null,"resourceUsage":{"observationTime":null}}`,
		},
		"an agent's conditions are not": {
			value: &v1beta1.AgentStatus{Type: v1beta1.AgentTypeMemberAgent},
			want:  `{"type":"MemberAgent","lastReceivedHeartbeat":null}`,
		},
		"properties go by name": {
			value: &v1beta1.MemberClusterStatus{
				Conditions: []metav1.Condition{},
				Properties: map[v1beta1.PropertyName]v1beta1.PropertyValue{"kubernetes-fleet.io/node-count": {Value: "3"}},
			},
			want: `{"conditions":[],"properties":{"kubernetes-fleet.io/node-count":{"value":"3","observationTime":null}},` +
				`"resourceUsage":{"observationTime":null}}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			written, err := json.Marshal(test.value)
			if err != nil {
				t.Fatal(err)
			}
			if string(written) != test.want {
				t.Fatalf("written as\n%s, want\n%s", written, test.want)
			}
			if err := json.Unmarshal(written, test.value); err != nil {
				t.Fatal(err)
			}
			again, err := json.Marshal(test.value)
			if err != nil {
				t.Fatal(err)
			}
			if string(again) != test.want {
				t.Errorf("read and written again as\n%s, want\n%s", again, test.want)
			}
		})
	}
}
