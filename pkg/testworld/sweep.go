package testworld

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// Sweep searches for a mark that tests put into Secrets, everywhere except in Secrets: in each state of each object of
// each kind while it watches a cluster, so that it finds short-lived states too, and in texts, such as logs, that the
// test passes. It finds the mark as plain text, in base64 at any offset, in base64 of base64, in hexadecimal, and as
// Go prints bytes.
type Sweep struct {
	needles [][]byte

	mu       sync.Mutex
	leaks    []string
	reported sets.Set[string]
	watched  sets.Set[string]
	clusters []sweptCluster
	logs     map[string]int64
}

type sweptCluster struct {
	name   string
	host   string
	client *http.Client
	kinds  *discovery.DiscoveryClient
}

// watchAgain is after how long an ended watch is restarted.
const watchAgain = 100 * time.Millisecond

// NewSweep returns a sweep for a mark of at least twelve letters or digits.
func NewSweep(mark string) *Sweep {
	s := &Sweep{reported: sets.New[string](), watched: sets.New[string](), logs: map[string]int64{}}
	once := encodings([]byte(mark))
	s.needles = append([][]byte{[]byte(mark), []byte(hex.EncodeToString([]byte(mark))), bytes.Trim(fmt.Append(nil, []byte(mark)), "[]")}, once...)
	for _, text := range once {
		s.needles = append(s.needles, encodings(text)...)
	}
	return s
}

// encodings returns the substrings that appear in the base64 of every longer text with this text, at any of three
// offsets.
func encodings(text []byte) [][]byte {
	out := make([][]byte, 0, 3)
	for skip := range 3 {
		part := text[skip:]
		part = part[:len(part)/3*3]
		out = append(out, []byte(base64.StdEncoding.EncodeToString(part)))
	}
	return out
}

// excused are the fields that contain users' manifests, including Secrets, and values that users write.
var excused = func() map[schema.GroupResource][][]string {
	out := map[schema.GroupResource][][]string{}
	add := func(fields []string, resources ...string) {
		for _, r := range resources {
			gr := schema.GroupResource{Group: v1beta1.GroupVersion.Group, Resource: r}
			out[gr] = append(out[gr], fields)
		}
	}
	add([]string{"spec", "selectedResources"}, "resourcesnapshots", "clusterresourcesnapshots")
	add([]string{"spec", "workload"}, "works")
	add([]string{"data"}, "resourceenvelopes", "clusterresourceenvelopes")
	add([]string{"spec", "policy", "overrideRules"}, "resourceoverrides", "clusterresourceoverrides")
	add([]string{"spec", "overrideSpec", "policy", "overrideRules"}, "resourceoverridesnapshots", "clusterresourceoverridesnapshots")
	return out
}()

// Watch searches everything in a cluster until ctx ends. Kinds that are added later are searched after Refresh.
func (s *Sweep) Watch(ctx context.Context, name string, config *rest.Config) error {
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return fmt.Errorf("search %s: %w", name, err)
	}
	kinds, err := discovery.NewDiscoveryClientForConfigAndClient(config, httpClient)
	if err != nil {
		return fmt.Errorf("search %s: %w", name, err)
	}
	host, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return fmt.Errorf("search %s: %w", name, err)
	}
	s.clusters = append(s.clusters, sweptCluster{name: name, host: strings.TrimSuffix(host.String(), "/"), client: httpClient, kinds: kinds})
	return s.Refresh(ctx)
}

// Refresh also searches kinds that were added since, until ctx ends.
func (s *Sweep) Refresh(ctx context.Context) error {
	return s.eachKind(func(c sweptCluster, gvr schema.GroupVersionResource, verbs []string) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		key := c.name + " " + gvr.String()
		if slices.Contains(verbs, "watch") && !s.watched.Has(key) {
			s.watched.Insert(key)
			go wait.UntilWithContext(ctx, func(ctx context.Context) { s.follow(ctx, c, gvr) }, watchAgain)
		}
		return nil
	})
}

// List searches all objects that exist in the clusters now.
func (s *Sweep) List(ctx context.Context) error {
	return s.eachKind(func(c sweptCluster, gvr schema.GroupVersionResource, verbs []string) error {
		if !slices.Contains(verbs, "list") {
			return nil
		}
		text, err := s.list(ctx, c, gvr)
		if err != nil || !s.in(text) {
			return err
		}
		var list unstructured.UnstructuredList
		if err := json.Unmarshal(text, &list); err != nil { //nolint:forbidigo // it only has to find the fields that are excused
			return fmt.Errorf("read the list of %s in %s: %w", gvr, c.name, err)
		}
		for i := range list.Items {
			s.object(c.name, gvr, list.Items[i].Object)
		}
		return nil
	})
}

