package exec

import (
	"os"
	"strings"
	"testing"
)

func TestACommandAtHomeStartsThereAndAsAnywhere(t *testing.T) {
	r := newTestRunner(t)
	dir := t.TempDir()
	if err := r.SetHome(dir); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		p, err := r.Start(Command{Shell: "/bin/sh", Text: "pwd; ls /proc/self/fd | wc -l", Dir: dir, Env: []string{"PATH=/usr/bin:/bin"}, MaxOutput: 1000})
		if err != nil {
			t.Fatal(err)
		}
		<-p.Done()
		var out strings.Builder
		if _, err := p.Stdout().WriteTo(&out); err != nil || out.String() != dir+"\n4\n" { // ls has the folder open as well
			t.Fatalf("got %q, %v", out.String(), err)
		}
	}
}

func TestAHomeThatIsGoneIsToldAsAnyDirectory(t *testing.T) {
	r := newTestRunner(t)
	dir := t.TempDir() + "/gone"
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.SetHome(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	_, err := r.Start(Command{Shell: "/bin/sh", Text: "pwd", Dir: dir})
	if FaultOf(err) != FaultRequest || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
	if _, err := r.Start(Command{Shell: "/no/shell", Text: "pwd", Dir: "/"}); FaultOf(err) != FaultConfiguration {
		t.Errorf("got %v", err)
	}
}

func TestThenIsCalledOnceWhetherTheCommandHasEndedOrNot(t *testing.T) {
	r := newTestRunner(t)
	for _, text := range []string{"true", "sleep 0.05"} {
		p, err := r.Start(Command{Shell: "/bin/sh", Text: text, Dir: "/", Env: []string{"PATH=/usr/bin:/bin"}})
		if err != nil {
			t.Fatal(err)
		}
		if text == "true" {
			<-p.Done()
		}
		called := make(chan int, 2)
		p.Then(func() { called <- p.Result().ExitCode })
		if code := <-called; code != 0 {
			t.Errorf("%s: got %d", text, code)
		}
		if len(called) > 0 {
			t.Errorf("%s: called twice", text)
		}
	}
}
