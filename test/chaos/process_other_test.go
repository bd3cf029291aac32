//go:build !linux

package chaos

import "syscall"

// tied would make the kernel end a process when this one has died, but this kernel does not.
func tied() *syscall.SysProcAttr { return nil }
