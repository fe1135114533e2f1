package exec

import (
	"os"
	"slices"
	"strings"
	"testing"
)

var login = Login{Name: "dffs", Home: "/home/dffs", Shell: "/bin/bash", Lang: "C.UTF-8"}

func TestEnvironment_Login(t *testing.T) {
	got, err := Environment(login, nil)
	want := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/home/dffs", "USER=dffs", "LOGNAME=dffs", "SHELL=/bin/bash", "LANG=C.UTF-8",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("got %q, %v; want %q", got, err, want)
	}
	bare, _ := Environment(Login{Name: "a", Home: "/", Shell: "/bin/sh"}, nil)
	if slices.Contains(bare, "LANG=") {
		t.Fatal("LANG is set to nothing")
	}
}

func TestEnvironment_RepeatedName(t *testing.T) {
	got, err := Environment(login, []Variable{
		{"A", "1"}, {"HOME", "/x"}, {"A", "2"}, {"A", "a=b"}, {"E", ""},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := command("echo $A-$HOME-${E-unset}; env | grep -c -e ^A= -e ^HOME=")
	c.Env = got
	if out := text(&run(t, c).Stdout); out != "a=b-/x-\n2\n" {
		t.Fatalf("got %q, want \"a=b-/x-\\n2\\n\"", out)
	}
}

func TestEnvironment_InvalidVariables(t *testing.T) {
	for name, v := range map[string]Variable{
		"no name":       {"", "hush"},
		"= in the name": {"A=B", "hush"},
		"NUL in name":   {"A\x00", "hush"},
		"NUL in value":  {"A", "hush\x00"},
		"128 KiB":       {"A", "hush" + strings.Repeat("a", 131070-4)},
	} {
		_, err := Environment(login, []Variable{v})
		if FaultOf(err) != FaultRequest || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: got %v, want the request's fault without the value", name, err)
		}
	}
	if _, err := Environment(login, []Variable{{"A", strings.Repeat("a", 131069)}}); err != nil {
		t.Errorf("128 KiB - 1: got %v, want no error", err)
	}
}

func TestEnvironment_OfTheDaemon(t *testing.T) {
	for _, name := range []string{
		"SECRET_KEY", "LISTEN_FDS", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY",
	} {
		t.Setenv(name, "hush")
	}
	c := command("cat /proc/self/environ")
	if got := text(&run(t, c).Stdout); strings.Contains(got, "hush") {
		t.Errorf("with an environment: got %q, want nothing of the daemon's", got)
	}
	c.Env = nil
	if got := text(&run(t, c).Stdout); strings.Contains(got, "hush") {
		t.Errorf("without one: got %q, want nothing of the daemon's", got)
	}
}

func TestEnvironment_DaemonUnchanged(t *testing.T) {
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
		t.Errorf("got %q, want \"bar\\n\"", got)
	}
	if !slices.Equal(before, os.Environ()) {
		t.Error("the daemon's environment has changed")
	}
}

// Go's runtime obeys these before the program that sets the limits can do anything.
func TestEnvironment_GoRuntimeVariables(t *testing.T) {
	for _, v := range []string{
		"GOMEMLIMIT=zz", "GODEBUG=fips140=bogus", "GODEBUG=inittrace=1",
		"GODEBUG=gctrace=1,schedtrace=1", "GOGC=1", "GOTRACEBACK=crash", "GORACE=verbosity=2",
		"GOCOVERDIR=/nowhere", "GO=1", "GO",
	} {
		name, value, _ := strings.Cut(v, "=")
		c := limited("env | grep ^"+name+"=", Limits{OpenFiles: 100})
		c.Env = append(c.Env, name+"="+value)
		result := run(t, c)
		if got, want := text(&result.Stdout), name+"="+value+"\n"; got != want {
			t.Errorf("%s: got %q, want %q", v, got, want)
		}
		if err := text(&result.Stderr); err != "" {
			t.Errorf("%s: standard error: got %.300q, want none", v, err)
		}
	}
}
