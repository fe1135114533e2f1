package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// inside names a file in the folder that the test prepared.
func inside(name string) string { return filepath.Join(os.Getenv("ATTACK_DIR"), name) }

// open opens with these very flags: os.Open would add some.
func open(path string, flags int) error {
	return sys(unix.SYS_OPENAT, at, text(path), uintptr(flags), 0o600)
}

func init() {
	for name, attack := range map[string]func() error{
		"open-create":    func() error { return open(inside("created"), unix.O_CREAT|unix.O_RDONLY) },
		"open-write":     func() error { return open(inside("victim"), unix.O_WRONLY) },
		"open-read":      func() error { return open(inside("victim"), unix.O_RDONLY) },
		"open-readwrite": func() error { return open("/etc/hosts", unix.O_RDWR) },
		"open-truncate":  func() error { return open(inside("victim"), unix.O_TRUNC) },
		"open-tmpfile":   func() error { return open(inside("."), unix.O_TMPFILE|unix.O_WRONLY) },
		"open-path":      func() error { return open("/usr", unix.O_PATH) },
		"open-device":    func() error { return open("/dev/zero", unix.O_RDONLY) },
		"open-usr":       func() error { return open("/usr/bin/env", unix.O_RDONLY) },
		"open-root":      func() error { return open("/root", unix.O_RDONLY) },
		"open-init":      func() error { return open("/proc/1/status", unix.O_RDONLY) },
		"open-parent": func() error {
			return open(fmt.Sprintf("/proc/%d/environ", parent()), unix.O_RDONLY)
		},
		"open-self-mem": func() error { return open("/proc/self/mem", unix.O_RDONLY) },
		"open-program":  func() error { return open("/proc/self/exe", unix.O_RDONLY) },
		"open-dotdot":   func() error { return open("/etc/../root", unix.O_RDONLY) },
		"open-link":     func() error { return open(inside("link"), unix.O_RDONLY) },
		"openat2":       func() error { return sys(unix.SYS_OPENAT2, at, text("/etc/hosts"), 0, 0) },
		"statx":         func() error { return sys(unix.SYS_STATX, at, text("/etc/hosts"), 0, 0, 0) },
		"open-hosts":    func() error { return open("/etc/hosts", unix.O_RDONLY|unix.O_CLOEXEC) },
		"list-etc":      func() error { _, err := os.ReadDir("/etc"); return err },
		"list-dir":      func() error { _, err := os.ReadDir(inside(".")); return err },
		"unlink":        func() error { return sys(unix.SYS_UNLINKAT, at, text(inside("victim")), 0) },
		"mkdir":         func() error { return sys(unix.SYS_MKDIRAT, at, text(inside("dir")), 0o700) },
		"mknod": func() error {
			return sys(unix.SYS_MKNODAT, at, text(inside("pipe")), unix.S_IFIFO|0o600, 0)
		},
		"symlink": func() error {
			return sys(unix.SYS_SYMLINKAT, text("/"), at, text(inside("l")))
		},
		"hard-link": func() error {
			return sys(unix.SYS_LINKAT, at, text(inside("victim")), at, text(inside("l")), 0)
		},
		"rename": func() error {
			return sys(unix.SYS_RENAMEAT2, at, text(inside("victim")), at, text(inside("l")), 0)
		},
		"chmod": func() error {
			return sys(unix.SYS_FCHMODAT, at, text(inside("victim")), 0o777)
		},
		"chown": func() error {
			return sys(unix.SYS_FCHOWNAT, at, text(inside("victim")), 0, 0, 0)
		},
		"truncate": func() error { return sys(unix.SYS_TRUNCATE, text(inside("victim")), 0) },
		"setxattr": func() error {
			return sys(unix.SYS_SETXATTR, text(inside("victim")), text("user.x"), text("y"), 1, 0)
		},
		"utimes": func() error { return sys(unix.SYS_UTIMENSAT, at, text(inside("victim")), 0, 0) },
		"chdir":  func() error { return sys(unix.SYS_CHDIR, text("/tmp")) },
	} {
		attacks[name] = attack
	}
}
