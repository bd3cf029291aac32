package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	"github.com/flagship-fleet/flagship/pkg/testworld"
)

// What these scenarios assert is in sweep: nothing shows the mark. They await that each report is there which could.

// secret has the mark wherever a Secret can hold a text.
func (s contents) secret(name, place string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.app, Name: name, Annotations: map[string]string{"copy": marked(place + " annotation")}},
		Data:       map[string][]byte{"data": []byte(marked(place))},
		StringData: map[string]string{"text": marked(place + " text")},
	}
}

// placeSecrets creates the scenario's placement, of Secrets beside cm.
func (s *scene) placeSecrets(options ...testworld.Option) v1beta1.PlacementObject {
	s.Helper()
	if s.namespaced {
		options = append(options, testworld.Selecting(testworld.Named("", "v1", "ConfigMap", "cm"), testworld.Named("", "v1", "Secret", "")))
	}
	return s.place(options...)
}

// reportsOfSecrets waits until what a status lists about Secrets of clusters, in the words of told and with the
// messages of what failed, has these texts.
func (s ofPlacement) reportsOfSecrets(texts ...string) {
	s.Helper()
	testworld.Await(s.T, testworld.Workload, s.p.GetName()+" to report about Secrets", func(ctx context.Context) error {
		if err := theHub.Get(ctx, client.ObjectKeyFromObject(s.p), s.p); err != nil {
			return err
		}
		var lines []string
		for _, entry := range s.p.GetStatus().PerClusterPlacementStatuses {
			for _, c := range entry.Conditions {
				lines = append(lines, c.Type+": "+c.Message)
			}
			for _, f := range entry.FailedPlacements {
				lines = append(lines, fmt.Sprintf("%s %s fails: %s", f.Kind, f.Name, f.Condition.Message))
			}
			listed, err := told(entry)
			if err != nil {
				return err
			}
			lines = append(lines, listed...)
		}
		all := strings.Join(lines, "\n")
		for _, text := range texts {
			if !strings.Contains(all, text) {
				return fmt.Errorf("%q is not in:\n%s", text, all)
			}
		}
		return nil
	})
}

// explained calls what prints about a placement, whose output is searched.
func (s *scene) explained() {
	s.Helper()
	var in []string
	if s.namespaced {
		in = []string{"--namespace", s.app}
	}
	s.fleet(append([]string{"explain", "placement", s.name}, in...)...)
	s.fleet(append([]string{"rollout", "history", s.name}, in...)...)
}

func TestSecretsThatDriftAreNotShown(t *testing.T) {
	inBothScopes(t, func(s *scene) {
		s.create(s.secret("planted", "hub"))
		p := s.placeSecrets(testworld.PickFixed(c1.name), testworld.Applying(v1beta1.ApplyStrategy{
			WhenToApply: v1beta1.WhenToApplyIfNotDrifted, WhenToTakeOver: v1beta1.WhenToTakeOverIfNoDiff, ComparisonOption: v1beta1.ComparisonOptionFullComparison,
		}))
		s.receives(s.secret("planted", ""), c1)

		const hidden = contract.TextRedacted
		testworld.Update(s, c1, s.secret("planted", ""), func(live *corev1.Secret) {
			live.Data = map[string][]byte{"data": []byte(marked("member")), "more": []byte(marked("member more"))}
			live.Annotations["copy"] = marked("member annotation")
		})
		s.of(p).reportsOfSecrets("has drifted: /data/data ("+hidden+"→"+hidden+")", "/data/more (→"+hidden+")", "/metadata/annotations/copy ("+hidden+"→"+hidden+")")
	})
}

func TestSecretsThatAreRefusedAreNotShown(t *testing.T) {
	s := begin(t)
	raw := func(name, rest string) runtime.RawExtension {
		return runtime.RawExtension{Raw: fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Secret","metadata":{"namespace":%q,"name":%q,"annotations":{"copy":%q,
			"kubernetes-fleet.io/available-when":"duration(object.metadata.annotations.copy) < duration('1s')"}},%s}`, s.app, name, marked("envelope annotation"),
			strings.ReplaceAll(rest, "MARK", marked("envelope")))}
	}
	envelope := s.wrapped()
	envelope.Data = map[string]runtime.RawExtension{"fixed": raw("fixed", `"immutable":true,"stringData":{"a":"MARK"}`)}
	s.create(envelope)
	p := s.place(testworld.PickFixed(c1.name))
	s.receives(s.secret("fixed", ""), c1)
	testworld.Update(s, theHub, envelope, func(e *v1beta1.ResourceEnvelope) {
		e.Data = map[string]runtime.RawExtension{
			"fixed":  raw("fixed", `"immutable":true,"stringData":{"a":"MARK again"}`),
			"type":   raw("bad-type", `"type":"kubernetes.io/tls","stringData":{"a":"MARK"}`),
			"key":    raw("bad-key", `"stringData":{"not a key":"MARK"}`),
			"base64": raw("bad-base64", `"data":{"a":"MARK!"}`),
			"shape":  raw("bad-shape", `"data":["MARK"]`),
		}
	})
	s.of(p).reportsOfSecrets("Secret fixed fails: ", "Secret bad-type fails: ", "Secret bad-key fails: ", "Secret bad-base64 fails: ", "Secret bad-shape fails: ")
	s.explained()
}

func TestOverriddenSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		patch v1beta1.JSONPatchOverride
		told  []string
	}{
		"a variable that ends in another value": {
			testworld.Patch(v1beta1.JSONPatchAdd, "/data", map[string]string{"a": "${MEMBER-CLUSTER-LABEL-KEY-region", "b": marked("override") + "}"}),
			[]string{"is not a valid label key"},
		},
		"a path that leads nowhere": {
			testworld.Patch(v1beta1.JSONPatchReplace, "/data/missing/deep", marked("override")), []string{"replace /data/missing/deep: "},
		},
		"what the hub's API server refuses, which quotes the metadata of a Secret": {
			testworld.Patch(v1beta1.JSONPatchAdd, "/metadata/labels", map[string]any{"number": 5, "mark": marked("override")}),
			[]string{"refuses work ", "metadata: Invalid value: "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := begin(t)
			s.create(s.secret("planted", "hub"))
			o := testworld.Override(s.app, s.name+"-secret", testworld.Patching(everywhere, tc.patch))
			o.Spec.ResourceSelectors[0].Kind, o.Spec.ResourceSelectors[0].Name = "Secret", "planted"
			s.create(o)
			s.of(s.place(testworld.PickFixed(c1.name))).reportsOfSecrets(tc.told...)
			s.explained()
		})
	}
}
