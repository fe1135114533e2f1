package exec

import (
	"fmt"
	osexec "os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestOrphansAreReapedAndNoStatusIsStolen(t *testing.T) {
	if !inCage(t, withOrphans) {
		return
	}
	r := newTestRunner(t)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 40 {
				ownStatus(t, r, (i+n)%7)
				othersStatus(t, (i+n)%7)
			}
		})
	}
	all.Wait()
	noChildren(t)
}

// ownStatus leaves two orphans, of which one has a session of its own.
func ownStatus(t *testing.T, r *Runner, code int) {
	p, err := r.Start(command(fmt.Sprintf("(sleep 0.05 &); (setsid sleep 0.05 &); exit %d", code)))
	if err != nil {
		t.Error(err)
		return
	}
	if <-p.Done(); p.Result().ExitCode != code {
		t.Errorf("a command's code is %d instead of %d", p.Result().ExitCode, code)
	}
}

// othersStatus is a child with a waiter outside this package, as the network
// role is.
func othersStatus(t *testing.T, code int) {
	c := osexec.Command("/bin/sh", "-c", fmt.Sprintf("exit %d", code))
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	_ = c.Run()
	if c.ProcessState == nil || c.ProcessState.ExitCode() != code {
		t.Errorf("another's state is %v instead of %d", c.ProcessState, code)
	}
}

// An orphan with a group of its own in our session looks like another's child,
// until nobody reaps it.
func TestOrphanThatLooksLikeAnothersChildIsReapedLater(t *testing.T) {
	if !inCage(t, withOrphans) {
		return
	}
	finish(t, start(t, newTestRunner(t), command("sh -mc 'sleep 0.3 &'")))
	before := time.Now()
	for !noneLeft() && time.Since(before) < 3*waitersTime {
		time.Sleep(50 * time.Millisecond)
	}
	if !noneLeft() {
		t.Fatal("a zombie is left")
	}
}

func noneLeft() bool {
	var status syscall.WaitStatus
	_, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
	return err == syscall.ECHILD
}

func TestWhoLeftTheGroupIsFoundThroughItsParents(t *testing.T) {
	for name, text := range map[string]string{
		"setsid":          "setsid sleep 60 & sleep 60",
		"deaf":            "setsid sh -c \"trap '' TERM; sleep 60; sleep 60\" & sleep 60",
		"several":         "for i in 1 2 3 4 5; do setsid setsid -w sh -c 'setsid -w sleep 60; true' & done; sleep 60",
		"orphan in group": "(sleep 60 &); (sh -c \"trap '' TERM; sleep 60\" &); sleep 60",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, left := marked(t, text)
			c.Timeout, c.Grace = 500*time.Millisecond, 300*time.Millisecond
			if result := finish(t, start(t, newTestRunner(t), c)); result.Duration > 3*time.Second {
				t.Errorf("answered after %v", result.Duration)
			}
			eventually(t, "nothing is left", none(left))
		})
	}
}
