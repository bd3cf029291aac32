// Package state is the folder a cluster lives in: either a kept one (--data-dir), or a temporary one that goes with the
// process. It holds etcd's data and socket, the certificates and the remembered port.
package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Dir is a folder that this process alone uses.
type Dir struct {
	Path string
	// Kept says that the folder outlives the process.
	Kept bool
	lock *os.File
}

// Open creates and locks the folder; path "" makes a temporary one.
func Open(path string) (*Dir, error) {
	if path == "" {
		temporary, err := os.MkdirTemp("", "embedded-cluster-")
		if err != nil {
			return nil, fmt.Errorf("create a temporary folder: %w", err)
		}
		return &Dir{Path: temporary}, nil
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data folder %s: %w", path, err)
	}
	if err := os.MkdirAll(absolute, 0o700); err != nil {
		return nil, fmt.Errorf("create the data folder: %w", err)
	}
	lock, err := lockFile(filepath.Join(absolute, "lock"))
	if err != nil {
		return nil, fmt.Errorf("data folder %s: %w", absolute, err)
	}
	return &Dir{Path: absolute, Kept: true, lock: lock}, nil
}

// Close gives the folder up, and removes a temporary one.
func (d *Dir) Close() error {
	if d.Kept {
		return d.lock.Close()
	}
	var err error
	// A part that was interrupted may still add a file while the folder is being emptied.
	for range 10 {
		if err = os.RemoveAll(d.Path); err == nil {
			break
		}
	}
	return err
}

// Join is the path of something in the folder.
func (d *Dir) Join(name string) string { return filepath.Join(d.Path, name) }

// Listen opens the API server's port on the loopback interface: the wanted one, else the one remembered from an earlier
// start, else any free one. Listening here, and handing the socket over, leaves no moment at which another process
// could take a port that was found free.
func (d *Dir) Listen(ctx context.Context, wanted int) (net.Listener, int, error) {
	remembered, err := d.rememberedPort()
	if err != nil {
		return nil, 0, err
	}
	origin := "config's port"
	if wanted == 0 {
		wanted, origin = remembered, "port of this data folder's last start"
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(wanted)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, 0, fmt.Errorf("API server: 127.0.0.1:%d (the %s) is taken by another process: "+
			"stop it (is an earlier cluster still running?), or set another port in the config", wanted, origin)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("API server: %w", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := os.WriteFile(d.portFile(), []byte(strconv.Itoa(port)+"\n"), 0o600); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("remember the port: %w", err), listener.Close())
	}
	return listener, port, nil
}

func (d *Dir) portFile() string { return d.Join("port") }

// rememberedPort is 0 on the first start.
func (d *Dir) rememberedPort() (int, error) {
	data, err := os.ReadFile(d.portFile())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the remembered port: %w", err)
	}
	port, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, fmt.Errorf("remembered port in %s: %w", d.portFile(), err)
	}
	return port, nil
}

// lockFile takes an exclusive lock that the kernel gives up with the process, however that ends.
func lockFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open its lock: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(path)
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("in use by the embedded cluster with process id %s: stop that one first, or choose another folder",
				strings.TrimSpace(string(holder)))
		}
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := errors.Join(file.Truncate(0), writeAt(file, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		return nil, fmt.Errorf("write its lock: %w", err)
	}
	return file, nil
}

func writeAt(file *os.File, text string) error {
	_, err := file.WriteAt([]byte(text), 0)
	return err
}
