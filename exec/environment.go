package exec

import (
	"strconv"
	"strings"
)

// loginPath is where commands are looked for. It includes the sbin folders,
// which a login of an ordinary user may lack: commands such as ip or sysctl
// live there and are of use to ordinary users as well.
const loginPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Login is the user as whom commands run, as far as the environment shows it.
type Login struct {
	Name  string
	Home  string
	Shell string
	Lang  string // empty: LANG is not set
}

// Variable is one variable that was asked for.
type Variable struct {
	Name  string
	Value string
}

// Environment is what a login of base would have, overlaid with extra. Nothing
// of the daemon's own environment gets in. Of a repeated name the last wins.
func Environment(base Login, extra []Variable) ([]string, error) {
	env := append(make([]string, 0, 6+len(extra)), base.environment()...)
	place := make(map[string]int, cap(env))
	for i, variable := range env {
		name, _, _ := strings.Cut(variable, "=")
		place[name] = i
	}
	for _, v := range extra {
		if err := v.validate(); err != nil {
			return nil, err
		}
		if i, known := place[v.Name]; known {
			env[i] = v.String()
			continue
		}
		place[v.Name] = len(env)
		env = append(env, v.String())
	}
	return env, nil
}

func (l Login) environment() []string {
	env := []string{
		"PATH=" + loginPath,
		"HOME=" + l.Home,
		"USER=" + l.Name,
		"LOGNAME=" + l.Name,
		"SHELL=" + l.Shell,
	}
	if l.Lang != "" {
		env = append(env, "LANG="+l.Lang)
	}
	return env
}

// String is the form that the kernel hands to a program.
func (v Variable) String() string { return v.Name + "=" + v.Value }

// validate never puts the value into its error: values may be secret.
func (v Variable) validate() error {
	switch {
	case v.Name == "":
		return requestFault("an environment variable has no name: write NAME=value")
	case strings.IndexByte(v.Name, '=') >= 0:
		return requestFault("the environment variable's name %s contains '=': remove it", quote(v.Name))
	case strings.IndexByte(v.Name, 0) >= 0:
		return requestFault("the environment variable's name %s contains a NUL byte: remove it", quote(v.Name))
	}
	return validateVariable(v.String())
}

// validateVariable checks one NAME=value as a whole.
func validateVariable(variable string) error {
	name, value, found := strings.Cut(variable, "=")
	switch {
	case !found || name == "":
		return requestFault("an environment variable is not of the form NAME=value: name it")
	case strings.IndexByte(variable, 0) >= 0:
		return requestFault("the value of the environment variable %s contains a NUL byte: remove it", quote(name))
	case len(variable) >= maxArgument:
		return requestFault("the environment variable %s and its value have %d bytes, at most %d are possible: hand it over in a file", quote(name), len(name)+1+len(value), maxArgument-1)
	}
	return nil
}

// quote makes text from a request safe and short enough for one log line.
func quote(text string) string {
	const enough = 200
	if len(text) > enough {
		return strconv.Quote(text[:enough]) + "..."
	}
	return strconv.Quote(text)
}
