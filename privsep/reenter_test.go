package privsep

import (
	"slices"
	"strings"
	"testing"
)

// reentered drops to the first ids, executes the program again and re-enters as the second ones.
func reentered(t *testing.T, first, second []string) dropReport {
	t.Helper()
	args := slices.Concat([]string{"drop-reenter"}, first, []string{"then"}, second)
	return readReport(t, answer(t, attacker(t, args...)))
}

func TestReenter_EveryThread(t *testing.T) {
	needRoot(t)
	ids := []string{"65534", "65534", "65534,77", "role=61234:61235"}
	rep := reentered(t, ids, ids)
	checkDroppedTo(t, rep, "Uid:\t61234\t65534\t61234\t61234\n", "Gid:\t61235\t65534\t61235\t61235\n")
	for _, text := range rep.Statuses {
		if groups := parseStatus(text)["Groups"]; !slices.Equal(groups, []string{"77", "65534"}) {
			t.Errorf("got the groups %v, want 77 and 65534", groups)
		}
	}
}

func TestReenter_OneUser(t *testing.T) {
	needRoot(t)
	ids := []string{"65534", "65534", "65534,4242"}
	checkDropped(t, reentered(t, ids, ids))
}

// The runtime is silent after a secure execve, which that with two user ids is.
func TestReenter_PanicShowsItsStack(t *testing.T) {
	needRoot(t)
	ids := []string{"65534", "65534", "65534", "role=61234:61235"}
	cmd := attacker(t, slices.Concat([]string{"drop-reenter"}, ids, []string{"then"}, ids)...)
	cmd.Env = append(cmd.Env, "ATTACK_PANIC=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "main.reenterAndPanic(") {
		t.Errorf("got %v and\n%s\nwant the stack of a panic", err, out)
	}
}

func TestReenter_OtherIDsAreRefused(t *testing.T) {
	needRoot(t)
	dropped := []string{"65534", "65534", "65534,77", "role=61234:61235"}
	for name, ids := range map[string][]string{
		"another run user":       {"65533", "65534", "65534,77", "role=61234:61235"},
		"another run group":      {"65534", "65533", "65534,77", "role=61234:61235"},
		"another role user":      {"65534", "65534", "65534,77", "role=61233:61235"},
		"another role group":     {"65534", "65534", "65534,77", "role=61234:61233"},
		"a group less":           {"65534", "65534", "65534", "role=61234:61235"},
		"a group more":           {"65534", "65534", "65534,77,78", "role=61234:61235"},
		"one user for both":      {"65534", "65534", "65534,77"},
		"the role user for both": {"61234", "61235", "65534,77"},
	} {
		rep := reentered(t, dropped, ids)
		if !strings.Contains(rep.Drop, " not [") || rep.Proof == "succeeded" {
			t.Errorf("%s: got %q, proof %q; want both to fail", name, rep.Drop, rep.Proof)
		}
		for _, text := range rep.Statuses { // it must not have changed anything
			if !strings.Contains(text, "Uid:\t61234\t65534\t65534\t65534\n") {
				t.Errorf("%s: got a thread\n%s\nwant the ids as the execve left them", name, text)
			}
		}
	}
}

func TestReenter_RootIsRefused(t *testing.T) {
	needRoot(t)
	for _, ids := range [][]string{
		{"65534", "65534", "65534,77", "role=61234:61235"},
		{"65534", "65534", "65534"},
		{"0", "0", "0"},
	} {
		rep := readReport(t, answer(t, attacker(t, append([]string{"reenter"}, ids...)...)))
		if rep.Drop == "succeeded" || rep.Proof == "succeeded" {
			t.Errorf("ids %v: got %q, proof %q; want both to fail", ids, rep.Drop, rep.Proof)
		}
	}
}

func TestCheckReenter(t *testing.T) {
	separate := []string{"65534", "65534", "65534", "role=61234:61235"}
	one := []string{"65534", "65534", "65534"}
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"as it is", separate, "succeeded"},
		{"no_new_privs", append(slices.Clone(separate), "nnp"), "restart the service"},
		{"no_new_privs, one user", append(slices.Clone(one), "nnp"), "succeeded"},
		{"root", []string{"0", "0", "0"}, "root's"},
	} {
		got := answer(t, attacker(t, append([]string{"check-reenter"}, test.args...)...))
		if !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}
