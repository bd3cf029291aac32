package process

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// lease takes whatever is written.
type lease struct {
	resourcelock.Interface
	err error
}

func (l *lease) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	return nil, nil, l.err
}
func (l *lease) Create(context.Context, resourcelock.LeaderElectionRecord) error { return l.err }
func (l *lease) Update(context.Context, resourcelock.LeaderElectionRecord) error { return l.err }

func TestWhoDoesNotLeadDoesNotWrite(t *testing.T) {
	var (
		ours   = resourcelock.LeaderElectionRecord{HolderIdentity: "us"}
		nobody = resourcelock.LeaderElectionRecord{}
		ctx    = t.Context()
		broken = errors.New("no answer")
	)
	for name, play := range map[string]struct {
		do func(*Lead, *lease, func(time.Duration))
		// writes is whether a write passes in the end, looks whether the lease can be asked for, lost how often the end was told.
		writes, looks bool
		lost          int
	}{
		"before it leads": {do: func(*Lead, *lease, func(time.Duration)) {}, looks: true},
		"while it leads": {do: func(l *Lead, _ *lease, _ func(time.Duration)) {
			_ = l.Create(ctx, ours)
		}, writes: true, looks: true},
		"when it has renewed": {do: func(l *Lead, _ *lease, pass func(time.Duration)) {
			_ = l.Create(ctx, ours)
			pass(8 * time.Second)
			_ = l.Update(ctx, ours)
			pass(8 * time.Second)
		}, writes: true, looks: true},
		"when it could not renew": {do: func(l *Lead, lock *lease, pass func(time.Duration)) {
			_ = l.Update(ctx, ours)
			pass(8 * time.Second)
			lock.err = broken
			_ = l.Update(ctx, ours)
			pass(2 * time.Second)
			lock.err = nil
		}, lost: 1},
		"when it has slept for as long as the lease lasts": {do: func(l *Lead, _ *lease, pass func(time.Duration)) {
			_ = l.Update(ctx, ours)
			pass(9 * time.Second)
		}, lost: 1},
		"when it has slept, and takes the lease again": {do: func(l *Lead, _ *lease, pass func(time.Duration)) {
			_ = l.Update(ctx, ours)
			pass(time.Minute)
			if err := l.Update(ctx, ours); !errors.Is(err, ErrLeadLost) {
				t.Errorf("it may lead again: %v", err)
			}
		}, lost: 1},
		"when it has given the lease up": {do: func(l *Lead, _ *lease, _ func(time.Duration)) {
			_ = l.Update(ctx, ours)
			_ = l.Update(ctx, nobody)
		}},
		"when it has tried to give the lease up": {do: func(l *Lead, lock *lease, _ func(time.Duration)) {
			_ = l.Update(ctx, ours)
			lock.err = broken
			_ = l.Update(ctx, nobody)
			lock.err = nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			now, lost, lock := time.Now(), 0, &lease{}
			l := NewLead(lock, 10*time.Second+time.Second/2, func(error) { lost++ })
			l.now = func() time.Time { return now }
			play.do(l, lock, func(d time.Duration) { now = now.Add(d) })
			sent := 0
			guarded := l.Guard(roundTripper(func(*http.Request) (*http.Response, error) { sent++; return &http.Response{}, nil }))
			for range 2 {
				for _, method := range []string{http.MethodGet, http.MethodPatch} {
					r, err := http.NewRequestWithContext(ctx, method, "http://hub", strings.NewReader(""))
					if err != nil {
						t.Fatal(err)
					}
					if answer, err := guarded.RoundTrip(r); err == nil && answer.Body != nil {
						_ = answer.Body.Close()
					}
				}
			}
			if want := map[bool]int{true: 4, false: 2}[play.writes]; sent != want {
				t.Errorf("%d of 4 requests were sent, want %d", sent, want)
			}
			if _, _, err := l.Get(ctx); (err == nil) != play.looks {
				t.Errorf("the lease can be asked for: %v", err)
			}
			if lost != play.lost {
				t.Errorf("the end was told %d times, want %d", lost, play.lost)
			}
		})
	}
}
