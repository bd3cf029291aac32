package lenient

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// source lists and watches the objects of one kind.
type source struct {
	kind
	ledger    *ledger
	namespace string
	connect   func() (*resource, error)

	mu       sync.Mutex
	resource *resource
}

// List belongs to the older interface; reflectors use ListWithContext.
func (s *source) List(o metav1.ListOptions) (runtime.Object, error) {
	return s.ListWithContext(context.Background(), o)
}

// Watch belongs to the older interface; reflectors use WatchWithContext.
func (s *source) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return s.WatchWithContext(context.Background(), o)
}

// ListWithContext lists the objects that can be decoded.
func (s *source) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	request, err := s.request(o)
	if err != nil {
		return nil, err
	}
	result := request.Do(ctx)
	if err := result.Error(); err != nil { // it is more detailed than Raw's error
		return nil, err
	}
	raw, err := result.Raw()
	if err != nil {
		return nil, err
	}
	if o.Continue == "" {
		s.ledger.begin()
	}
	list, more, err := s.list(raw)
	if err != nil {
		return nil, fmt.Errorf("read a list of %s: %w", s.gvk.Kind, err)
	}
	if !more {
		s.ledger.end()
	}
	return list, nil
}

func (s *source) list(raw []byte) (list runtime.Object, more bool, err error) {
	var head, items []byte
	if err := elements(raw, func(key, value []byte) {
		switch string(key) {
		case `"metadata"`:
			head = value
		case `"items"`:
			items = value
		}
	}); err != nil {
		return nil, false, err
	}
	if list, err = s.scheme.New(s.gvk.GroupVersion().WithKind(s.gvk.Kind + "List")); err != nil {
		return nil, false, err
	}
	if more, err = header(head, list); err != nil || items == nil || string(items) == "null" {
		return list, more, err
	}
	var read []runtime.Object
	var failed error
	if err := elements(items, func(_, item []byte) {
		obj, err := s.read(item)
		switch {
		case err != nil:
			failed = err
		case obj != nil:
			read = append(read, obj)
		}
	}); err != nil {
		return nil, false, err
	}
	if failed != nil {
		return nil, false, failed
	}
	return list, more, meta.SetList(list, read)
}

// header fills in the metadata of a list, and returns whether there are more pages.
func header(raw []byte, list runtime.Object) (more bool, err error) {
	small := append(append([]byte(`{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadataList","metadata":`), raw...), '}')
	head := &metav1.PartialObjectMetadataList{}
	serializer := json.NewSerializerWithOptions(json.DefaultMetaFactory, metaScheme, metaScheme, json.SerializerOptions{})
	if _, _, err := serializer.Decode(small, nil, head); err != nil {
		return false, err
	}
	into, err := meta.ListAccessor(list)
	if err != nil {
		return false, err
	}
	into.SetResourceVersion(head.ResourceVersion)
	into.SetContinue(head.Continue)
	into.SetRemainingItemCount(head.RemainingItemCount)
	return head.Continue != "", nil
}

// read decodes an object that exists, and updates the ledger. It returns nil if the object is skipped.
func (s *source) read(raw []byte) (client.Object, error) {
	obj, fault, err := s.decode(raw)
	if err != nil {
		return nil, err
	}
	if fault != nil {
		s.ledger.bad(*fault)
	} else {
		s.ledger.good(obj)
	}
	return obj, nil
}

// WatchWithContext watches the objects that can be decoded.
func (s *source) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	o.Watch, o.AllowWatchBookmarks = true, true
	request, err := s.request(o)
	if err != nil {
		return nil, err
	}
	body, err := request.Stream(ctx)
	if err != nil {
		return nil, err
	}
	all := o.SendInitialEvents != nil && *o.SendInitialEvents
	if all {
		s.ledger.begin()
	}
	return watch.NewStreamWatcher(&events{source: s, body: body, buffer: bufio.NewReaderSize(body, 1<<16), listing: all},
		apierrors.NewClientErrorReporter(http.StatusInternalServerError, "GET", "ClientWatchDecoding")), nil
}

func (s *source) request(o metav1.ListOptions) (*rest.Request, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.resource == nil {
		found, err := s.connect()
		if err != nil {
			return nil, fmt.Errorf("find %v: %w", s.gvk, err)
		}
		s.resource = found
	}
	request := s.resource.client.Get().Resource(s.resource.name).VersionedParams(&o, runtime.NewParameterCodec(s.scheme)).
		SetHeader("Accept", "application/json")
	if s.resource.namespaced && s.namespace != "" {
		request.Namespace(s.namespace)
	}
	return request, nil
}

// events decodes the events of one watch.
type events struct {
	*source
	body   io.Closer
	buffer *bufio.Reader
	// listing is whether the watch still streams the objects that existed when it began.
	listing bool
}

// Close ends the watch.
func (e *events) Close() { _ = e.body.Close() }

// Decode returns the next event whose object can be decoded.
func (e *events) Decode() (watch.EventType, runtime.Object, error) {
	for {
		raw, err := next(e.buffer)
		if err != nil {
			return "", nil, err
		}
		kind, obj, err := e.event(raw)
		if err != nil || obj != nil {
			return kind, obj, err
		}
	}
}

// event returns no object if the object is skipped.
func (e *events) event(raw []byte) (watch.EventType, runtime.Object, error) {
	var quoted, content []byte
	if err := elements(raw, func(key, value []byte) {
		switch string(key) {
		case `"type"`:
			quoted = value
		case `"object"`:
			content = value
		}
	}); err != nil {
		return "", nil, err
	}
	switch string(quoted) {
	case `"ADDED"`:
		return e.living(watch.Added, content)
	case `"MODIFIED"`:
		return e.living(watch.Modified, content)
	case `"DELETED"`:
		obj, err := e.deleted(content)
		return watch.Deleted, obj, err
	case `"BOOKMARK"`:
		obj, err := e.bookmark(content)
		return watch.Bookmark, obj, err
	case `"ERROR"`:
		status := &metav1.Status{}
		serializer := json.NewSerializerWithOptions(json.DefaultMetaFactory, metaScheme, metaScheme, json.SerializerOptions{})
		_, _, err := serializer.Decode(content, nil, status)
		return watch.Error, status, err
	}
	return "", nil, fmt.Errorf("unknown watch event type %s", quoted)
}

func (e *events) living(kind watch.EventType, raw []byte) (watch.EventType, runtime.Object, error) {
	obj, err := e.read(raw)
	if obj == nil {
		return kind, nil, err // not a nil client.Object
	}
	return kind, obj, err
}

func (e *events) deleted(raw []byte) (runtime.Object, error) {
	obj, fault, err := e.decode(raw)
	if err == nil && obj == nil {
		obj, err = e.standIn(fault.meta)
	}
	if err != nil {
		return nil, err
	}
	e.ledger.gone(obj)
	return obj, nil
}

func (e *events) bookmark(raw []byte) (runtime.Object, error) {
	meta, err := e.metadata(raw)
	if err != nil {
		return nil, err
	}
	if e.listing && meta.Annotations[metav1.InitialEventsAnnotationKey] == "true" {
		e.listing = false
		e.ledger.end()
	}
	return e.standIn(meta)
}
