package localfleet

import "syscall"

// attributes put a program into a process group of its own, so that a Ctrl-C meant for us does not reach it. A detached one gets
// its own session; any other is asked to end when we die, however we die.
func attributes(detached bool) *syscall.SysProcAttr {
	if detached {
		return &syscall.SysProcAttr{Setsid: true}
	}
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
