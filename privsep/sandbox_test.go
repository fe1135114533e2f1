package privsep

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

type attackCase struct{ name, sandbox, landlock string }

// attackTable lists the sandbox's answer to each attack, and that of Landlock alone, "" where only
// seccomp refuses it. Every attack runs as root, so what refuses is the sandbox and not the user's
// lack of rights.
var attackTable = []attackCase{
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
	{"open-descriptor", "EACCES", "EACCES"},
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

func TestSandbox_Refuses(t *testing.T) {
	t.Parallel()
	needRoot(t)
	needLandlock(t, 6)
	abstract := listenAbstract(t)
	run := func(t *testing.T, args ...string) string {
		cmd := attacker(t, args...)
		cmd.Env = append(cmd.Env, "ATTACK_DIR="+prey(t), "ATTACK_ABSTRACT="+abstract)
		return answer(t, cmd)
	}
	refused := map[string]map[string]string{}
	for _, layers := range []string{"both", "seccomp", "landlock"} {
		refused[layers] = map[string]string{}
		// One process tries all that it survives: a refused attack changes nothing.
		var names []string
		for _, attack := range attackTable {
			if want := attack.want(layers); want != "" && want != "killed" {
				names = append(names, attack.name)
			}
		}
		answers := strings.Split(run(t, append([]string{"in", layers, "each"}, names...)...), "\n")
		if len(answers) != len(names) {
			t.Fatalf("in %s: got %d answers, want %d: %q", layers, len(answers), len(names), answers)
		}
		for i, name := range names {
			refused[layers][name] = answers[i]
		}
	}
	for _, attack := range attackTable {
		t.Run(attack.name, func(t *testing.T) {
			t.Parallel()
			if control := run(t, attack.name); control == attack.sandbox || control == "" {
				t.Errorf("without the sandbox: got %q, want another answer than in it", control)
			}
			for layers, answers := range refused {
				want, got := attack.want(layers), answers[attack.name]
				if want == "killed" {
					got = run(t, "in", layers, attack.name)
				}
				if want != "" && got != want {
					t.Errorf("in %s: got %q, want %q", layers, got, want)
				}
			}
		})
	}
}

// want returns the answer that some layers of the sandbox must give, "" for any. Only Landlock
// answers EACCES; what seccomp refuses, it refuses alone too.
func (a attackCase) want(layers string) string {
	switch {
	case layers == "landlock":
		return a.landlock
	case layers == "seccomp" && a.sandbox == "EACCES":
		return ""
	}
	return a.sandbox
}

// A sandbox that refuses everything would pass the attacks.
func TestSandbox_Allows(t *testing.T) {
	needRoot(t)
	needLandlock(t, 1)
	for _, name := range []string{
		"own-pid", "signal-self", "proof-of-itself", "open-hosts", "socket-tcp", "socket-udp6",
		"fcntl-get", "own-socket",
	} {
		if got := answer(t, attacker(t, "in", "both", name)); got != "succeeded" {
			t.Errorf("%s: got %q, want success", name, got)
		}
	}
	// The runtime falls back to clone when clone3 is unknown.
	if got := answer(t, attacker(t, "in", "both", "clone3")); got != "ENOSYS" {
		t.Errorf("clone3: got %q, want ENOSYS", got)
	}
}

func TestSandbox_ThreadsStartedLater(t *testing.T) {
	needRoot(t)
	needLandlock(t, 1)
	if got := answer(t, attacker(t, "threads")); got != "16" {
		t.Errorf("without the sandbox: got %s threads that can do it, want 16", got)
	}
	if got := answer(t, attacker(t, "in", "both", "threads")); got != "0" {
		t.Errorf("in the sandbox: got %s threads that can do it, want 0", got)
	}
}

// prey makes a folder with a file to attack and a link that leads out of /etc.
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
