package trace

import (
	"context"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/flagship-fleet/flagship/pkg/contract"
)

var web = Subject{Placement: types.NamespacedName{Namespace: "app", Name: "web"}, UID: "0f6a5a3e-8b2c-4f0e-9d0e-3a1f6f1f2b11"}

// tracer returns a Tracer for this share of the changes, and what it has recorded.
func tracer(share float64) (*Tracer, *tracetest.InMemoryExporter) {
	spans := tracetest.NewInMemoryExporter()
	return New(sdktrace.NewSimpleSpanProcessor(spans), share, "test", ""), spans
}

// The hub's agents begin a trace, and an agent that reads the object which carries it continues it.
func TestAnObjectCarriesATrace(t *testing.T) {
	hub, spans := tracer(1)
	member, applied := tracer(0) // whether a change is traced is decided where it begins
	ctx, end := hub.Agent("placer").Begin(t.Context(), web.Placement, web, time.Time{})
	work := &corev1.ConfigMap{}
	PutOnWork(ctx, work, web.UID)
	end(nil)
	ctx, end = member.Agent("applier").Continue(t.Context(), web.Placement, Subject{UID: PlacementUID(work), Cluster: "east"}, work)
	_, done := Step(ctx, "apply")
	done()
	end(errors.New("no route to host"))

	begun, continued := spans.GetSpans()[0], applied.GetSpans()
	if len(continued) != 2 || continued[0].Name != "apply" || continued[1].Name != "applier" {
		t.Fatalf("spans of the member: %+v", continued)
	}
	step, pass := continued[0], continued[1]
	if pass.Parent.SpanID() != begun.SpanContext.SpanID() || step.Parent.SpanID() != pass.SpanContext.SpanID() ||
		step.SpanContext.TraceID() != begun.SpanContext.TraceID() {
		t.Errorf("a trace in parts: %v, %v, %v", begun.SpanContext, pass.SpanContext, step.SpanContext)
	}
	if pass.Status.Code != codes.Error || pass.Status.Description != "no route to host" || begun.Status.Code != codes.Unset {
		t.Errorf("status %+v and %+v", pass.Status, begun.Status)
	}
	attributes := map[string]string{}
	for _, a := range append(begun.Attributes, pass.Attributes...) {
		attributes[string(a.Key)] = a.Value.AsString()
	}
	if attributes[AttributeUID] != string(web.UID) || attributes[AttributeCluster] != "east" {
		t.Errorf("attributes %v", attributes)
	}
}

func TestPut(t *testing.T) {
	all, _ := tracer(1)
	none, _ := tracer(0)
	traced, end := all.Agent("placer").Begin(t.Context(), web.Placement, web, time.Time{})
	defer end(nil)
	dropped, end := none.Agent("placer").Begin(t.Context(), web.Placement, web, time.Time{})
	defer end(nil)
	for name, tc := range map[string]struct {
		ctx    context.Context
		before map[string]string
		traced bool
	}{
		"a traced change":                             {ctx: traced, traced: true},
		"a traced change after another":               {ctx: traced, before: map[string]string{contract.AnnotationTrace: "00-0-0-01"}, traced: true},
		"no trace":                                    {ctx: t.Context()},
		"no trace, after a traced change":             {ctx: t.Context(), before: map[string]string{contract.AnnotationTrace: "00-0-0-01"}},
		"a change beyond the share that is traced":    {ctx: dropped},
		"such a change after a traced one":            {ctx: dropped, before: map[string]string{contract.AnnotationTrace: "00-0-0-01"}},
		"other annotations stay without a trace":      {ctx: t.Context(), before: map[string]string{"a": "b"}},
		"other annotations stay beside a new context": {ctx: traced, before: map[string]string{"a": "b"}, traced: true},
	} {
		t.Run(name, func(t *testing.T) {
			object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Annotations: tc.before}}
			_, keeps := tc.before["a"]
			PutOnWork(tc.ctx, object, web.UID)
			if carriedBy(object).IsValid() != tc.traced || (PlacementUID(object) == web.UID) != tc.traced || (object.Annotations["a"] == "b") != keeps {
				t.Errorf("annotations %v", object.Annotations)
			}
			if _, has := object.Annotations[contract.AnnotationTrace]; has != tc.traced {
				t.Errorf("annotations %v", object.Annotations)
			}
		})
	}
}

