package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/privsep"
)

// threads is how many threads exist before the drop and try to undo it after.
const threads = 12

// report is what the test reads.
type report struct {
	Drop     string
	Proof    string
	Statuses []string
	Regained []string
	Dumpable int
}

// drop starts threads, drops, and lets every thread try to become root again.
func drop(args []string) error { return dropBy(privsep.Drop, args) }

// reenter is drop for the program that a process with dropped ids executes.
func reenter(args []string) error { return dropBy(privsep.Reenter, args) }

// dropAndReenter drops to the first ids and groups, and executes reenter with the second ones.
func dropAndReenter(args []string) error {
	split := slices.Index(args, "then")
	p, err := parsePrincipals(args[:split])
	if err == nil {
		err = privsep.Drop(p)
	}
	if err == nil {
		err = privsep.CheckReenter(p)
	}
	if err != nil {
		return err
	}
	mode := "reenter"
	if os.Getenv("ATTACK_PANIC") != "" {
		mode = "reenter-panic"
	}
	return syscall.Exec("/proc/self/exe", append([]string{"attack", mode}, args[split+1:]...), nil)
}

// reenterAndPanic ends as a program with a fault does.
func reenterAndPanic(args []string) error {
	p, err := parsePrincipals(args)
	if err == nil {
		err = privsep.Reenter(p)
	}
	if err == nil {
		panic("a fault")
	}
	return err
}

// checkReenter says what CheckReenter answers.
func checkReenter(args []string) error {
	p, err := parsePrincipals(args)
	if err != nil {
		return err
	}
	fmt.Println(inFull(privsep.CheckReenter(p)))
	return nil
}

// parsePrincipals also applies what changes the start.
func parsePrincipals(args []string) (p privsep.Principals, err error) {
	u, err := parseUser(args)
	if err != nil {
		return p, err
	}
	p = privsep.Principals{Run: u, Role: u}
	for _, arg := range args[3:] {
		if ids, ok := strings.CutPrefix(arg, "role="); ok {
			p.Role = privsep.User{Name: "role"}
			if _, err := fmt.Sscanf(ids, "%d:%d", &p.Role.UID, &p.Role.GID); err != nil {
				return p, err
			}
		} else if err := before[arg](); err != nil {
			return p, err
		}
	}
	return p, nil
}

func dropBy(drop func(privsep.Principals) error, args []string) error {
	p, err := parsePrincipals(args)
	if err != nil {
		return err
	}
	start, end := make(chan struct{}), make(chan struct{})
	defer close(end)
	results := make(chan string, 16*threads)
	var ready, done sync.WaitGroup
	for range threads {
		ready.Add(1)
		done.Add(1)
		go func() {
			runtime.LockOSThread()
			ready.Done()
			<-start
			regain(results)
			done.Done()
			<-end // a thread that ended could not be examined
		}()
	}
	ready.Wait()
	rep := report{Drop: inFull(drop(p))}
	if rep.Drop == "succeeded" {
		close(start)
		done.Wait()
	}
	close(results)
	for r := range results {
		rep.Regained = append(rep.Regained, r)
	}
	rep.Proof = inFull(privsep.ProveDropped(p))
	rep.Statuses = statuses()
	rep.Dumpable, _ = unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	return json.NewEncoder(os.Stdout).Encode(rep)
}

func inFull(err error) string {
	if err == nil {
		return "succeeded"
	}
	return err.Error()
}

// before changes the start in ways that Drop has to refuse or to undo.
var before = map[string]func() error{
	"keepcaps": func() error { return allThreads(unix.PR_SET_KEEPCAPS, 1) },
	"nnp":      privsep.SetNoNewPrivs,
	"nofixup":  func() error { return allThreads(unix.PR_SET_SECUREBITS, 1<<2) },
	"ambient": func() error {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		runtime.LockOSThread()
		if err := unix.Capget(&header, &data[0]); err != nil {
			return err
		}
		data[0].Inheritable, data[1].Inheritable = data[0].Permitted, data[1].Permitted
		if err := unix.Capset(&header, &data[0]); err != nil {
			return err
		}
		return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_NET_RAW, 0, 0)
	},
}

