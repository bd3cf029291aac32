// Package freeport finds unused ports of this machine, for servers that must know their port before they listen, or
// that restart at the same port. The ports are below those that operating systems use for connections (from 32768 on)
// and Kubernetes for Services (from 30000 on), so that no other program is given one meanwhile, unlike the port of a
// closed listener.
package freeport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
)

// Loopback is the address whose ports Next returns.
const Loopback = "127.0.0.1"

// first and count are the ports that Next chooses from; tries limits how many of them it tries.
const first, count, tries = 20000, 10000, 100

// next cycles through these ports, so that no two servers get the same one before they listen. It starts at random
// because of other processes.
var next atomic.Uint32

func init() { next.Store(rand.Uint32N(count)) }

// Next returns a port of the loopback interface that was free a moment ago, another one for each call.
func Next(ctx context.Context) (int, error) {
	var errs []error
	for range tries {
		port := first + int(next.Add(1)%count)
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(Loopback, strconv.Itoa(port)))
		if err == nil {
			return port, listener.Close()
		}
		errs = append(errs, err)
	}
	return 0, fmt.Errorf("find a free port: %w", errors.Join(errs...))
}
