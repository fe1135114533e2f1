package host

import (
	"os"
	"testing"
)

// Each process names itself, and root reads "port is taken by …".
func TestHolder_ItsNameCannotSteerATerminal(t *testing.T) {
	const comm = "/proc/self/comm"
	before, err := os.ReadFile(comm)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.WriteFile(comm, before, 0o644) }()
	if err := os.WriteFile(comm, []byte("\x1b[2J\n\u009b\u202ea"), 0o644); err != nil {
		t.Fatal(err)
	}
	if name := holderFrom(os.Getpid()).name; name != `\x1b[2J\n\u009b\u202ea` {
		t.Errorf("got %q", name)
	}
}