// The annotation comes from the API server, where others may write it.
func TestContinueReadsOnlyRecentContexts(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) // 70dbd880 in seconds since 1970, hexadecimal
	for text, want := range map[string]bool{
		"":  false,
		"x": false,
		"00-70dbd880a3ce929d0e0e4736a3ce929d-00f067aa0ba902b7-01":         true,
		"00-70dbd880a3ce929d0e0e4736a3ce929d-00f067aa0ba902b7-00":         false, // beyond the share
		"00-70dbd880A3CE929D0e0e4736a3ce929d-00f067aa0ba902b7-01":         false,
		"00-70dbd880a3ce929d0e0e4736a3ce929d-0000000000000000-01":         false,
		"00-70dbd000a3ce929d0e0e4736a3ce929d-00f067aa0ba902b7-01":         false, // long ago
		"00-80dbd880a3ce929d0e0e4736a3ce929d-00f067aa0ba902b7-01":         false, // in the future
		"00-70dbd880a3ce929d0e0e4736a3ce929d-00f067aa0ba902b7-01-more":    false,
		"01-70dbd880a3ce929d0e0e4736a3ce929d-00f067aa0ba902b7-01-more":    false,
		strings.Repeat("00-70dbd880a3ce929d0e0e4736a3ce929d-", 100_000):   false,
		"00-70dbd880a3ce929d0e0e4736a3ce929d-00f067aa0ba902b7-01\x00\xff": false,
	} {
		all, spans := tracer(1)
		agent := all.Agent("roller")
		agent.now = func() time.Time { return now.Add(time.Minute) }
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{contract.AnnotationTrace: text}}}
		_, end := agent.Continue(t.Context(), web.Placement, web, object)
		end(nil)
		if got := len(spans.GetSpans()) == 1; got != want {
			t.Errorf("%.80q is continued: %t", text, got)
		}
	}
}

// Agents that share nothing but the placement's UID agree on the trace of its removal, and on whether there is one.
func TestRemovalsHaveOneTrace(t *testing.T) {
	now := metav1.Now()
	sampled := 0
	for i := range 200 {
		of := Subject{Placement: web.Placement, UID: types.UID(strings.Repeat("x", i+1))}
		var found []tracetest.SpanStub
		for _, name := range []string{"scheduler", "applier"} {
			half, spans := tracer(0.5)
			_, end := half.Agent(name).Remove(t.Context(), web.Placement, of, &now)
			end(nil)
			found = append(found, spans.GetSpans()...)
		}
		switch {
		case len(found) == 0:
			continue
		case len(found) != 2 || found[0].SpanContext.TraceID() != found[1].SpanContext.TraceID() || found[0].SpanContext.SpanID() == found[1].SpanContext.SpanID():
			t.Errorf("removal %d: %+v", i, found)
		}
		sampled++
	}
	if sampled < 50 || sampled > 150 {
		t.Errorf("%d of 200 removals are traced; want about half", sampled)
	}
	all, spans := tracer(1)
	long := metav1.NewTime(now.Add(-time.Hour))
	_, end := all.Agent("applier").Remove(t.Context(), web.Placement, web, &long)
	end(nil)
	if len(spans.GetSpans()) > 0 {
		t.Error("a removal that cannot end is traced for ever")
	}
}

