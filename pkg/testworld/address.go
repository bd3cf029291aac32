package testworld

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Systems choose the ports of connections, and of listeners that name none, from 32768 on or above; Kubernetes its
// node ports from 30000.
const firstPort, ports = 20000, 10000

// FreeAddress is an address of this machine that nothing listens on: for what must know its address before it listens,
// or has to come back to it. Unlike the port of a listener that was closed, no system gives it to another program
// meanwhile.
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
