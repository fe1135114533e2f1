package exec

import "strings"

// maxArgument is the kernel's MAX_ARG_STRLEN with pages of 4 KiB: the longest argument or
// environment variable in bytes, including its terminating NUL.
const maxArgument = 131072

// loginPath is the PATH of commands. It includes the sbin folders, which a login of an ordinary
// user may lack: commands such as ip or sysctl live there and are useful to ordinary users as well.
const loginPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Login is what the environment says of the user that commands run as.
type Login struct {
	Name  string
	Home  string
	Shell string // the configured one: the account's may be nologin, which programs cannot use
	Lang  string // empty: LANG is not set
}

// Variable is one variable of a request.
type Variable struct {
	Name  string
	Value string
}

// Environment returns what a login of base would have, overlaid with extra. It contains nothing of
// the daemon's own environment. The last of a repeated name wins.
func Environment(base Login, extra []Variable) ([]string, error) {
	env := []string{
		"PATH=" + loginPath,
		"HOME=" + base.Home,
		"USER=" + base.Name,
		"LOGNAME=" + base.Name,
		"SHELL=" + base.Shell,
	}
	if base.Lang != "" {
		env = append(env, "LANG="+base.Lang)
	}
	index := make(map[string]int, len(env)+len(extra))
	for i, variable := range env {
		name, _, _ := strings.Cut(variable, "=")
		index[name] = i
	}
	for _, v := range extra {
		if err := v.validate(); err != nil {
			return nil, err
		}
		if i, known := index[v.Name]; known {
			env[i] = v.String()
			continue
		}
		index[v.Name] = len(env)
		env = append(env, v.String())
	}
	return env, nil
}

// String is the form that the kernel passes to a program.
func (v Variable) String() string { return v.Name + "=" + v.Value }

// validate never puts the value into its error, as values may be secret.
func (v Variable) validate() error {
	switch {
	case v.Name == "":
		return requestFault(nil, "an environment variable has no name: write NAME=value")
	case strings.IndexByte(v.Name, '=') >= 0:
		return requestFault(nil,
			"the environment variable's name %s contains '=': remove it", quote(v.Name))
	case strings.IndexByte(v.Name, 0) >= 0:
		return requestFault(nil,
			"the environment variable's name %s contains a NUL byte: remove it", quote(v.Name))
	}
	return validateVariable(v.String())
}

// validateVariable checks one NAME=value as a whole.
func validateVariable(variable string) error {
	name, value, found := strings.Cut(variable, "=")
	switch {
	case !found || name == "":
		return requestFault(nil, "an environment variable is not of the form NAME=value: name it")
	case strings.IndexByte(variable, 0) >= 0:
		return requestFault(nil,
			"the value of the environment variable %s contains a NUL byte: remove it", quote(name))
	case len(variable) >= maxArgument:
		return requestFault(nil,
			"the environment variable %s and its value have %d bytes, at most %d are possible: "+
				"hand it over in a file",
			quote(name), len(name)+1+len(value), maxArgument-1)
	}
	return nil
}
