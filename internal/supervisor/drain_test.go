package supervisor

import "testing"

func TestCount_SingularAndPlural(t *testing.T) {
	for n, want := range map[int]string{0: "0 commands", 1: "1 command", 2: "2 commands"} {
		if got := count(n, "command", "commands"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
