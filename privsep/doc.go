// Package privsep separates the privileges of the two roles. It drops root for the role user and
// the run user and proves that nothing of root is left (drop.go), starts the network role
// (role.go), and confines it with Landlock and seccomp (policy.go says to what). For a reload it
// executes another program (thread.go), which gets its ids and the roles back (reenter.go,
// role.go).
//
// The order in the executor, which starts as root:
//
//	LookupUser -> (open what only root may open) -> Drop -> StartRole
//
// and in the program that it executes:
//
//	Reenter -> AdoptRole
//
// It does not set no_new_privs: kernels before 6.16 then set the effective ids to the real ones at
// an execve. Its children set it for themselves.
//
// The order in the network role, which starts as the role user:
//
//	stage one   ProveRole -> EnterLandlock -> Landlock.Reexec
//	stage two   InheritListeners -> LandlockInForce -> InstallSeccomp -> serve
//
// Stage one binds a single thread and executes the program again, so every thread of stage two is
// born inside the Landlock domain.
//
// The package must never give a privilege back, never read the key, and never go on when a step
// cannot be proved: each function returns an error, and the caller refuses the start. The one
// exception is a kernel without Landlock, which the caller learns as a state. Drop, SetNoNewPrivs
// and InstallSeccomp act on every thread, which takes a build with CGO_ENABLED=0.
package privsep
