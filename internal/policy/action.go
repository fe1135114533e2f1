package policy

import (
	"fmt"
	"slices"
	"strings"

	"dataflux-func-sidecar/exec"
)

// Environment returns the variables of one run, in the order of the declaration: those of the
// request, each checked against its pattern, and the defaults of the others. Its errors name a
// variable and its pattern, and never a value.
func (a *Action) Environment(given []exec.Variable) ([]exec.Variable, error) {
	for i, v := range given {
		if a.variable(v.Name) == nil {
			return nil, fmt.Errorf("envs: the action %s has no variable %.64q: %s", a.Name, v.Name,
				a.describeVariables())
		}
		if slices.ContainsFunc(given[:i], func(w exec.Variable) bool { return w.Name == v.Name }) {
			return nil, fmt.Errorf("envs: %s is there twice: send it once", v.Name)
		}
	}
	var env []exec.Variable
	for _, declared := range a.Variables {
		value, err := declared.value(a.Name, given)
		if err != nil {
			return nil, err
		}
		env = append(env, exec.Variable{Name: declared.Name, Value: value})
	}
	return env, nil
}

func (a *Action) variable(name string) *Variable {
	for i := range a.Variables {
		if a.Variables[i].Name == name {
			return &a.Variables[i]
		}
	}
	return nil
}

func (a *Action) describeVariables() string {
	if len(a.Variables) == 0 {
		return "it takes none"
	}
	var names []string
	for _, v := range a.Variables {
		names = append(names, v.Name)
	}
	return "it takes " + strings.Join(names, ", ")
}

// value is the one of the request, or the default.
func (v Variable) value(action string, given []exec.Variable) (string, error) {
	at := slices.IndexFunc(given, func(w exec.Variable) bool { return w.Name == v.Name })
	switch {
	case at < 0 && v.HasDefault:
		return v.Default, nil
	case at < 0:
		return "", fmt.Errorf("envs: the action %s needs the variable %s: send a value that "+
			"matches %s", action, v.Name, v.Pattern)
	case len(given[at].Value) > MaxValue:
		return "", fmt.Errorf("envs: the value of %s has %d bytes, at most %d are possible",
			v.Name, len(given[at].Value), MaxValue)
	case strings.ContainsRune(given[at].Value, 0):
		return "", fmt.Errorf("envs: the value of %s holds a NUL byte: remove it", v.Name)
	case !v.Pattern.Match(given[at].Value):
		return "", fmt.Errorf("envs: the value of %s does not match %s as a whole",
			v.Name, v.Pattern)
	}
	return given[at].Value, nil
}

// String is the value of ONE_AT_A_TIME; empty: not set.
func (c Concurrency) String() string {
	return [...]string{Parallel: "", Refuse: "refuse", Wait: "wait", Replace: "replace"}[c]
}

// Lowest returns the lower of two bounds for each resource. 0 is no bound.
func Lowest(a, b exec.Limits) exec.Limits {
	return exec.Limits{
		OpenFiles: lowest(a.OpenFiles, b.OpenFiles), Processes: lowest(a.Processes, b.Processes),
		Memory: lowest(a.Memory, b.Memory), CPUTime: lowest(a.CPUTime, b.CPUTime),
		MilliCPU: lowest(a.MilliCPU, b.MilliCPU), CPUWeight: lowest(a.CPUWeight, b.CPUWeight),
		IOWeight: lowest(a.IOWeight, b.IOWeight),
	}
}

func lowest[T uint64 | ~int64](a, b T) T {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
