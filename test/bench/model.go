package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
	"github.com/flagship-fleet/flagship/pkg/contract"
	memberagent "github.com/flagship-fleet/flagship/pkg/member"
)

// modelMember is a real member agent with its own identity, token and permissions on the hub. It applies to a real API
// server and reports from there. Only the cluster is shared by all model members, because a hundred clusters do not
// fit on one machine.
//
// On separate clusters all members would have objects and ledgers of the same names. To avoid collisions on the shared
// cluster, the names of placed objects contain a word, and a relay between the hub and the agent replaces it with
// another word of the same length for each member: staged-where-any on the hub is staged-where-017 on the cluster. The
// relay does not change anything else.
//
// The cost is that of the relay, and that each agent watches the namespaces and ledgers of the others with the first
// release of a placement: the first release of a hundred placements takes the agents of 90 members three times the CPU
// of later ones. The report of a member is timed when it reaches the relay on its way to the hub.
type modelMember struct {
	name string
	// place replaces anywhere in the names on the member.
	place string
}

const (
	// sharedCluster is the cluster of all model members.
	sharedCluster = "spoke-1"
	modelPrefix   = "model"
	anywhere      = "where-any"
	// mostModels is the most members whose names have the same length.
	mostModels = 1000
	// modelMiB is the memory of an agent; 6.5 were measured at the end of the section. beyondModelsMiB is for two
	// clusters and everything else.
	modelMiB, beyondModelsMiB = 10, 1600
	// modelsStartAtOnce is how many agents join concurrently.
	modelsStartAtOnce = 8
)

// modelOf returns the member with this name, which is modelPrefix and three digits.
func modelOf(name string) modelMember {
	return modelMember{name: name, place: strings.Replace(name, modelPrefix, "where", 1)}
}

// local converts a name on the hub to the name on the shared cluster.
func (m modelMember) local(onHub string) string { return strings.ReplaceAll(onHub, anywhere, m.place) }

// onHub is the inverse of local.
func (m modelMember) onHub(local string) string { return strings.ReplaceAll(local, m.place, anywhere) }

// checkModels returns an error if there are too many members for their names or for the available memory.
func checkModels(models int) error {
	if models < 1 || models > mostModels {
		return fmt.Errorf("-run-members %d: must be 1 to %d", models/stagesOfRuns, mostModels/stagesOfRuns)
	}
	available, err := availableMiB()
	if err != nil {
		return err
	}
	if needed := float64(beyondModelsMiB + models*modelMiB); available < needed {
		return fmt.Errorf("%d member agents need about %.0f MiB of memory and %.0f are available: free some, or use fewer (-run-members)",
			models, needed, available)
	}
	return nil
}

// withModels starts the agents, waits until all have joined, and stops them when do has returned. If an agent ends
// early, the context of do is cancelled.
func (f *releases) withModels(ctx context.Context, do func(context.Context) error) (err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the agents: %w", err)
	}
	paths := http.NewServeMux()
	relay := &http.Server{Handler: paths, ReadHeaderTimeout: time.Minute}
	go func() { _ = relay.Serve(listener) }() // it ends with Close
	var agents sync.WaitGroup
	ctx, cancel := context.WithCancelCause(ctx)
	defer func() {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
		agents.Wait()
		err = errors.Join(err, relay.Close())
	}()
	// All agents use the permissions that the chart grants to the agent that was installed on the cluster.
	if err := os.Setenv("KUBECONFIG", f.fleet.AgentKubeconfig(sharedCluster)); err != nil {
		return err
	}
	to, transport, err := f.wayToHub()
	if err != nil {
		return err
	}
	progress(fmt.Sprintf("runs: %d members", len(f.members())))
	for _, name := range f.members() {
		m := modelOf(name)
		paths.Handle("/"+name+"/", http.StripPrefix("/"+name, f.relay(m, to, transport)))
	}
	err = each(f.members(), modelsStartAtOnce, func(name string) error {
		options, err := f.invite(ctx, modelOf(name), "http://"+listener.Addr().String()+"/"+name)
		if err != nil {
			return fmt.Errorf("invite %s: %w", name, err)
		}
		agents.Go(func() {
			if err := memberagent.Run(ctx, options); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("agent of %s: %w", name, err))
			}
		})
		_, err = f.clusters.when(ctx, key("", name), isEligible)
		return err
	})
	if err != nil {
		return err
	}
	return do(ctx)
}

// wayToHub returns the hub's address and a transport that keeps the token of the request.
func (f *releases) wayToHub() (*url.URL, http.RoundTripper, error) {
	config, err := f.fleet.RestConfig(f.fleet.Hub())
	if err != nil {
		return nil, nil, err
	}
	config = rest.AnonymousClientConfig(config)
	config.DisableCompression = true // names in compressed data cannot be replaced
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, nil, err
	}
	to, err := url.Parse(config.Host)
	return to, transport, err
}

