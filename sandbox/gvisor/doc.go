// Package gvisor runs each sandbox on gVisor, a kernel in user space (runsc
// with the systrap platform): the agent's system calls never reach the host's
// kernel, and its network stack, memory and files are its own.
//
// What a sandbox is on the host:
//
//	a folder          StateDir/<id>: record, OCI spec, runsc's state
//	a link            a network namespace that package network made
//	a control group   isolde-<id>, which bounds CPU time, memory and tasks
//	one process tree  runsc-sandbox and its stubs, all in the control group
//
// There is no helper process of Isolde's, and none of gVisor's for files: the
// root is an EROFS image that the sandbox maps, and what the agent writes is
// kept in the sandbox's memory, bounded by DiskBytes. Files therefore count
// as memory, and at most half of MemoryBytes can be files; the agent sees "no
// space left on device" beyond that.
//
// The agent has no capabilities unless it runs as root, and then those of a
// container without the ones for raw sockets and devices. It cannot gain any.
//
// Sandboxes outlive the server. A sandbox's process is adopted by the server
// that started it, so that its exit status is known; a later server knows only
// that it ended.
package gvisor
