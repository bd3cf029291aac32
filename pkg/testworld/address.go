package testworld

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Operating systems choose ephemeral ports from 32768 or above, and Kubernetes chooses node ports from 30000.
const firstPort, ports = 20000, 10000

// FreeAddress returns an unused address of this machine, for a server that must know its address before it listens, or
// that restarts at the same address. The operating system does not assign its port to other programs meanwhile, unlike
// the port of a closed listener.
func FreeAddress() (string, error) {
	var errs []error
	for range 20 {
		address := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(ports))
		listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
		if err == nil {
			return address, listener.Close()
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("find a free address: %w", errors.Join(errs...))
}
