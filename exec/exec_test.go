package exec

import (
	"strings"
	"testing"
	"time"
)

func newTestRunner(t testing.TB) *Runner {
	t.Helper()
	r, err := NewRunner(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	useCage(t, r)
	return r
}

// command is one that a test may change.
func command(text string) Command {
	env, err := Environment(Login{Name: "somebody", Home: "/", Shell: "/bin/sh", Lang: "C.UTF-8"}, nil)
	if err != nil {
		panic(err)
	}
	return Command{
		Shell: "/bin/sh", Text: text, Dir: "/", Env: env,
		MaxOutput: 8 << 20, Grace: 5 * time.Second,
	}
}

// start starts c and sees to it that nothing of it outlives the test.
func start(t *testing.T, r *Runner, c Command) *Process {
	t.Helper()
	p, err := r.Start(c)
	if err != nil {
		t.Fatalf("start %.80q: %v", c.Text, err)
	}
	t.Cleanup(func() { killGroup(p) })
	return p
}

// finish waits for p, at most so long that a hanging test is seen as such.
func finish(t *testing.T, p *Process) *Result {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(60 * time.Second):
		t.Fatal("no result after 60 s")
	}
	return p.Result()
}

func run(t *testing.T, c Command) *Result {
	t.Helper()
	return finish(t, start(t, newTestRunner(t), c))
}

func text(o *Output) string {
	var b strings.Builder
	if _, err := o.WriteTo(&b); err != nil {
		return err.Error()
	}
	return b.String()
}

// eventually repeats a check until it holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 500 {
		if holds() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("after 5 s still not: %s", what)
}
