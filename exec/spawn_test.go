package exec

import (
	"fmt"
	osexec "os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSpawn_EachKernel(t *testing.T) {
	eachKernel(t, func(t *testing.T, r *Runner) {
		const ask = "echo $A; ls /proc/self/fd; pwd; ulimit -n; cat /proc/self/status; exit 3"
		c := limited(ask, Limits{OpenFiles: 123})
		c.Dir, c.Env = tempDir(t), append(c.Env, "A=b c")
		result := finish(t, start(t, r, c))
		out := text(&result.Stdout)
		want := "b c\n0\n1\n2\n3\n" + c.Dir + "\n123\n"
		if !strings.HasPrefix(out, want) || result.ExitCode != 3 {
			t.Errorf("got %q, %d; want %q, 3", out, result.ExitCode, want)
		}
		checkSignals(t, out)
	})
}

func TestSpawn_ThisKernel(t *testing.T) {
	if s := newSpawner(); s.noClone3 || !s.pidfd || !s.closeRange {
		t.Errorf("got %+v, want all but noClone3", s)
	}
}

func TestSpawn_ManyAtOnce(t *testing.T) {
	eachKernel(t, func(t *testing.T, r *Runner) {
		results := make(chan string, 200)
		for i := range cap(results) {
			go func() {
				p, err := r.Start(command(fmt.Sprint("echo ", i)))
				if err != nil {
					results <- err.Error()
					return
				}
				<-p.Done()
				results <- strings.TrimSpace(text(p.Stdout()))
			}()
		}
		seen := map[string]bool{}
		for range cap(results) {
			seen[<-results] = true
		}
		for i := range cap(results) {
			if !seen[fmt.Sprint(i)] {
				t.Errorf("got %d outputs, want %d among them", len(seen), i)
			}
		}
	})
}

// Until it executes the shell a child shares our memory, and belongs to our process group for a
// moment.
func TestSpawn_SignalStorm(t *testing.T) {
	for _, old := range []string{"this", "old"} {
		c := osexec.Command(copyOfSelf(t, 0o755), old)
		c.Env = []string{helperVariable + "=storm"}
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		out, err := c.CombinedOutput()
		if err != nil || string(out) != "300 of 300\n" {
			t.Errorf("%s: got %.2000q, %v; want \"300 of 300\\n\"", old, out, err)
		}
	}
}

// helperStorm starts commands while its group, which is its own, gets SIGURG. Go handles that, and
// others ignore it.
func helperStorm(kernel string) int {
	r, err := NewRunner(nil)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	r.spawner.noClone3 = r.spawner.noClone3 || kernel == "old"
	over := make(chan struct{})
	go func() {
		for {
			select {
			case <-over:
				return
			default:
				_ = unix.Kill(0, unix.SIGURG)
				time.Sleep(20 * time.Microsecond)
			}
		}
	}()
	well := 0
	for range 300 {
		p, err := r.Start(command("echo well"))
		if err != nil {
			fmt.Println(err)
			continue
		}
		<-p.Done()
		if text(p.Stdout()) == "well\n" {
			well++
		}
	}
	close(over)
	fmt.Println(well, "of 300")
	return 0
}

// A thousand commands hold thousands of descriptors: copying and closing them for each further one
// would take longer than all the rest.
func TestSpawn_FewDescriptors(t *testing.T) {
	high, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 500)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(high)
	s := newSpawner()
	for end, want := range map[int]syscall.Errno{high + 1: 0, high: unix.EBADF} {
		l := new(callList)
		s.begin(l, -1)
		s.keepDescriptorsBelow(l, end)
		l.add(unix.SYS_FCNTL, uintptr(high), unix.F_GETFD)
		l.add(unix.SYS_EXIT_GROUP, 0)
		if _, err := s.runToEnd(l); err != nil || l.progress.errno != want {
			t.Errorf("descriptor %d of those below %d: got %v, %v; want %v",
				high, end, l.progress.errno, err, want)
		}
	}
	if _, err := unix.FcntlInt(uintptr(high), unix.F_GETFD, 0); err != nil {
		t.Errorf("the child has closed ours: %v", err)
	}
}
