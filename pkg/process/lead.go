package process

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// ErrLeadLost is why a process ends that led and whose lease ran out before it was renewed.
var ErrLeadLost = errors.New("the lease has run out before it was renewed, and another replica may lead by now")

var errNoLead = errors.New("this replica does not lead, and must not write")

// ShortestLease is the shortest there can be: a leader holds a lease for a second less than it lasts, see NewLead.
const ShortestLease = 2 * time.Second

// Lead is the lock of an elector that also ensures what electors do not: a process that does not lead does not write. An elector that finds
// the lease taken goes on trying for the whole renew deadline, and its process goes on working meanwhile; so does a process that was halted,
// or whose machine was suspended, until its elector notices. A Lead knows until when the lease is this process's in any case: from then on
// its Guard refuses writes, and the process never leads again, because its caches may be older than what other processes wrote.
type Lead struct {
	resourcelock.Interface
	duration time.Duration
	lost     func(error)
	now      func() time.Time

	mu sync.Mutex
	// until is when the lease runs out if it is not renewed; zero before this process has led for the first time.
	until time.Time
	over  bool
}

// NewLead makes an elector's lock of a lease that lasts for duration. lost is called, once, when the lease has run out.
func NewLead(lock resourcelock.Interface, duration time.Duration, lost func(error)) *Lead {
	// Others go by what their electors see of the lease, and that is in whole seconds: how long it lasts, and when it was renewed. A renewal
	// within the second of the last one is none to them, so they may take the lease a second early.
	return &Lead{Interface: lock, duration: duration.Truncate(time.Second) - time.Second, lost: lost, now: time.Now}
}

// Get reads the lease.
func (l *Lead) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	if err := l.eligible(); err != nil {
		return nil, nil, err
	}
	return l.Interface.Get(ctx)
}

// Create takes a lease that there was not.
func (l *Lead) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.take(ctx, record, l.Interface.Create)
}

// Update takes, renews or gives up the lease.
func (l *Lead) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.take(ctx, record, l.Interface.Update)
}

func (l *Lead) take(ctx context.Context, record resourcelock.LeaderElectionRecord, write func(context.Context, resourcelock.LeaderElectionRecord) error) error {
	// Others count from when they see the lease renewed, which is not before it was.
	began := l.now()
	if err := l.eligible(); err != nil {
		return err
	}
	if record.HolderIdentity == "" {
		l.mu.Lock()
		l.over = true // as soon as this is written another may lead, and that may be before this call returns
		l.mu.Unlock()
		return write(ctx, record)
	}
	if err := write(ctx, record); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = began.Add(l.duration)
	return nil
}

// eligible is nil while this process leads, and before it has for the first time.
func (l *Lead) eligible() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until.IsZero() && !l.over {
		return nil
	}
	return l.leads()
}

// leads is nil while this process leads for sure.
func (l *Lead) leads() error {
	switch now := l.now(); {
	case l.over || l.until.IsZero():
		return errNoLead
	// By either clock: the monotonic one may stand still while the machine is suspended, and the other may be set back.
	case now.Before(l.until) && now.Round(0).Before(l.until.Round(0)):
		return nil
	}
	l.over = true
	l.lost(ErrLeadLost)
	return ErrLeadLost
}

// Guard passes reads, and writes while this process leads.
func (l *Lead) Guard(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodGet {
			return next.RoundTrip(r)
		}
		l.mu.Lock()
		err := l.leads()
		l.mu.Unlock()
		if err == nil {
			return next.RoundTrip(r)
		}
		if r.Body != nil {
			_ = r.Body.Close() // as a RoundTripper must
		}
		return nil, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
