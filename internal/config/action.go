package config

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/policy"
)

const (
	maxActions     = 200
	maxActionVars  = 64
	maxVarName     = 64
	maxDescription = 200 // characters
	maxArgument    = 128<<10 - 1
	maxArguments   = 256
)

func actionSection() section {
	return section{
		key: "ACTION", what: "an action", most: maxActions, rows: actionSettings(&policy.Action{}),
	}
}

// actionSettings is the table of the keys of [ACTION.name].
func actionSettings(a *policy.Action) []setting {
	return []setting{
		{
			"RUN", run(a), nil, `'/opt/deploy "$VERSION"'`,
			`What the action runs: a text for SHELL, or an array of the absolute path of a program
			and its arguments. Nothing of a request becomes a part of it.`,
		},
		{
			"ENVS", declared(a),
			map[string]any{},
			`{ VERSION = 'v[0-9]+' }`,
			`The variables that a request sets for the action, 64 at most, each with the pattern
			(RE2) that its whole value matches. A value has 4096 bytes at most. RUN uses them as
			"$VERSION".`,
		},
		{
			"DEFAULTS", defaults(a),
			map[string]any{},
			`{ VERSION = "v1" }`,
			`The values of variables of ENVS that a request may leave out. Without one it must set
			the variable.`,
		},
		{
			"STDIN", boolean(&a.Stdin), false, "true",
			`Whether a request may send standard input to the action. The action gets it as it is,
			up to MAX_BODY: RUN must not execute it.`,
		},
		{
			"WORKDIR", absolutePath(&a.Workdir), leftOut, `"/opt"`,
			`The working directory of the action. Left out: that of commands.`,
		},
		{
			"TIMEOUT", duration(&a.Timeout, time.Millisecond, 168*time.Hour), leftOut, `"10m"`,
			`How long the action may run; a request may ask for less. Left out: as for commands.`,
		},
		{
			"LIMITS", limitTable(&a.Limits),
			map[string]any{},
			`{ PROCESSES = 50, CPU_TIME = "10m" }`,
			`Resource limits of the action, in the form of LIMITS of a key.`,
		},
		{
			"DESCRIPTION", description(&a.Description), leftOut, `"Deploys a version"`,
			`A line for those who list the actions, 200 characters at most.`,
		},
		{
			"ONE_AT_A_TIME", choice(&a.Concurrency,
				option[policy.Concurrency]{"refuse", policy.Refuse},
				option[policy.Concurrency]{"wait", policy.Wait},
				option[policy.Concurrency]{"replace", policy.Replace}), leftOut, `"refuse"`,
			`What happens to a request while the action runs or waits already, for any key:
			"refuse" answers 409, "wait" lets it wait for its turn, "replace" cancels the earlier
			job first. The last two need MAX_QUEUED of 1 or more. Left out: both run.`,
		},
	}
}

// limitSettings is the table of the keys of LIMITS.
func limitSettings(l *exec.Limits) []setting {
	return []setting{
		{"OPEN_FILES", number(&l.OpenFiles, 0, maxOpenFiles), 0, "64", "As LIMIT_OPEN_FILES."},
		{"PROCESSES", number(&l.Processes, 0, maxProcesses), 0, "50", "As LIMIT_PROCESSES."},
		{
			"MEMORY", memory(&l.Memory), 0, "1073741824",
			"As LIMIT_MEMORY.",
		},
		{"CPUS", processors(&l.MilliCPU), 0, "1.5", "As LIMIT_CPUS."},
		{
			"CPU_WEIGHT", number(&l.CPUWeight, 0, exec.MaxWeight), 0, "50",
			"As LIMIT_CPU_WEIGHT.",
		},
		{"IO_WEIGHT", number(&l.IOWeight, 0, exec.MaxWeight), 0, "50", "As LIMIT_IO_WEIGHT."},
		{"CPU_TIME", duration(&l.CPUTime, 0, maxCPUTime), "0s", `"10m"`, "As LIMIT_CPU_TIME."},
	}
}

func limitTable(into *exec.Limits) kind {
	var bounds []string
	for _, s := range limitSettings(into) {
		bounds = append(bounds, s.name+": "+strings.ToLower(s.bounds[:1])+s.bounds[1:])
	}
	return kind{
		must:   "a table of limits",
		bounds: strings.Join(bounds, " "),
		store: func(value any) error {
			table, ok := value.(map[string]any)
			if !ok {
				return errUnsuitable
			}
			if faults := setTable(limitSettings(into), table); len(faults) > 0 {
				return faults
			}
			return nil
		},
	}
}

func actions(into *[]policy.Action) kind {
	return kind{
		must: "a table for each action, such as [ACTION.deploy]",
		store: func(value any) (err error) {
			*into, err = parseSection(actionSection(), value, parseAction)
			return err
		},
	}
}

func parseAction(name string, table map[string]any) (policy.Action, tableErrors) {
	a := policy.Action{Name: name}
	return a, setTable(actionSettings(&a), table)
}

