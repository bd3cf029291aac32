package apply

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
)

func TestStandingToALedger(t *testing.T) {
	who := Identity{Hub: "h1", Namespace: "fleet-member-a", Work: "w1"}
	for name, tc := range map[string]struct {
		hub, work types.UID
		namespace string
		held      string
		unknown   bool // the agent does not know the hub
		want      Standing
	}{
		"all three agree":               {hub: "h1", namespace: "fleet-member-a", work: "w1", want: Own},
		"from an agent that wrote none": {namespace: "fleet-member-a", want: Own},
		"an older hub":                  {hub: "h1", namespace: "fleet-member-a", work: "w1", unknown: true, want: Own},
		"an earlier Work":               {hub: "h1", namespace: "fleet-member-a", work: "w0", want: Inherited},
		"another hub":                   {hub: "h2", namespace: "fleet-member-a", work: "w1", want: Foreign},
		"another member":                {hub: "h1", namespace: "fleet-member-b", work: "w1", want: Foreign},
		"another member, older agent":   {namespace: "fleet-member-b", want: Foreign},
		"another member, older hub":     {namespace: "fleet-member-b", unknown: true, want: Foreign},
		"another hub, released":         {hub: "h2", namespace: "fleet-member-a", work: "w1", held: contract.HeldRelease, want: Inherited},
		"another member, held":          {hub: "h1", namespace: "fleet-member-b", work: "w1", held: contract.HeldYes, want: Foreign},
	} {
		t.Run(name, func(t *testing.T) {
			ledger := &v1beta1.AppliedWork{Spec: v1beta1.AppliedWorkSpec{HubUID: tc.hub, WorkNamespace: tc.namespace, WorkUID: tc.work}}
			if tc.held != "" {
				ledger.Annotations = map[string]string{contract.AnnotationHeld: tc.held}
			}
			who := who
			if tc.unknown {
				who.Hub = ""
			}
			if got := who.StandingTo(ledger); got != tc.want {
				t.Errorf("%s; want %s", got, tc.want)
			}
			who.Record(ledger)
			if !who.Recorded(ledger) || who.StandingTo(ledger) != Own {
				t.Errorf("after it was recorded, the standing is %s", who.StandingTo(ledger))
			}
		})
	}
}
