package certificate

import (
	"crypto/tls"
	"slices"
	"testing"
	"time"
)

func TestChoose(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	made := func(at time.Time) (*tls.Certificate, []byte) {
		state, err := New(at, terms, host)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := state.Serving.TLS()
		if err != nil {
			t.Fatal(err)
		}
		return pair, state.CA
	}
	older, olderCA := made(now)
	newer, newerCA := made(now)
	past, pastCA := made(now.Add(-2 * terms.Life))
	both := slices.Concat(olderCA, newerCA)
	for name, c := range map[string]struct {
		pairs     []*tls.Certificate
		published [][]byte
		want      int
		trusted   bool
	}{
		"nothing is published":              {[]*tls.Certificate{newer, older}, nil, 0, false},
		"the new CA is published":           {[]*tls.Certificate{newer, older}, [][]byte{newerCA, newerCA}, 0, true},
		"the old CA is published":           {[]*tls.Certificate{newer, older}, [][]byte{olderCA, olderCA}, 1, true},
		"both CAs are published":            {[]*tls.Certificate{newer, older}, [][]byte{both, both}, 0, true},
		"one configuration has the new CA":  {[]*tls.Certificate{newer, older}, [][]byte{newerCA, both, olderCA}, 0, false},
		"one configuration has both":        {[]*tls.Certificate{newer, older}, [][]byte{both, olderCA}, 1, true},
		"neither is trusted":                {[]*tls.Certificate{newer, older}, [][]byte{pastCA}, 0, false},
		"a bundle is no certificate":        {[]*tls.Certificate{newer, older}, [][]byte{[]byte("nonsense")}, 0, false},
		"the one that is trusted has ended": {[]*tls.Certificate{newer, past}, [][]byte{pastCA}, 0, false},
		"one alone, trusted":                {[]*tls.Certificate{newer}, [][]byte{newerCA}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got, trusted := Choose(c.pairs, c.published, now); got != c.want || trusted != c.trusted {
				t.Errorf("index %d, trusted %t; want %d, %t", got, trusted, c.want, c.trusted)
			}
		})
	}
}