func allThreads(option, value uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, option, value, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func parseUser(args []string) (privsep.User, error) {
	if len(args) < 3 {
		return privsep.User{}, errors.New("usage: MODE UID GID GROUP,GROUP [SPOIL] [role=UID:GID]")
	}
	uid, _ := strconv.Atoi(args[0])
	gid, _ := strconv.Atoi(args[1])
	u := privsep.User{Name: "victim", UID: uid, GID: gid}
	for g := range strings.SplitSeq(args[2], ",") {
		n, err := strconv.Atoi(g)
		if err != nil {
			return u, err
		}
		u.Groups = append(u.Groups, n)
	}
	return u, nil
}

// regain asks for root on this very thread, past the runtime's own functions.
func regain(found chan<- string) {
	tries := map[string]func() syscall.Errno{
		"setuid":    func() syscall.Errno { return raw(unix.SYS_SETUID, 0, 0, 0) },
		"setgid":    func() syscall.Errno { return raw(unix.SYS_SETGID, 0, 0, 0) },
		"setresuid": func() syscall.Errno { return raw(unix.SYS_SETRESUID, 0, 0, 0) },
		"setreuid":  func() syscall.Errno { return raw(unix.SYS_SETREUID, ^uintptr(0), 0, 0) },
		"setresgid": func() syscall.Errno { return raw(unix.SYS_SETRESGID, 0, 0, 0) },
		"setgroups": func() syscall.Errno { return raw(unix.SYS_SETGROUPS, 0, 0, 0) },
		"unshare":   func() syscall.Errno { return raw(unix.SYS_UNSHARE, unix.CLONE_NEWNS, 0, 0) },
	}
	for name, try := range tries {
		if try() == 0 {
			found <- name
		}
	}
	if os.Chdir("/") == nil && syscall.Chroot("/") == nil {
		found <- "chroot"
	}
	if f, err := os.Open("/etc/shadow"); err == nil {
		f.Close()
		found <- "shadow"
	}
}

func raw(number, a, b, c uintptr) syscall.Errno {
	_, _, errno := syscall.RawSyscall(number, a, b, c)
	return errno
}

func statuses() []string {
	var all []string
	entries, _ := os.ReadDir("/proc/self/task")
	for _, e := range entries {
		text, err := os.ReadFile("/proc/self/task/" + e.Name() + "/status")
		if err == nil {
			all = append(all, string(text))
		}
	}
	return all
}

// sleep says its process id and waits to be looked at, until stdin ends.
func sleep([]string) error {
	fmt.Println(os.Getpid())
	timer := time.AfterFunc(time.Minute, func() { os.Exit(3) })
	defer timer.Stop()
	_, _ = os.Stdin.Read(make([]byte, 1))
	return nil
}

// peek tries to read another process of the same user.
func peek(args []string) error {
	for _, name := range []string{"mem", "environ", "maps", "fd", "cwd", "io"} {
		path := "/proc/" + args[0] + "/" + name
		var err error
		switch name {
		case "cwd":
			_, err = os.Readlink(path)
		case "fd":
			_, err = os.ReadDir(path)
		default:
			err = readSome(path)
		}
		fmt.Println(name, outcome(err))
	}
	return nil
}

func readSome(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if strings.HasSuffix(path, "/mem") {
		return nil
	}
	_, err = f.Read(make([]byte, 64))
	return err
}

// closeOnExec marks descriptors and counts those that would be inherited.
func closeOnExec([]string) error {
	for range 8 {
		if _, err := unix.Open("/dev/null", unix.O_RDONLY, 0); err != nil {
			return err
		}
	}
	if err := privsep.MarkCloseOnExec(3); err != nil {
		return err
	}
	inherited := 0
	for fd := range 64 {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			inherited++
		}
	}
	fmt.Println(inherited)
	return nil
}
