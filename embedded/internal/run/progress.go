package run

import (
	"time"

	"github.com/flagship-fleet/flagship/embedded/internal/logs"
)

// patience is how long a step may take in silence.
const patience = 2 * time.Second

// progress tells the user how far the cluster is.
type progress struct {
	cluster string
	log     *logs.Log
	begin   time.Time
}

func (p progress) say(text string) {
	p.log.Printf("%s: %s (%.1f s)", p.cluster, text, time.Since(p.begin).Seconds())
}

// during runs a step of the start, and says what is waited for when that takes long: first after patience, then ever
// more rarely.
func (p progress) during(step string, run func() error) error {
	done := make(chan struct{})
	defer close(done)
	go func() {
		for wait := patience; ; wait *= 2 {
			select {
			case <-time.After(wait):
				p.say("waiting for " + step)
			case <-done:
				return
			}
		}
	}()
	return run()
}
