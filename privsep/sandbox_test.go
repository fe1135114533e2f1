package privsep

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// attackTable says how the sandbox answers each attack, and how Landlock does
// where it is left alone; "" says that it is seccomp's matter only. Every attack
// runs as root, so what refuses is the sandbox and not the user's lack of rights.
var attackTable = []struct{ name, sandbox, landlock string }{
	{"exec", "killed", "EACCES"},
	{"execveat", "killed", "EACCES"},
	{"reexec", "killed", ""},
	{"fork", "killed", ""},
	{"clone-user", "killed", ""},
	{"clone-high-bit", "killed", ""},

	{"ptrace", "killed", ""},
	{"kill-parent", "EPERM", "EPERM"},
	{"kill-group", "EPERM", ""},
	{"tkill-parent", "EPERM", "EPERM"},
	{"tgkill-parent", "EPERM", "EPERM"},
	{"sigqueue-parent", "EPERM", ""},
	{"process-vm-read", "killed", ""},
	{"process-vm-write", "killed", ""},
	{"pidfd-open", "EPERM", ""},
	{"pidfd-getfd", "killed", ""},
	{"pidfd-signal", "EPERM", ""},
	{"prlimit-parent", "EPERM", ""},
	{"setpriority", "EPERM", ""},
	{"fcntl-setown", "EPERM", ""},

	{"mmap-exec", "EPERM", ""},
	{"mmap-exec-bit", "EPERM", ""},
	{"mmap-file", "EPERM", ""},
	{"mprotect-exec", "EPERM", ""},
	{"memfd", "EPERM", ""},
	{"userfaultfd", "killed", ""},
	{"personality", "killed", ""},

	{"dumpable", "EPERM", ""},
	{"keepcaps", "EPERM", ""},
	{"prctl-seccomp", "EPERM", ""},
	{"seccomp", "EPERM", ""},
	{"landlock", "EPERM", ""},
	{"setuid", "killed", ""},
	{"setgroups", "killed", ""},
	{"capset", "killed", ""},
	{"unshare", "killed", ""},
	{"setns", "killed", ""},
	{"chroot", "killed", ""},
	{"mount", "killed", ""},
	{"pivot-root", "killed", ""},
	{"raise-core", "EPERM", ""},

	{"io-uring", "killed", ""},
	{"bpf", "killed", ""},
	{"perf", "killed", ""},
	{"keyctl", "killed", ""},
	{"init-module", "killed", ""},
	{"kexec", "killed", ""},
	{"handle", "killed", ""},
	{"ioctl", "EPERM", ""},
	{"inotify", "EPERM", ""},
	{"shmget", "EPERM", ""},

	{"open-create", "EPERM", "EACCES"},
	{"open-write", "EPERM", "EACCES"},
	{"open-read", "EACCES", "EACCES"},
	{"open-readwrite", "EPERM", "EACCES"},
	{"open-truncate", "EPERM", "EACCES"},
	{"open-tmpfile", "EPERM", "EACCES"},
	{"open-path", "EPERM", ""},
	{"open-device", "EACCES", "EACCES"},
	{"open-usr", "EACCES", "EACCES"},
	{"open-root", "EACCES", "EACCES"},
	{"open-init", "EACCES", "EACCES"},
	{"open-parent", "EACCES", "EACCES"},
	{"open-self-mem", "EACCES", "EACCES"},
	{"open-dotdot", "EACCES", "EACCES"},
	{"open-link", "EACCES", "EACCES"},
	{"openat2", "EPERM", ""},
	{"statx", "EPERM", ""},
	{"list-etc", "EPERM", "EACCES"},
	{"list-dir", "EPERM", "EACCES"},
	{"unlink", "EPERM", "EACCES"},
	{"mkdir", "EPERM", "EACCES"},
	{"mknod", "EPERM", "EACCES"},
	{"symlink", "EPERM", "EACCES"},
	{"hard-link", "EPERM", "EACCES"},
	{"rename", "EPERM", "EACCES"},
	{"chmod", "EPERM", ""},
	{"chown", "EPERM", ""},
	{"truncate", "EPERM", "EACCES"},
	{"setxattr", "EPERM", ""},
	{"utimes", "EPERM", ""},
	{"chdir", "EPERM", ""},

	{"socket-unix", "EPERM", ""},
	{"socket-unix-dgram", "EPERM", ""},
	{"socket-unix-high", "EPERM", ""},
	{"socket-inet-high", "EPERM", ""},
	{"socket-kind-high", "EPERM", ""},
	{"socket-netlink", "EPERM", ""},
	{"socket-packet", "EPERM", ""},
	{"socket-vsock", "EPERM", ""},
	{"socket-alg", "EPERM", ""},
	{"socket-raw", "EPERM", ""},
	{"socket-raw6", "EPERM", ""},
	{"socket-ping", "EPERM", ""},
	{"socket-mptcp", "EPERM", ""},
	{"socket-sctp", "EPERM", ""},
	{"socket-seqpacket", "EPERM", ""},
	{"socketpair", "EPERM", ""},
	{"bind", "EPERM", "EACCES"},
	{"listen", "EPERM", ""},
	{"sendmsg", "EPERM", ""},
	{"recvmsg", "EPERM", ""},
	{"sendto", "EPERM", ""},
	{"attach-filter", "EPERM", ""},
	{"reuse-port", "EPERM", ""},
	{"tcp-ulp", "EPERM", ""},
	{"abstract-unix", "EPERM", "EPERM"},
	{"dup", "EPERM", ""},
}

