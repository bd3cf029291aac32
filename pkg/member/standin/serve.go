package standin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	placementv1beta1 "github.com/flagship-fleet/flagship/apis/placement/v1beta1"
)

// ErrHeld is the answer to requests that are refused while the hub is unreachable.
var ErrHeld = errors.New("refused until the hub is reachable")

// Server is the configuration for clients of the stand-in of the hub: it serves these Works, which do not change, and
// accepts no writes.
func Server(works []placementv1beta1.Work) *rest.Config {
	return &rest.Config{Host: "http://standin.invalid", QPS: -1, Transport: server(works)}
}

// server answers requests in place of an API server.
type server []placementv1beta1.Work

func (s server) RoundTrip(r *http.Request) (*http.Response, error) {
	query := r.URL.Query()
	switch {
	case r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/works"):
		return answer(r, http.StatusServiceUnavailable, &apierrors.NewServiceUnavailable(ErrHeld.Error()).ErrStatus)
	case query.Get("sendInitialEvents") != "":
		return answer(r, http.StatusUnprocessableEntity, &apierrors.NewInvalid(placementv1beta1.GroupVersion.WithKind("Work").GroupKind(), "", nil).ErrStatus)
	case query.Get("watch") != "":
		return response(r, http.StatusOK, silence{r.Context()}), nil
	}
	list := &placementv1beta1.WorkList{Items: s}
	list.SetGroupVersionKind(placementv1beta1.GroupVersion.WithKind("WorkList"))
	list.ResourceVersion = "1"
	return answer(r, http.StatusOK, list)
}

func answer(r *http.Request, code int, body any) (*http.Response, error) {
	if status, ok := body.(*metav1.Status); ok {
		status.Kind, status.APIVersion = "Status", "v1"
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("answer in place of the hub: %w", err)
	}
	return response(r, code, bytes.NewReader(text)), nil
}

func response(r *http.Request, code int, body io.Reader) *http.Response {
	return &http.Response{Status: http.StatusText(code), StatusCode: code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(body), Request: r, ContentLength: -1}
}

// silence is the answer to a watch on objects that do not change.
type silence struct{ ctx context.Context }

func (s silence) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, io.EOF
}

// Holding is a client of the stand-in of the hub. An object that it lacks may exist on the hub, so the answer is
// unavailable instead of not found.
func Holding(hub client.Client) client.Client { return holding{hub} }

type holding struct{ client.Client }

func (h holding) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	err := h.Client.Get(ctx, key, obj, opts...)
	if apierrors.IsNotFound(err) {
		return apierrors.NewServiceUnavailable(fmt.Sprintf("cannot determine whether %s exists: %v", key, ErrHeld))
	}
	return err
}

// Undeleting returns a copy of a member's configuration whose clients cannot delete anything.
func Undeleting(member *rest.Config) *rest.Config {
	member = rest.CopyConfig(member)
	member.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodDelete {
				return nil, ErrHeld
			}
			return next.RoundTrip(r)
		})
	})
	return member
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
