// Package exec runs one shell command at a time on behalf of somebody else: it
// starts the command in a process group of its own, captures its output with a
// bound, ends it when told to, and says how it went.
//
// It must never read the daemon's own environment, hand a descriptor other
// than 0, 1 and 2 to a command, take the exit status of a process that another
// waits for, signal a process id that may have been given to another process,
// or hold more than the agreed amount of output. It knows nothing of requests,
// keys or networks.
//
// One command takes this way:
//
//	Command ── Validate ── Runner.Start ── poller ──┬─ stream (stdout) ── Output
//	                                                ├─ stream (stderr) ── Output
//	                                                └─ exit: finish ── Result, Done, Then
//
// The result is there when the shell has exited, although a child that it left
// in the background may still hold its output open. What such a child writes
// afterwards is read, counted and dropped, because closing the pipe would kill
// it by SIGPIPE.
//
// What belongs to a command is known in one of two ways, which the daemon
// chooses once (Runner.UseCgroups, else Runner.AdoptOrphans):
//
//	a cgroup each    every process, whatever it did: setsid, two forks, sudo.
//	                 Only one that moves itself to another cgroup by writing to
//	                 its files gets out, and then the unit's cgroup holds it.
//	process groups   the group, and who left it but still has a parent in it.
//	                 Who left it and was orphaned is lost until the unit stops.
//	                 Who has become another user cannot be signalled.
//
// Nothing is ended after a normal exit, unless Command.EndWithShell asks for it.
package exec