func TestSandboxRefuses(t *testing.T) {
	needRoot(t)
	needLandlock(t, 6)
	abstract := listenAbstract(t)
	for _, attack := range attackTable {
		t.Run(attack.name, func(t *testing.T) {
			run := func(before ...string) string {
				cmd := attacker(t, append(before, attack.name)...)
				cmd.Env = append(cmd.Env, "ATTACK_DIR="+prey(t), "ATTACK_ABSTRACT="+abstract)
				return answer(t, cmd)
			}
			control := run()
			if control == attack.sandbox || control == "" {
				t.Errorf("without the sandbox: %q, which proves nothing", control)
			}
			if got := run("in", "both"); got != attack.sandbox {
				t.Errorf("in the sandbox: %q, want %q (without: %q)", got, attack.sandbox, control)
			}
			// Only Landlock answers EACCES. What seccomp refuses, it refuses alone too.
			if got := run("in", "seccomp"); attack.sandbox != "EACCES" && got != attack.sandbox {
				t.Errorf("under seccomp alone: %q, want %q", got, attack.sandbox)
			}
			if got := run("in", "landlock"); attack.landlock != "" && got != attack.landlock {
				t.Errorf("under Landlock alone: %q, want %q", got, attack.landlock)
			}
		})
	}
}

// TestSandboxAllows is the other half: a sandbox that refuses everything would
// pass the attacks.
func TestSandboxAllows(t *testing.T) {
	needRoot(t)
	needLandlock(t, 1)
	for _, name := range []string{"own-pid", "signal-self", "proof-of-itself", "open-hosts", "socket-tcp", "socket-udp6"} {
		if got := answer(t, attacker(t, "in", "both", name)); got != "succeeded" {
			t.Errorf("%s: %q, want success", name, got)
		}
	}
	// The runtime falls back to clone when it is told that clone3 is unknown.
	if got := answer(t, attacker(t, "in", "both", "clone3")); got != "ENOSYS" {
		t.Errorf("clone3: %q, want ENOSYS", got)
	}
}

func TestSandboxHoldsOnThreadsStartedLater(t *testing.T) {
	needRoot(t)
	needLandlock(t, 1)
	if got := answer(t, attacker(t, "threads")); got != "16" {
		t.Errorf("without the sandbox %s of 16 threads can do it", got)
	}
	if got := answer(t, attacker(t, "in", "both", "threads")); got != "0" {
		t.Errorf("%s of 16 threads escaped", got)
	}
}

// prey is a folder with a file to attack and a link that leads out of /etc.
func prey(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "victim"), []byte("prey"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr/bin/env", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// listenAbstract listens on an abstract socket outside of the sandbox.
func listenAbstract(t *testing.T) string {
	t.Helper()
	name := "@privsep-test-" + strconv.Itoa(os.Getpid())
	listener, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return name
}
