//go:build !linux

package localfleet

import "syscall"

// attributes put a program into a process group of its own, so that a Ctrl-C meant for us does not reach it. A detached one gets
// its own session. Here nothing can be tied to our death: what a killed test leaves behind, the pid files name.
func attributes(detached bool) *syscall.SysProcAttr {
	if detached {
		return &syscall.SysProcAttr{Setsid: true}
	}
	return &syscall.SysProcAttr{Setpgid: true}
}