func TestNothingIsRecordedWithoutATracer(t *testing.T) {
	off, err := Start(t.Context(), Options{Sample: 1}, "test", "")
	if off != nil || err != nil {
		t.Fatalf("tracer %v, error %v", off, err)
	}
	cfg := &rest.Config{}
	off.Wrap(cfg)
	agent, now := off.Agent("placer"), metav1.Now()
	for _, open := range []func() (context.Context, func(error)){
		func() (context.Context, func(error)) {
			return agent.Begin(t.Context(), web.Placement, web, time.Time{})
		},
		func() (context.Context, func(error)) {
			return agent.Continue(t.Context(), web.Placement, web, &corev1.ConfigMap{})
		},
		func() (context.Context, func(error)) {
			return agent.Remove(t.Context(), web.Placement, web, &now)
		},
	} {
		ctx, end := open()
		end(errors.New("ignored"))
		if ctx != t.Context() {
			t.Error("the context has a span")
		}
	}
	if cfg.WrapTransport != nil {
		t.Error("requests are recorded")
	}
	off.Close(t.Context())
}

func TestRequestsOfASpanAreRecorded(t *testing.T) {
	seen := 0
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen++ }))
	defer server.Close()
	all, spans := tracer(1)
	cfg := &rest.Config{Host: server.URL}
	all.Wrap(cfg)
	c, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	get := func(ctx context.Context) {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api/v1/namespaces/app/configmaps/web", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
	}
	get(t.Context())
	ctx, end := all.Agent("placer").Begin(t.Context(), web.Placement, web, time.Time{})
	get(ctx)
	end(nil)
	found := spans.GetSpans()
	if seen != 2 || len(found) != 2 || found[0].Name != "GET configmaps" || found[0].Parent.SpanID() != found[1].SpanContext.SpanID() {
		t.Errorf("%d requests, spans %+v", seen, found)
	}
}

func TestResourceIn(t *testing.T) {
	for path, want := range map[string]string{
		"/api/v1/nodes": "nodes", "/api/v1/namespaces": "namespaces", "/api/v1/namespaces/app": "namespaces",
		"/api/v1/namespaces/app/status": "namespaces/status", "/api/v1/namespaces/app/finalize": "namespaces/finalize",
		"/api/v1/namespaces/app/configmaps/web":    "configmaps",
		"/apis/apps/v1/namespaces/app/deployments": "deployments", "/apis/apps/v1/namespaces/app/deployments/web/scale": "deployments/scale",
		"/apis/placement.kubernetes-fleet.io/v1beta1/clusterresourcebindings/web/status": "clusterresourcebindings/status",
		"/readyz": "/readyz", "/apis/apps/v1": "/apis/apps/v1", "": "",
	} {
		if got := resourceIn(path); got != want {
			t.Errorf("%s is a request for %q; want %q", path, got, want)
		}
	}
}

func TestOptions(t *testing.T) {
	for args, want := range map[string]string{
		"":                                      "",
		"--trace-endpoint=collector:4317":       "",
		"--trace-endpoint=[::1]:4317":           "",
		"--trace-endpoint=http://collector:80":  "",
		"--trace-endpoint=https://collector:80": "",
		"--trace-sample=0":                      "",
		"--trace-sample=0.5":                    "",
		"--trace-endpoint=collector":            "it must have the form host:port or https://host:port",
		"--trace-endpoint=:4317":                "it must have the form",
		"--trace-endpoint=https://a:1/path":     "it must have the form",
		"--trace-endpoint=https://u:p@a:1":      "it must have the form",
		"--trace-endpoint=ftp://collector:21":   "it must have the form",
		"--trace-sample=1.5":                    "--trace-sample is 1.5; it must be between 0 and 1",
		"--trace-sample=NaN":                    "--trace-sample is NaN",
	} {
		var o Options
		fs := flag.NewFlagSet("agent", flag.ContinueOnError)
		o.AddFlags(fs)
		if err := fs.Parse(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		err := o.Validate()
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", args, err, want)
		}
	}
}