// eachKind calls do for each kind that a cluster serves except Secrets, in its preferred version.
func (s *Sweep) eachKind(do func(c sweptCluster, gvr schema.GroupVersionResource, verbs []string) error) error {
	var errs []error
	for _, c := range s.clusters {
		lists, err := c.kinds.ServerPreferredResources()
		if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
			errs = append(errs, fmt.Errorf("discover the kinds of %s: %w", c.name, err))
		}
		for _, list := range lists {
			gv, err := schema.ParseGroupVersion(list.GroupVersion)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			for _, r := range list.APIResources {
				if gvr := gv.WithResource(r.Name); gvr.GroupResource() != (schema.GroupResource{Resource: "secrets"}) {
					errs = append(errs, do(c, gvr, r.Verbs))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// list reads all objects of a kind. A kind that was removed after discovery has none. It retries for a kind whose
// storage is still being initialized.
func (s *Sweep) list(ctx context.Context, c sweptCluster, gvr schema.GroupVersionResource) (text []byte, err error) {
	late := Until(ctx, Soon, fmt.Sprintf("the list of %s of %s", gvr, c.name), func(ctx context.Context) error {
		var body io.ReadCloser
		if body, err = s.get(ctx, c, gvr, ""); err != nil {
			if apierrors.IsTooManyRequests(err) {
				return err
			}
			err = client.IgnoreNotFound(err)
			return nil
		}
		defer body.Close()
		text, err = io.ReadAll(body)
		return nil
	})
	return text, errors.Join(late, err)
}

func (s *Sweep) get(ctx context.Context, c sweptCluster, gvr schema.GroupVersionResource, query string) (io.ReadCloser, error) {
	at := path.Join("apis", gvr.Group, gvr.Version, gvr.Resource)
	if gvr.Group == "" {
		at = path.Join("api", gvr.Version, gvr.Resource)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.host+"/"+at+query, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("get %s of %s: %w", gvr, c.name,
			apierrors.NewGenericServerResponse(resp.StatusCode, "get", gvr.GroupResource(), "", resp.Status, 0, true))
	}
	return resp.Body, nil
}

// follow searches the existing objects of a kind and each change until the watch ends.
func (s *Sweep) follow(ctx context.Context, c sweptCluster, gvr schema.GroupVersionResource) {
	body, err := s.get(ctx, c, gvr, "?watch=1")
	if err != nil {
		return // the watch is restarted; a kind that is no longer served has no objects
	}
	defer body.Close()
	lines := bufio.NewReader(body)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		if !s.in(line) {
			continue
		}
		var event struct {
			Object map[string]any `json:"object"`
		}
		if err := json.Unmarshal(line, &event); err != nil { //nolint:forbidigo // as above
			s.Text(c.name+": "+gvr.Resource, string(line))
			continue
		}
		s.object(c.name, gvr, event.Object)
	}
}

// object searches an object without the excused fields.
func (s *Sweep) object(cluster string, gvr schema.GroupVersionResource, obj map[string]any) {
	for _, fields := range excused[gvr.GroupResource()] {
		unstructured.RemoveNestedField(obj, fields...)
	}
	name := "?"
	if m, err := meta.Accessor(&unstructured.Unstructured{Object: obj}); err == nil {
		name = strings.TrimPrefix(m.GetNamespace()+"/"+m.GetName(), "/")
	}
	text, err := json.Marshal(obj)
	if err != nil {
		text = fmt.Append(nil, obj)
	}
	s.Text(fmt.Sprintf("%s of %s: %s", gvr.GroupResource(), cluster, name), string(text))
}

func (s *Sweep) in(text []byte) bool {
	return slices.ContainsFunc(s.needles, func(n []byte) bool { return bytes.Contains(text, n) })
}

// Text searches a text; where describes its origin.
func (s *Sweep) Text(where, text string) {
	const around = 160
	for _, n := range s.needles {
		at := strings.Index(text, string(n))
		if at < 0 {
			continue
		}
		leak := fmt.Sprintf("%s shows: …%s…", where, text[max(0, at-around):min(len(text), at+len(n)+around)])
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.reported.Has(leak) {
			s.reported.Insert(leak)
			s.leaks = append(s.leaks, leak)
		}
		return
	}
}

// Log searches the part of a file that was not searched yet.
func (s *Sweep) Log(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	s.mu.Lock()
	from := s.logs[file]
	s.mu.Unlock()
	const overlap = 4 << 10 // the last line may have been incomplete
	from = max(0, from-overlap)
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return err
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	s.Text(file, string(text))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs[file] = max(s.logs[file], from+int64(len(text)))
	return nil
}

// Leaks returns the leaks found since the last call.
func (s *Sweep) Leaks() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.leaks
	s.leaks = nil
	return out
}
