// Package privsep separates the privileges of the two roles: it drops root for
// the run user and proves that nothing of root is left, and it shuts the
// network role into a sandbox of Landlock and seccomp.
//
// The order in the executor, which starts as root:
//
//	LookupUser -> (open what only root may open) -> SetNoNewPrivs -> Drop
//
// The order in the network role, which starts as the run user:
//
//	stage one   EnterLandlock -> Landlock.Reexec
//	stage two   LandlockInForce -> InstallSeccomp -> serve
//
// Stage one binds a single thread and executes the program anew, so every
// thread of stage two is born inside the Landlock domain.
//
// It must never give a privilege back, never read the key, and never go on when
// a step cannot be proved: each function returns an error and the caller
// refuses the start. The one exception is a kernel without Landlock, which is
// told to the caller as a state. Drop, SetNoNewPrivs and InstallSeccomp act on
// every thread, which needs a build with CGO_ENABLED=0.
package privsep
