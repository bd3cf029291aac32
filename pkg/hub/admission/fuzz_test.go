package admission

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// empty is a cache of a hub without objects.
type empty struct{ cache.Cache }

func (empty) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

func (empty) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

func emptyHub() *Server {
	core := func(kind string) schema.GroupVersionKind { return schema.GroupVersionKind{Version: "v1", Kind: kind} }
	return &Server{Reader: empty{}, Networking: true, Kinds: &Kinds{served: served{core("Namespace"): false, core("ConfigMap"): true}}}
}

// operations are those that a configuration can name, and none.
var operations = []admissionv1.Operation{admissionv1.Create, admissionv1.Update, admissionv1.Delete, admissionv1.Connect, ""}

// texts are objects, and what is none.
var texts = []string{
	``, `null`, `{}`, `[]`, `"a"`, `{`, `{"spec":null}`, `{"metadata":{"name":1}}`, strings.Repeat(`{"a":`, 200),
	`{"metadata":{"name":"p","generateName":"fleet-"},"spec":{"resourceSelectors":[{"group":"","version":"v1","kind":"Namespace","name":"n"}]}}`,
	`{"metadata":{"name":"p"},"spec":{"policy":null,"strategy":{"rollingUpdate":[]},"resourceSelectors":[{"kind":"ConfigMap","version":"v1"}]}}`,
	`{"metadata":{"name":"p"},"spec":{"policy":{"placementType":"PickN","numberOfClusters":-1,"tolerations":[{"key":"%"}],"topologySpreadConstraints":[{}],
		"affinity":{"clusterAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"clusterSelectorTerms":[{"propertySelector":
		{"matchExpressions":[{"name":"a/b/c","operator":"Gt","values":["x"]}]}}]}}}}}}`,
	`{"metadata":{"name":"m","annotations":{"fleet.azure.com/a":"b"}},"spec":{"identity":{"kind":"User","name":"u"},"taints":[{"key":"key@1:"},{"key":"a"},{"key":"a"}]}}`,
	`{"metadata":{"name":"o"},"spec":{"clusterResourceSelectors":[{}, {"labelSelector":{}}],"policy":{"overrideRules":[{"clusterSelector":null,
		"jsonPatchOverrides":[{"op":"add","path":"/","value":{"a":"${MEMBER-CLUSTER-LABEL-KEY-"}}]}]}}}`,
	`{"metadata":{"name":"o","namespace":"n"},"spec":{"resourceSelectors":[{"kind":"ConfigMap","version":"v1","name":"c"}],"policy":{}}}`,
	`{"metadata":{"name":"e"},"spec":{"placementName":"p","clusterName":"c","maxUnavailable":"10%","minAvailable":1}}`,
}

// FuzzHandlers asserts that every webhook answers every request: it allows it, or says why not.
func FuzzHandlers(f *testing.F) {
	handlers := emptyHub().handlers()
	paths := slices.Sorted(maps.Keys(handlers))
	for i := range paths {
		for j := range operations {
			for _, text := range texts {
				f.Add(uint8(i), uint8(j), "clusterresourceplacements", []byte(text), []byte(text))
			}
			f.Add(uint8(i), uint8(j), "memberclusters", []byte(texts[12]), []byte(`{}`))
		}
	}
	f.Fuzz(func(t *testing.T, path, operation uint8, resource string, object, old []byte) {
		handler := handlers[paths[int(path)%len(paths)]]
		answer := handler.Handle(t.Context(), admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
			Operation: operations[int(operation)%len(operations)],
			Resource:  metav1.GroupVersionResource{Group: "cluster.kubernetes-fleet.io", Version: "v1beta1", Resource: resource},
			Namespace: "fleet-member-m", UserInfo: authenticationv1.UserInfo{Username: "u"},
			Object: runtime.RawExtension{Raw: object}, OldObject: runtime.RawExtension{Raw: old},
		}})
		if !answer.Allowed && (answer.Result == nil || answer.Result.Message == "") {
			t.Errorf("it is refused without a reason: %+v", answer)
		}
		if !answer.Allowed && len(answer.Result.Message) > mostOfMessage+1<<10 {
			t.Errorf("the reason has %d bytes", len(answer.Result.Message))
		}
	})
}

// FuzzReviews asserts that what is posted to a webhook is answered by a review, whatever it is, and that nothing panics.
func FuzzReviews(f *testing.F) {
	mux, err := emptyHub().mux(logr.Discard())
	if err != nil {
		f.Fatal(err)
	}
	paths := slices.Sorted(maps.Keys(emptyHub().handlers()))
	for i := range paths {
		for _, text := range texts {
			f.Add(uint8(i), []byte(text))
			f.Add(uint8(i), []byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","operation":"CREATE","object":`+text+`}}`))
			f.Add(uint8(i), []byte(`{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"1","operation":"UPDATE","object":`+text+
				`,"oldObject":`+text+`}}`))
		}
	}
	f.Fuzz(func(t *testing.T, path uint8, body []byte) {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, paths[int(path)%len(paths)], bytes.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		recorder := httptest.NewRecorder()
		mux.ServeHTTP(recorder, request)
		review := struct {
			Response *struct {
				Allowed bool           `json:"allowed"`
				Status  *metav1.Status `json:"status"`
			} `json:"response"`
		}{}
		if err := json.Unmarshal(recorder.Body.Bytes(), &review); err != nil || review.Response == nil {
			t.Fatalf("the answer %d is %q: %v", recorder.Code, recorder.Body.String(), err)
		}
		if strings.Contains(recorder.Body.String(), "[recovered]") {
			t.Errorf("the handler panics: %s", recorder.Body.String())
		}
	})
}
