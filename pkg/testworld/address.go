package testworld

import (
	"context"
	"net"
	"strconv"

	"github.com/flagship-fleet/flagship/pkg/localfleet/freeport"
)

// FreeAddress returns an unused address of this machine, for a server that must know its address before it listens, or
// that restarts at the same address.
func FreeAddress() (string, error) {
	port, err := freeport.Next(context.Background())
	return net.JoinHostPort(freeport.Loopback, strconv.Itoa(port)), err
}
