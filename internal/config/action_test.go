package config

import (
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/policy"
)

func TestParse_Actions(t *testing.T) {
	c := mustParse(t, `
SECRET_KEY = "k"
MAX_QUEUED = 1
[ACTION.default]
RUN = 'echo "$VERSION"'
[ACTION.deploy]
RUN = ["/opt/deploy", "--all", ""]
ENVS = { VERSION = 'v[0-9]+', _empty = 'a?' }
DEFAULTS = { _empty = "" }
WORKDIR = "/opt"
TIMEOUT = "10m"
LIMITS.PROCESSES = 50
DESCRIPTION = "Deploys a version – 部署"
ONE_AT_A_TIME = "replace"
[ACTION.refuse]
RUN = "x"
ONE_AT_A_TIME = "refuse"
STDIN = true
[ACTION.wait]
RUN = "x"
ONE_AT_A_TIME = "wait"
`)
	pattern := func(text string) policy.Pattern {
		p, err := policy.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	want := []policy.Action{
		{Name: "default", Text: `echo "$VERSION"`},
		{
			Name: "deploy", Argv: []string{"/opt/deploy", "--all", ""},
			Variables: []policy.Variable{
				{Name: "VERSION", Pattern: pattern("v[0-9]+")},
				{Name: "_empty", Pattern: pattern("a?"), HasDefault: true},
			},
			Workdir: "/opt", Timeout: 10 * time.Minute, Limits: exec.Limits{Processes: 50},
			Description: "Deploys a version – 部署", Concurrency: policy.Replace,
		},
		{Name: "refuse", Text: "x", Stdin: true, Concurrency: policy.Refuse},
		{Name: "wait", Text: "x", Concurrency: policy.Wait},
	}
	if !reflect.DeepEqual(c.Actions, want) {
		t.Errorf("got  %+v\nwant %+v", c.Actions, want)
	}
}

func TestParse_FaultsOfActions(t *testing.T) {
	action := func(lines ...string) string {
		return tables + "[ACTION.build]\nRUN = 'x'\n" + strings.Join(lines, "\n") + "\n"
	}
	run := func(value string) string { return tables + "[ACTION.build]\nRUN = " + value + "\n" }
	many := strings.Builder{}
	for i := range 200 {
		many.WriteString("[ACTION.a" + strconv.Itoa(i) + "]\nRUN = 'x'\n")
	}
	variables := strings.Builder{}
	for i := range 65 {
		variables.WriteString("V" + strconv.Itoa(i) + " = 'x'\n")
	}
	refusals := []refusal{
		{tables + "[ACTION.Build]\nRUN = 'x'", "f: line 7, column 2: the name of an action must be 1 to 32 of a-z"},
		{tables + many.String(), "ACTION has 201 tables, and at most 200 are possible"},
		{"ACTION = '" + canary + "'", "ACTION must be a table for each action"},
		{"ACTION.x = '" + canary + "'", "ACTION must have a table for an action: write [ACTION.deploy]"},
		{tables + "[ACTION.build]", "f: line 7, column 2: ACTION.build: RUN is missing: write RUN = '/opt/deploy \"$VERSION\"'"},
		{action("ENV = { A = 'a' }"), "f: line 9, column 1: ACTION.build: ENV is not a key of this table: did you mean ENVS?"},
		{action("SECRET = '" + canary + "'"), "this key is unknown in this table: remove it, or write one of RUN, ENVS, DEFAULTS, STDIN, WORKDIR, TIMEOUT, LIMITS, DESCRIPTION, ONE_AT_A_TIME"},
		// RUN.
		{run("''"), "f: line 8, column 1: ACTION.build: RUN is empty: write the command"},
		{run("' '"), "RUN is empty"},
		{run("5"), "RUN must be a text for the shell, or an array of the absolute path of a program"},
		{run("[]"), "RUN must be a text for the shell, or an array"},
		{run("['deploy']"), "RUN must be a text for the shell, or an array of the absolute path"},
		{run("['/bin/echo', 5]"), "RUN must be a text for the shell"},
		{run(`"` + canary + `\u0000"`), "RUN holds a NUL byte"},
		{run(`['/bin/echo', "` + canary + `\u0000"]`), "RUN holds a NUL byte"},
		{run("'" + strings.Repeat("x", 128<<10) + "'"), "RUN has a text of more than 131071 bytes"},
		{run("['/bin/echo'" + strings.Repeat(", 'x'", 256) + "]"), "RUN has more than 256 texts"},
		// ENVS.
		{action("ENVS = ['A']"), "ENVS must be a table of variables, each with its pattern in quotes: write ENVS = { VERSION = 'v[0-9]+' }"},
		{action("ENVS = { A = 5 }"), "f: line 9, column 10: ACTION.build: ENVS: the pattern must be a text in single quotes"},
		{action("ENVS = { A = '' }"), "ENVS: the pattern is empty"},
		{action("ENVS = { A = '(" + canary + "' }"), "ENVS: the pattern is not a regular expression in RE2 syntax"},
		{action("ENVS = { A = 'a)|(b' }"), "ENVS: the pattern is not a regular expression"},
		{action("ENVS = { A = '(?=x)' }"), "ENVS: the pattern is not a regular expression"},
		{action("ENVS = { A = '" + strings.Repeat("a", 1025) + "' }"), "ENVS: the pattern is longer than 1024 bytes"},
		{action("ENVS = { A = \"v\\d+\" }"), "ENVS has a backslash in double quotes, where it starts an escape: write the text in single quotes"},
		{action("[ACTION.build.ENVS]", "A = \"v\\d+\""), "f: line 10, column 7: has a backslash in double quotes"},
		{action("ENVS = { 7A = 'a' }"), "f: line 9, column 10: ACTION.build: ENVS: the name of a variable must be 1 to 64 letters"},
		{action("ENVS = { '" + canary + "' = 'a' }"), "ENVS: the name of a variable must be"},
		{action("ENVS = { " + strings.Repeat("A", 65) + " = 'a' }"), "ENVS: the name of a variable must be"},
		{action("[ACTION.build.ENVS]", variables.String()), "ENVS has more than 64 variables"},
		// STDIN.
		{action("STDIN = 'yes'"), "f: line 9, column 1: ACTION.build: STDIN must be true or false"},
		// DEFAULTS.
		{action("DEFAULTS = 'x'"), "DEFAULTS must be a table of variables of ENVS, each with its value in double quotes"},
		{action("DEFAULTS = { A = 'a' }"), "f: line 9, column 14: ACTION.build: DEFAULTS: a default needs a variable of ENVS"},
		{action("DEFAULTS = { A = 5 }", "ENVS = { A = 'a' }"), "f: line 9, column 14: ACTION.build: DEFAULTS: a default must be a text in double quotes"},
		{action("DEFAULTS = { A = '"+strings.Repeat("a", 4097)+"' }", "ENVS = { A = 'a' }"), "DEFAULTS: a default must have at most 4096 bytes"},
		{action("DEFAULTS = { A = \""+canary+"\\u0000\" }", "ENVS = { A = 'a' }"), "and no NUL byte"},
		// The others.
		{action("WORKDIR = 'opt'"), `WORKDIR must be an absolute path in double quotes: write WORKDIR = "/opt"`},
		{action("WORKDIR = ''"), "WORKDIR must be an absolute path"},
		{action("TIMEOUT = '0s'"), "TIMEOUT must be a duration in double quotes, from 1ms to 168h"},
		{action("TIMEOUT = '169h'"), "TIMEOUT must be a duration"},
		{action("TIMEOUT = 600"), `write TIMEOUT = "600s"`},
		{action("TIMEOUT = 10m"), `TIMEOUT must be a duration in double quotes, from 1ms to 168h: write TIMEOUT = "10m"`},
		{action("LIMITS.MEMORY = 'x'"), "LIMITS: MEMORY must be 0, or a whole number of bytes"},
		{action("LIMITS.CPU_WEIGHT = 10001"), "LIMITS: CPU_WEIGHT must be a whole number without quotes, from 0 to 10000: write CPU_WEIGHT = 50"},
		{action("LIMITS.IO_WEIGHT = -1"), "LIMITS: IO_WEIGHT must be a whole number without quotes, from 0 to 10000: write IO_WEIGHT = 50"},
		{action("LIMITS.CPUS = 0.001"), "LIMITS: CPUS must be 0, or a number without quotes from 0.01 to 1024: write CPUS = 1.5"},
		{action("DESCRIPTION = 5"), "DESCRIPTION must be one line of text in double quotes, 200 characters at most"},
		{action(`DESCRIPTION = "` + canary + `\nb"`), "DESCRIPTION must be one line of text"},
		{action("DESCRIPTION = '" + strings.Repeat("部", 201) + "'"), "DESCRIPTION must be one line of text"},
		{action("ONE_AT_A_TIME = true"), `ONE_AT_A_TIME must be "refuse", "wait" or "replace": write ONE_AT_A_TIME = "refuse"`},
	}
	for _, name := range []string{
		"PATH", "HOME", "USER", "LOGNAME", "SHELL", "IFS", "ENV", "BASH_ENV", "BASHOPTS", "SHELLOPTS", "PS4", "CDPATH",
		"GLOBIGNORE", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "BASH_FUNC_x", "PYTHONPATH", "PERL5LIB", "RUBYOPT", "NODE_OPTIONS",
		"GIT_SSH", "SSH_ASKPASS",
	} {
		refusals = append(refusals, refusal{action("ENVS = { " + name + " = 'a' }"), "ENVS: a variable with this name changes how programs work"})
	}
	wantRefused(t, refusals)
}

func TestParse_OneAtATimeNeedsMaxQueued(t *testing.T) {
	for _, test := range []struct {
		value, queued string
		refused       bool
	}{
		{"refuse", "0", false}, {"wait", "0", true}, {"replace", "0", true}, {"wait", "1", false}, {"replace", "1", false},
	} {
		_, err := Parse("f", []byte("SECRET_KEY = 'k'\nMAX_QUEUED = "+test.queued+"\n[ACTION.a]\nRUN = 'x'\nONE_AT_A_TIME = '"+test.value+"'"))
		const want = "f: line 5, column 1: ACTION.a: ONE_AT_A_TIME lets requests wait, which needs MAX_QUEUED: write MAX_QUEUED = 10 above the first table"
		if (err != nil) != test.refused || err != nil && err.Error() != want {
			t.Errorf("%s with MAX_QUEUED = %s: got %v, want refused %t: %s", test.value, test.queued, err, test.refused, want)
		}
	}
}

// Bounds that are reached, and not passed.
func TestParse_LongestAction(t *testing.T) {
	c := mustParse(t, "SECRET_KEY = 'k'\n[ACTION."+strings.Repeat("a", 32)+"]\nRUN = ['/"+strings.Repeat("x", 128<<10-2)+"'"+
		strings.Repeat(", 'x'", 255)+"]\nENVS."+strings.Repeat("V", 64)+" = '"+strings.Repeat("a", 1000)+"'\n"+
		"DEFAULTS."+strings.Repeat("V", 64)+" = '"+strings.Repeat("a", 4096)+"'\nDESCRIPTION = '"+strings.Repeat("部", 200)+"'\nTIMEOUT = '168h'")
	if len(c.Actions) != 1 || len(c.Actions[0].Argv) != 256 {
		t.Errorf("got %d actions, want one with 256 texts", len(c.Actions))
	}
}
