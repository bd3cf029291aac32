package certificate

import (
	"bytes"
	"crypto/x509"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var terms = Terms{Life: 100 * time.Hour, Renew: 20 * time.Hour, Overlap: time.Minute}

const host = "fleetwebhook.fleet-system.svc"

// trusted fails the test if API servers that trust ca refuse what is served at now.
func trusted(t *testing.T, now time.Time, ca []byte, served Pair) {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatal("the bundle holds no certificate")
	}
	c, err := leaf(served)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Verify(x509.VerifyOptions{DNSName: host, Roots: pool, CurrentTime: now}); err != nil {
		t.Fatalf("at %s: %v", now, err)
	}
}

// An API server that hears of a new bundle as late as Overlap allows, and a replica that serves a pair until the one
// after it is replaced, get along at every moment of ten lives.
func TestRotationLeavesNoGap(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s, err := New(begin, terms, host, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	published, since := s.CA, begin // what the leader wrote to the configurations
	behind := s.CA                  // what the slowest API server trusts
	late := s.Serving               // what the slowest replica serves
	rotations := 0
	for now := begin; now.Before(begin.Add(10 * terms.Life)); {
		next, again, err := Step(s, now, terms, published, since, host, "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		if now.Sub(since) >= terms.Overlap {
			behind = published
		}
		if !bytes.Equal(next.Serving.Certificate, s.Serving.Certificate) {
			late, rotations = s.Serving, rotations+1
		}
		s = next
		if !bytes.Equal(published, s.CA) {
			published, since = s.CA, now
		}
		if c, err := leaf(late); err == nil && now.Before(c.NotAfter) {
			trusted(t, now, behind, late)
			trusted(t, now, published, late)
		}
		trusted(t, now, behind, s.Serving)
		trusted(t, now, published, s.Serving)
		if !again.After(now) {
			t.Fatalf("at %s the next look is due at %s", now, again)
		}
		now = again
	}
	if rotations < 10 {
		t.Errorf("%d rotations in ten lives", rotations)
	}
}

func TestStep(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	fresh, err := New(now, terms, host)
	if err != nil {
		t.Fatal(err)
	}
	due := now.Add(terms.Life - terms.Renew)
	prepared, _, err := Step(fresh, due, terms, fresh.CA, now, host)
	if err != nil {
		t.Fatal(err)
	}
	if len(prepared.Next.Certificate) == 0 {
		t.Fatal("no pair is prepared when the certificate is due")
	}
	switched := State{Serving: prepared.Next, CA: prepared.CA}
	for name, c := range map[string]struct {
		state     State
		at        time.Time
		published []byte
		since     time.Time
		host      string
		want      *State // nil: all new
		again     time.Time
	}{
		"fresh":                             {fresh, now, fresh.CA, now, host, &fresh, due},
		"prepared, and not published":       {prepared, due, fresh.CA, now, host, &prepared, due.Add(terms.Overlap)},
		"prepared, and published right now": {prepared, due, prepared.CA, due, host, &prepared, due.Add(terms.Overlap)},
		"prepared, and published long enough": {prepared, due.Add(terms.Overlap), prepared.CA, due, host, &switched,
			due.Add(terms.Life - terms.Renew)},
		"for another host": {fresh, now, fresh.CA, now, "other", nil, now},
		"over":             {fresh, now.Add(terms.Life), fresh.CA, now, host, nil, now.Add(terms.Life)},
		"unreadable":       {State{Serving: Pair{Certificate: []byte("x")}, CA: fresh.CA}, now, fresh.CA, now, host, nil, now},
	} {
		t.Run(name, func(t *testing.T) {
			got, again, err := Step(c.state, c.at, terms, c.published, c.since, c.host)
			if err != nil {
				t.Fatal(err)
			}
			if !again.Equal(c.again) {
				t.Errorf("the next look is due at %s, want %s", again, c.again)
			}
			if c.want == nil {
				if bytes.Equal(got.Serving.Certificate, c.state.Serving.Certificate) {
					t.Error("the certificate is kept, want another one")
				}
				if l, err := leaf(got.Serving); err != nil || !covers(l, []string{c.host}) {
					t.Errorf("the new certificate is not for %s: %v", c.host, err)
				}
				return
			}
			if diff := cmp.Diff(*c.want, got); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
}

// A certificate that another client stores is served after the one that is trusted now.
func TestAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	made := func(host string) State {
		s, err := New(now, terms, host)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	kept, found, others := made(host), made(host), made("other")
	both := State{Serving: kept.Serving, Next: found.Serving, CA: append(bytes.Clone(found.CA), kept.CA...)}
	for name, c := range map[string]struct {
		kept, found State
		at          time.Time
		want        State
	}{
		"both can be served":            {kept, found, now, both},
		"what was kept is over":         {kept, found, now.Add(terms.Life), found},
		"what was kept is for others":   {others, found, now, found},
		"what is found has another CA":  {kept, State{Serving: found.Serving, CA: others.CA}, now, kept},
		"what is found cannot be read":  {kept, State{}, now, kept},
		"neither of them can be served": {others, State{}, now, State{}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, After(c.kept, c.found, c.at, host)); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
		})
	}
	now = now.Add(terms.Overlap)
	step, _, err := Step(both, now, terms, both.CA, now.Add(-terms.Overlap), host)
	if err != nil || !bytes.Equal(step.Serving.Certificate, found.Serving.Certificate) {
		t.Errorf("after its CA is published long enough, what was found is not served: %v", err)
	}
}

func TestStatesAreReadAsTheyWereWritten(t *testing.T) {
	s, err := New(time.Now(), terms, host)
	if err != nil {
		t.Fatal(err)
	}
	for _, next := range []Pair{{}, s.Serving} {
		s.Next = next
		got, err := Read(s.Data())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, got); diff != "" {
			t.Errorf("state (-want +got):\n%s", diff)
		}
	}
	for key := range s.Data() {
		data := s.Data()
		data[key] = []byte("nonsense")
		if _, err := Read(data); err == nil && key != keyNextCertificate && key != keyNextKey {
			t.Errorf("a state whose %s is nonsense is read", key)
		}
	}
}
