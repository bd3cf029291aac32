package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	clusterv1beta1 "github.com/flagship-fleet/flagship/apis/cluster/v1beta1"
	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// apiServer reads figures of the hub's API server.
type apiServer struct {
	http *http.Client
	raw  rest.Interface
	url  string
	// data is the folder of etcd.
	data string
}

// apiServerState are the figures of an API server so far.
type apiServerState struct {
	at time.Time
	// requests are by verb and resource, such as "PUT works/status", without requests that name no resource.
	requests map[string]float64
}

func newAPIServer(cfg *rest.Config, data string) (*apiServer, error) {
	c, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("make a client for the metrics of the hub: %w", err)
	}
	set, err := kubernetes.NewForConfigAndClient(cfg, c)
	if err != nil {
		return nil, fmt.Errorf("make a client for the hub: %w", err)
	}
	return &apiServer{http: c, raw: set.RESTClient(), url: cfg.Host + "/metrics", data: data}, nil
}

func (s *apiServer) state(ctx context.Context) (apiServerState, error) {
	out := apiServerState{at: time.Now(), requests: map[string]float64{}}
	families, err := metricsOf(ctx, s.http, s.url)
	if err != nil {
		return out, err
	}
	for _, m := range families["apiserver_request_total"].GetMetric() {
		resource := label(m, "resource")
		if resource == "" {
			continue
		}
		if sub := label(m, "subresource"); sub != "" {
			resource += "/" + sub
		}
		out.requests[label(m, "verb")+" "+resource] += m.GetCounter().GetValue()
	}
	return out, nil
}

// apiLoad is the load of an API server in a time, from all its clients and per minute.
type apiLoad struct {
	// Reads are gets and lists, Watches new watches, Writes all others.
	Reads   float64 `json:"readsPerMinute"`
	Watches float64 `json:"watchesPerMinute"`
	Writes  float64 `json:"writesPerMinute"`
	// Most are the most frequent requests.
	Most map[string]float64 `json:"mostPerMinute"`
}

func (s apiServerState) since(before apiServerState) apiLoad {
	const most = 8
	out := apiLoad{Most: map[string]float64{}}
	elapsed := s.at.Sub(before.at)
	per := map[string]float64{}
	for request, n := range s.requests {
		rate := (n - before.requests[request]) / elapsed.Minutes()
		if rate <= 0 {
			continue
		}
		per[request] = rate
		switch verb, _, _ := strings.Cut(request, " "); verb {
		case "GET", "LIST":
			out.Reads += rate
		case "WATCH":
			out.Watches += rate
		default:
			out.Writes += rate
		}
	}
	names := slices.SortedFunc(maps.Keys(per), func(a, b string) int {
		if per[a] != per[b] {
			return int(per[b]*1000 - per[a]*1000)
		}
		return strings.Compare(a, b)
	})
	for _, name := range names[:min(most, len(names))] {
		out.Most[name] = per[name]
	}
	return out
}

// storedKind is what the API server stores of one kind.
type storedKind struct {
	Kind    string `json:"kind"`
	Objects int    `json:"objects"`
	// MeanBytes is the mean size of an object, of the first ones, and MiB that of all. Custom resources are stored as
	// the JSON that is also sent.
	MeanBytes float64 `json:"meanBytes"`
	MiB       float64 `json:"mib"`
}

// stored measures what is stored of the kinds of the fleet.
func (s *apiServer) stored(ctx context.Context) ([]storedKind, error) {
	placements, clusters := "/apis/"+v1beta1.GroupVersion.String()+"/", "/apis/"+clusterv1beta1.GroupVersion.String()+"/"
	var out []storedKind
	for _, path := range []string{
		placements + "works", placements + "clusterresourcebindings", placements + "clusterresourcesnapshots",
		placements + "clusterschedulingpolicysnapshots", placements + "clusterresourceplacements",
		clusters + "memberclusters", clusters + "internalmemberclusters", "/api/v1/events",
	} {
		kind, err := s.storedOf(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", path, err)
		}
		out = append(out, kind)
	}
	return out, nil
}

func (s *apiServer) storedOf(ctx context.Context, path string) (storedKind, error) {
	const sampled = "200"
	out := storedKind{Kind: filepath.Base(path)}
	data, err := s.raw.Get().AbsPath(path).SetHeader("Accept", "application/json").Param("limit", sampled).DoRaw(ctx)
	if err != nil {
		return out, err
	}
	var list struct {
		Metadata struct {
			Remaining int `json:"remainingItemCount"`
		} `json:"metadata"`
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return out, err
	}
	total := 0
	for _, item := range list.Items {
		total += len(item)
	}
	out.Objects = len(list.Items) + list.Metadata.Remaining
	out.MeanBytes = float64(total) / float64(max(1, len(list.Items)))
	out.MiB = out.MeanBytes * float64(out.Objects) / (1 << 20)
	return out, nil
}

// fileMiB is the size of etcd's file, with the history of the last minutes and free pages.
func (s *apiServer) fileMiB() (float64, error) {
	info, err := os.Stat(filepath.Join(s.data, "member", "snap", "db"))
	if err != nil {
		return 0, err
	}
	return float64(info.Size()) / (1 << 20), nil
}
