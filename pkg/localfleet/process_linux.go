package localfleet

import "syscall"

// attributes put a program into its own process group, so that a Ctrl-C for this process does not reach it. A detached
// one gets its own session; any other gets SIGTERM when this process dies, however it dies.
func attributes(detached bool) *syscall.SysProcAttr {
	if detached {
		return &syscall.SysProcAttr{Setsid: true}
	}
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
