package exec

import (
	"os"
	"slices"
	"strings"
	"testing"
)

var login = Login{Name: "dffs", Home: "/home/dffs", Shell: "/bin/bash", Lang: "C.UTF-8"}

func TestEnvironmentIsThatOfALogin(t *testing.T) {
	got, err := Environment(login, nil)
	want := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/home/dffs", "USER=dffs", "LOGNAME=dffs", "SHELL=/bin/bash", "LANG=C.UTF-8",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("got %q, %v", got, err)
	}
	bare, _ := Environment(Login{Name: "a", Home: "/", Shell: "/bin/sh"}, nil)
	if slices.Contains(bare, "LANG=") {
		t.Fatal("LANG is set to nothing")
	}
}

func TestLastOfARepeatedNameWins(t *testing.T) {
	got, err := Environment(login, []Variable{{"A", "1"}, {"HOME", "/x"}, {"A", "2"}, {"A", "a=b"}, {"E", ""}})
	if err != nil {
		t.Fatal(err)
	}
	c := command("echo $A-$HOME-${E-unset}; env | grep -c -e ^A= -e ^HOME=")
	c.Env = got
	if out := text(&run(t, c).Stdout); out != "a=b-/x-\n2\n" {
		t.Fatalf("got %q", out)
	}
}

func TestBadVariablesAreRefusedWithoutTheirValue(t *testing.T) {
	for name, v := range map[string]Variable{
		"no name":       {"", "hush"},
		"= in the name": {"A=B", "hush"},
		"NUL in name":   {"A\x00", "hush"},
		"NUL in value":  {"A", "hush\x00"},
		"128 KiB":       {"A", "hush" + strings.Repeat("a", 131070-4)},
	} {
		_, err := Environment(login, []Variable{v})
		if FaultOf(err) != FaultRequest || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := Environment(login, []Variable{{"A", strings.Repeat("a", 131069)}}); err != nil {
		t.Errorf("128 KiB - 1: got %v", err)
	}
}

func TestDaemonsEnvironmentStaysItsOwn(t *testing.T) {
	for _, name := range []string{"SECRET_KEY", "LISTEN_FDS", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY"} {
		t.Setenv(name, "hush")
	}
	c := command("cat /proc/self/environ")
	if got := text(&run(t, c).Stdout); strings.Contains(got, "hush") {
		t.Errorf("with an environment: %q", got)
	}
	c.Env = nil
	if got := text(&run(t, c).Stdout); strings.Contains(got, "hush") {
		t.Errorf("without one: %q", got)
	}
}

func TestVariablesChangeNothingInTheDaemon(t *testing.T) {
	before := os.Environ()
	c := command("echo $FOO")
	env, err := Environment(login, []Variable{
		{"LD_PRELOAD", "/nowhere.so"},
		{"BASH_ENV", "/nowhere"},
		{"ENV", "/nowhere"},
		{"PATH", "/nowhere"},
		{"IFS", "o"},
		{"FOO", "bar"},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Env = env
	if got := text(&run(t, c).Stdout); got != "bar\n" {
		t.Errorf("got %q", got)
	}
	if !slices.Equal(before, os.Environ()) {
		t.Error("the daemon's environment has changed")
	}
}
