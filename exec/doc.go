// Package exec runs shell commands: it starts a command in a process group of its own, captures its
// output within a bound, ends it on request, and reports how it ended.
//
// The package knows nothing of requests, keys or networks. It never
//   - passes the daemon's environment, or a descriptor other than 0, 1 and 2 (and 3, of a
//     script), to a command,
//   - takes the exit status of a process that other code waits for,
//   - signals a process id that may have been reused,
//   - keeps more output than Command.MaxOutput for each stream.
//
// The files, from the caller down to the system. Each uses only files that are listed below it.
//
//	restore.go          takes running commands over from the program before
//	handover.go         passes running commands on to the program that the daemon executes next
//	cgroup_handover.go  both, for cgroups
//	start.go            Start
//	exit.go             from the shell's exit to the result
//	end.go              ends a command by signals
//	process.go          Process: a command from its execve to its result
//	birth.go            from Start to execve: pipes, ids, limits, directory, and a time limit
//	runner.go           Runner: what all commands share
//	pipe.go             reads a pipe until its last writer has closed it
//	pipe_read.go        one read, which loses nothing of a pipe of packets
//
//	cgroup_setup.go     the cgroups of the unit, made when the daemon starts
//	cgroup_pool.go      gives each command a cgroup, and reuses those of earlier ones
//	cgroup.go           the cgroup of one command
//	totals.go           bounds of all commands together
//	cgroup_limits.go    limits and weights of a command as a whole
//	controllers.go      enables the controllers that these take
//	descendants.go      finds a command's processes where it has no cgroup
//
//	oom.go              the score by which the kernel's OOM killer chooses
//	input.go            standard input and scripts in sealed memory files
//	workdir.go          the working directory
//	command.go          what a caller gives (Command) and gets (Result)
//	limits.go           Limits, and those of a process
//	launch.go           starts a process of the daemon itself
//	credentials.go      the change to the commands' user, and the proof that it is final
//	guard.go            keeps the OOM killer from the daemon during a birth
//	spawn.go            creates a process: clone and a list of system calls, without a stack
//	descriptors.go      descriptors that are kept open for starting commands
//	poller.go           watches for output and exits, on one goroutine
//
//	reap.go             waits for children, and reaps those that nothing waits for
//	gate.go             brings all goroutines to rest
//	signal.go           signals processes, but none with a reused id; names of signals
//	processes.go        reads /proc/PID/stat
//	files.go            reads and writes small files, such as those of cgroups
//
//	script.go           a script and its interpreter
//	environment.go      the environment of a command
//	output_read.go      reads an Output
//	output.go           Output: what a command has written
//	order.go            in which order, and when, the output was read
//	ring.go             the last bytes of an Output
//	mask.go             secret values that are masked in it
//	errors.go           StartError, and which side caused it
//
// The result is ready when the shell has exited, even if a background child holds the output open.
// What that writes later is read, counted and dropped: a closed pipe would kill it by SIGPIPE.
//
// The processes of a command are found in one of two ways, chosen once for a Runner:
//
//	UseCgroups    one cgroup for each command holds all its processes, also after setsid, double
//	              fork and sudo.
//	AdoptOrphans  the process group, and processes outside it whose parents lead back to it. One
//	              that left the group and lost its parent is not found until the unit stops. One
//	              that changed its user cannot be signalled.
//
// After a normal exit nothing is ended, unless Command.EndWithShell is set.
//
// Commands survive that the daemon executes another program in its place: Runner.Rest brings all
// goroutines to rest, and handover.go says what follows.
package exec
