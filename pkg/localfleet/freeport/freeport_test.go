package freeport

import (
	"net"
	"strconv"
	"testing"
)

func TestNext(t *testing.T) {
	was := map[int]bool{}
	for range 20 {
		port, err := Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if was[port] || port < first || port >= first+count {
			t.Errorf("port %d after %v", port, was)
		}
		was[port] = true
		listener, err := net.Listen("tcp", net.JoinHostPort(Loopback, strconv.Itoa(port))) //nolint:noctx // it is closed at once
		if err != nil {
			t.Errorf("the port is in use: %v", err)
			continue
		}
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAPortInUseIsSkipped(t *testing.T) {
	port, err := Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	following := first + (port-first+1)%count
	listener, err := net.Listen("tcp", net.JoinHostPort(Loopback, strconv.Itoa(following))) //nolint:noctx // it is closed below
	if err != nil {
		t.Skip(err) // another program has it
	}
	defer listener.Close()
	if port, err = Next(t.Context()); err != nil || port == following {
		t.Errorf("port %d is in use, error %v", port, err)
	}
}
