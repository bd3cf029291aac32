package chaos

import "syscall"

// tied makes the kernel end a process when this one has died, however it died.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
