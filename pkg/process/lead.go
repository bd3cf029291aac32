package process

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// ErrLeadLost is why a leader exits whose lease expired before it was renewed.
var ErrLeadLost = errors.New("the lease expired before it was renewed; another replica may be the leader now")

var errNoLead = errors.New("this replica is not the leader and must not write")

// ShortestLease is the shortest lease duration: a leader writes for a second less than the lease lasts, see NewLead.
const ShortestLease = 2 * time.Second

// Lead is the lock of an elector. In addition it ensures that only the leader writes, which electors do not: an
// elector that finds the lease taken keeps retrying for the whole renew deadline while its process keeps working, and
// so does a process that was stopped, or whose machine was suspended, until its elector notices. A Lead knows until
// when this process certainly has the lease. After that its Guard refuses writes, and the process never becomes leader
// again, because its caches may be older than the writes of other processes.
type Lead struct {
	resourcelock.Interface
	duration time.Duration
	lost     func(error)
	now      func() time.Time

	mu sync.Mutex
	// until is when the lease expires if it is not renewed; zero before this process is leader for the first time.
	until time.Time
	over  bool
}

// NewLead makes an elector's lock of a lease that lasts for duration. lost is called once, when the lease has expired.
func NewLead(lock resourcelock.Interface, duration time.Duration, lost func(error)) *Lead {
	// The duration and the renew time of a lease are in whole seconds. Other electors do not notice a renewal within
	// the same second as the last one, so they may take the lease a second early.
	return &Lead{Interface: lock, duration: duration.Truncate(time.Second) - time.Second, lost: lost, now: time.Now}
}

// Get reads the lease.
func (l *Lead) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	if err := l.eligible(); err != nil {
		return nil, nil, err
	}
	return l.Interface.Get(ctx)
}

// Create creates the lease and so takes it.
func (l *Lead) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.take(ctx, record, l.Interface.Create)
}

// Update takes, renews or releases the lease.
func (l *Lead) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.take(ctx, record, l.Interface.Update)
}

func (l *Lead) take(ctx context.Context, record resourcelock.LeaderElectionRecord, write func(context.Context, resourcelock.LeaderElectionRecord) error) error {
	// Other electors count from when they observe the renewal, which is never before this time.
	began := l.now()
	if err := l.eligible(); err != nil {
		return err
	}
	if record.HolderIdentity == "" {
		l.mu.Lock()
		l.over = true // another replica may become leader before this call returns
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

// eligible returns nil while this process is leader, and before it is leader for the first time.
func (l *Lead) eligible() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until.IsZero() && !l.over {
		return nil
	}
	return l.leads()
}

// leads returns nil while this process is certainly the leader.
func (l *Lead) leads() error {
	switch now := l.now(); {
	case l.over || l.until.IsZero():
		return errNoLead
	// By both clocks: the monotonic clock may stop while the machine is suspended, and the wall clock may be set back.
	case now.Before(l.until) && now.Round(0).Before(l.until.Round(0)):
		return nil
	}
	l.over = true
	l.lost(ErrLeadLost)
	return ErrLeadLost
}

// Guard passes reads, and passes writes only while this process is leader.
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