func run(a *policy.Action) kind {
	return kind{
		must: "a text for the shell, or an array of the absolute path of a program and its " +
			"arguments",
		store: func(value any) error {
			if text, ok := value.(string); ok {
				a.Text = text
				return checkArguments(text)
			}
			argv, ok := texts(value)
			if !ok || len(argv) == 0 || !path.IsAbs(argv[0]) {
				return errUnsuitable
			}
			a.Argv = argv
			return checkArguments(argv...)
		},
	}
}

func checkArguments(words ...string) error {
	switch {
	case len(words) > maxArguments:
		return fmt.Errorf("has more than %d texts: write a script, and run that", maxArguments)
	case strings.TrimSpace(words[0]) == "":
		return errors.New("is empty: write the command that the action runs")
	}
	for _, word := range words {
		switch {
		case strings.ContainsRune(word, 0):
			return errors.New("holds a NUL byte: write it without")
		case len(word) > maxArgument:
			return fmt.Errorf("has a text of more than %d bytes: write a script, and run that",
				maxArgument)
		}
	}
	return nil
}

var variableName = regexp.MustCompile(`\A[A-Za-z_][A-Za-z0-9_]*\z`)

// interpreted reports whether a shell, an interpreter or the dynamic linker takes a variable as
// more than data.
func interpreted(name string) bool {
	switch name {
	case "PATH", "HOME", "USER", "LOGNAME", "SHELL", "IFS", "ENV", "BASH_ENV", "BASHOPTS",
		"SHELLOPTS", "PS4", "CDPATH", "GLOBIGNORE", "PROMPT_COMMAND", "ZDOTDIR",
		"GLIBC_TUNABLES", "GCONV_PATH", "LOCPATH", "NLSPATH",
		"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS":
		return true
	}
	return slices.ContainsFunc([]string{
		"LD_", "DYLD_", "BASH_FUNC_", "PYTHON", "PERL", "RUBY", "NODE_", "GIT_", "SSH_",
	}, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

func declared(a *policy.Action) kind {
	return kind{
		must: "a table of variables, each with its pattern in quotes",
		store: func(value any) error {
			table, ok := value.(map[string]any)
			if !ok {
				return errUnsuitable
			}
			if len(table) > maxActionVars {
				return fmt.Errorf("has more than %d variables: write fewer", maxActionVars)
			}
			var faults tableErrors
			for _, name := range slices.Sorted(maps.Keys(table)) {
				v, err := parseDeclared(name, table[name])
				if err != nil {
					faults = append(faults, tableError{[]string{name}, err})
				}
				a.Variables = append(a.Variables, v) // also then, for DEFAULTS
			}
			if len(faults) > 0 {
				return faults
			}
			return nil
		},
	}
}

func parseDeclared(name string, value any) (v policy.Variable, err error) {
	v.Name = name
	text, ok := value.(string)
	switch {
	case !variableName.MatchString(name) || len(name) > maxVarName:
		return v, fmt.Errorf("the name of a variable must be 1 to %d letters, digits and _, and "+
			"begin with no digit", maxVarName)
	case interpreted(name):
		return v, errors.New("a variable with this name changes how programs work: choose " +
			"another name")
	case !ok:
		return v, errors.New("the pattern must be a text in single quotes: write NAME = '[a-z]+'")
	}
	if v.Pattern, err = policy.ParsePattern(text); err != nil {
		return v, fmt.Errorf("the pattern %w", err)
	}
	return v, nil
}

// defaults stores the values in the variables, so the row of ENVS stands before that of DEFAULTS.
func defaults(a *policy.Action) kind {
	return kind{
		must: "a table of variables of ENVS, each with its value in double quotes",
		store: func(value any) error {
			table, ok := value.(map[string]any)
			if !ok {
				return errUnsuitable
			}
			var faults tableErrors
			for _, name := range slices.Sorted(maps.Keys(table)) {
				if err := setDefault(a.Variables, name, table[name]); err != nil {
					faults = append(faults, tableError{[]string{name}, err})
				}
			}
			if len(faults) > 0 {
				return faults
			}
			return nil
		},
	}
}

func setDefault(variables []policy.Variable, name string, value any) error {
	at := slices.IndexFunc(variables, func(v policy.Variable) bool { return v.Name == name })
	text, ok := value.(string)
	switch {
	case at < 0:
		return errors.New("a default needs a variable of ENVS: write its name and its pattern " +
			"there too")
	case !ok:
		return errors.New(`a default must be a text in double quotes: write NAME = "value"`)
	case len(text) > policy.MaxValue || strings.ContainsRune(text, 0):
		return fmt.Errorf("a default must have at most %d bytes, and no NUL byte",
			policy.MaxValue)
	}
	variables[at].Default, variables[at].HasDefault = text, true
	return nil
}

func description(into *string) kind {
	return kind{
		must: fmt.Sprintf("one line of text in double quotes, %d characters at most",
			maxDescription),
		store: func(value any) error {
			text, ok := value.(string)
			if !ok || strings.ContainsFunc(text, Unprintable) ||
				utf8.RuneCountInString(text) > maxDescription {
				return errUnsuitable
			}
			*into = text
			return nil
		},
	}
}
