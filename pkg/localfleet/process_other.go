//go:build !linux

package localfleet

import "syscall"

// attributes put a program into its own process group, so that a Ctrl-C for this process does not reach it. A detached
// one gets its own session. Here a child cannot be bound to the death of this process: the pid files list the
// processes that a killed test leaves.
func attributes(detached bool) *syscall.SysProcAttr {
	if detached {
		return &syscall.SysProcAttr{Setsid: true}
	}
	return &syscall.SysProcAttr{Setpgid: true}
}