// invite creates the identity of a member on the hub and its MemberCluster, and returns the options of its agent.
func (f *releases) invite(ctx context.Context, m modelMember, hubURL string) (memberagent.Options, error) {
	var options memberagent.Options
	identity := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: contract.NamespaceSystem, Name: m.name}}
	if err := f.hub.Create(ctx, identity); err != nil {
		return options, err
	}
	token, err := f.fleet.MintToken(ctx, f.fleet.Hub(), identity.Namespace, identity.Name)
	if err != nil {
		return options, err
	}
	folder := filepath.Join(f.fleet.Dir(), m.name)
	tokenFile := filepath.Join(folder, "token")
	if err := errors.Join(os.MkdirAll(folder, 0o700), os.WriteFile(tokenFile, []byte(token), 0o600)); err != nil {
		return options, err
	}
	err = f.hub.Create(ctx, &clusterv1beta1.MemberCluster{
		ObjectMeta: metav1.ObjectMeta{Name: m.name, Labels: map[string]string{stageLabel: stageName(f.stageOf(m.name))}},
		Spec: clusterv1beta1.MemberClusterSpec{
			Identity: rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: identity.Namespace, Name: identity.Name},
			// The maximum: heartbeats would be counted as writes of the runs.
			HeartbeatPeriodSeconds: 600,
		},
	})
	if err != nil {
		return options, err
	}
	flags := flag.NewFlagSet(m.name, flag.ContinueOnError)
	options.AddFlags(flags)
	err = flags.Parse([]string{
		"--metrics-bind-address=0", "--hub-metrics-bind-address=0", "--health-probe-bind-address=0", "--hub-health-probe-bind-address=0",
		"--hub-copy-dir=" + filepath.Join(folder, "hub-copy"),
	})
	environment := map[string]string{"HUB_SERVER_URL": "https://relay", "MEMBER_CLUSTER_NAME": m.name, "CONFIG_PATH": tokenFile}
	err = errors.Join(err, options.Validate(), options.ReadEnvironment(func(name string) (string, bool) {
		value, ok := environment[name]
		return value, ok
	}))
	options.Hub.Server = hubURL // over HTTP, which environment variables cannot configure: the relay is in this process
	return options, err
}

// relay forwards a member's requests to the hub, and records when the member reports success.
func (f *releases) relay(m modelMember, to *url.URL, transport http.RoundTripper) http.Handler {
	type sent struct{} // the context key of the arrival time of a request
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Header.Del("Accept-Encoding")
			r.Out.URL.Path, r.Out.URL.RawPath = m.onHub(r.Out.URL.Path), ""
			r.Out.URL.RawQuery = m.onHub(r.Out.URL.RawQuery)
			if r.Out.ContentLength != 0 {
				r.Out.Body = rename(r.Out.Body, m.place, anywhere)
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if at, ok := r.Request.Context().Value(sent{}).(time.Time); ok && isReport(r.Request) && r.StatusCode == http.StatusOK {
				if err := f.noteReport(m, r, at); err != nil {
					return err
				}
			}
			r.Body = rename(r.Body, anywhere, m.place)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				progress(fmt.Sprintf("runs: %s: %s %s: %v", m.name, r.Method, r.URL.Path, err))
			}
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), sent{}, time.Now())))
	})
}

// isReport reports whether a request writes the status of a Work.
func isReport(r *http.Request) bool {
	return r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/works/") && strings.HasSuffix(r.URL.Path, "/status")
}

// noteReport reads the updated Work from the hub's response to a report.
func (f *releases) noteReport(m modelMember, r *http.Response, at time.Time) error {
	body, err := io.ReadAll(r.Body)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	var w v1beta1.Work
	if err := json.Unmarshal(body, &w); err != nil {
		return fmt.Errorf("read the hub's response to a report: %w", err)
	}
	c := meta.FindStatusCondition(w.Status.Conditions, v1beta1.ConditionAvailable)
	if c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == w.Generation {
		f.note(f.healthy, handed{w.Annotations[contract.AnnotationWorkSnapshot], m.name}, at)
	}
	return nil
}

// renamed is a body in which a word is replaced by one of the same length, so that the Content-Length stays correct.
// It works line by line, because every watch event is one line.
type renamed struct {
	io.Closer
	lines    *bufio.Reader
	from, to []byte
	left     []byte
}

func rename(body io.ReadCloser, from, to string) io.ReadCloser {
	return &renamed{Closer: body, lines: bufio.NewReader(body), from: []byte(from), to: []byte(to)}
}

func (r *renamed) Read(p []byte) (int, error) {
	if len(r.left) == 0 {
		line, err := r.lines.ReadBytes('\n')
		if len(line) == 0 {
			return 0, err
		}
		r.left = bytes.ReplaceAll(line, r.from, r.to)
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}
