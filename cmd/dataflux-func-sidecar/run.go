package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"dataflux-func-sidecar/internal/client"
	"dataflux-func-sidecar/internal/config"
)

const runUsage = `run [OPTIONS] ACTION [NAME=value...]

Runs an action of a Sidecar, which is a command that its configuration names, and copies the output.
"actions" lists those that the key may run, and their variables.

  dataflux-func-sidecar run deploy VERSION=v1.2
  dataflux-func-sidecar run --key deploy --label user=alice --follow deploy VERSION=v1.2

Exit status: as that of "shell".`

// errNoAction is the wrong use to which runRun adds what can be run.
var errNoAction = errors.New("give the name of an ACTION")

func runRun(args []string, t terminal) int {
	o, err := parseRun(args, t)
	if errors.Is(err, errNoAction) {
		err = o.hintActions(err, t)
	}
	if err != nil {
		return t.misused("run", err, statusFailed)
	}
	return o.perform(t)
}

func parseRun(args []string, t terminal) (callOptions, error) {
	o := newCallOptions()
	flags := t.newFlags("run", runUsage)
	o.registerCall(flags)
	arguments, err := t.parseArguments(flags, args)
	switch {
	case err != nil:
		return o, err
	case len(arguments) == 0:
		return o, errNoAction
	}
	o.command.Action = arguments[0]
	if !config.IsName(o.command.Action) {
		return o, errors.New("the name of an action has 1 to 32 of a-z, 0-9, - and _, and begins " +
			"with a letter; hint: `dataflux-func-sidecar actions` lists them")
	}
	for _, variable := range arguments[1:] {
		name, _, found := strings.Cut(variable, "=")
		switch {
		case !found || !variableName.MatchString(name):
			return o, fmt.Errorf("after the ACTION come its variables: write NAME=value; "+
				"hint: `dataflux-func-sidecar actions` lists those of %s", o.command.Action)
		case o.hasVariable(name):
			return o, fmt.Errorf("%s is given twice: give it once", name)
		}
		o.command.Envs = append(o.command.Envs, variable)
	}
	return o, o.checkCall()
}

var variableName = regexp.MustCompile(`\A[A-Za-z_][A-Za-z0-9_]*\z`)

func (o *callOptions) hasVariable(name string) bool {
	for _, variable := range slices.Concat(o.command.Envs, o.secrets) {
		if variable == name || strings.HasPrefix(variable, name+"=") {
			return true
		}
	}
	return false
}

// hintActions adds what the key may run. A Sidecar that does not say so adds nothing.
func (o *callOptions) hintActions(err error, t terminal) error {
	c, _, failed := o.connect(t)
	if failed != nil {
		return err
	}
	c.OnWait(func() {}) // the answer is not worth a warning
	ctx, stop := context.WithTimeout(context.Background(), maxLookTime)
	defer stop()
	may, failed := c.Actions(ctx)
	switch {
	case failed != nil:
		return err
	case len(may.Actions) == 0:
		return fmt.Errorf("%w; hint: the key %s may run no action", err, may.Key)
	}
	var calls []string
	for _, action := range may.Actions {
		call := append([]string{action.Name}, variables(action)...)
		calls = append(calls, strings.Join(call, " "))
	}
	return fmt.Errorf("%w; hint: the key %s may run: %s", err, may.Key, strings.Join(calls, ", "))
}

// variables are those of an action as a call has them; the optional ones are in brackets.
func variables(action client.Action) (texts []string) {
	if action.Stdin {
		texts = append(texts, "[--stdin]")
	}
	for _, v := range action.Variables {
		text := v.Name + "=…"
		if !v.Required {
			text = "[" + text + "]"
		}
		texts = append(texts, text)
	}
	return texts
}
