package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"dataflux-func-sidecar/exec"
	"dataflux-func-sidecar/internal/policy"
)

// choose sets the action of a request that the key may run, or returns a refusal. The command of a
// key that may not run any command is the name of an action.
func (s *shell) choose(key *policy.Key, r *shellRequest) error {
	if !key.AnyCommand && r.script != nil {
		return refusalf(statusForbidden, "%s", mayRunInstead(key))
	}
	if !key.AnyCommand && r.action == "" {
		r.action, r.command = r.command, ""
	}
	if r.action == "" {
		return nil
	}
	_, known := s.policy.Action(r.action)
	switch {
	case !key.MayRun(r.action): // before it is told whether there is such an action
		return refusalf(statusForbidden, "%s", mayRunInstead(key))
	case !known:
		return refusalf(statusBadRequest, "action: there is no action %.64q: %s", r.action,
			listNames(s.policy.ActionsOf(key)))
	}
	return nil
}

func mayRunInstead(key *policy.Key) string {
	if len(key.Actions) == 0 {
		return key.Describe()
	}
	return key.Describe() + ": send such a name as command or action"
}

func listNames(actions []*policy.Action) string {
	if len(actions) == 0 {
		return "none is configured"
	}
	var names []string
	for _, a := range actions {
		names = append(names, a.Name)
	}
	return "the actions are " + strings.Join(names, ", ")
}

// applyAction makes a request that of an action: nothing of it gets into the text of the command,
// and its variables are checked.
func applyAction(a *policy.Action, r *shellRequest, c *exec.Command) (err error) {
	if r.workdir != "" {
		return fmt.Errorf("workdir: the action %s has its own: leave it out", a.Name)
	}
	if a.Timeout > 0 && r.timeout > a.Timeout {
		return fmt.Errorf("timeout: at most %g seconds are allowed for the action %s",
			a.Timeout.Seconds(), a.Name)
	}
	if r.traceparent != "" && slices.ContainsFunc(a.Variables, func(v policy.Variable) bool {
		return v.Name == traceVariable
	}) {
		return fmt.Errorf("traceparent: the action %s has the variable %s of its own: "+
			"send it in envs", a.Name, traceVariable)
	}
	if r.signal != 0 || r.grace != nil {
		return fmt.Errorf("signal and grace: the action %s is ended by SIGTERM and KILL_GRACE: "+
			"leave them out", a.Name)
	}
	if err := r.input.checkAction(a); err != nil {
		return err
	}
	if r.envs, err = a.Environment(r.envs); err != nil {
		return err
	}
	c.Text, c.Argv = a.Text, a.Argv
	r.workdir = a.Workdir
	if r.timeout == 0 {
		r.timeout = a.Timeout
	}
	return nil
}

// listedActions is the answer to GET /actions (source: docs/protocol.md).
type listedActions struct {
	Key        string         `json:"key"`
	AnyCommand bool           `json:"anyCommand"`
	ExpiresAt  *string        `json:"expiresAt"`
	Actions    []listedAction `json:"actions"`
}

type listedAction struct {
	Name        string                    `json:"name"`
	Description string                    `json:"description"`
	Envs        map[string]listedVariable `json:"envs"`
	Stdin       bool                      `json:"stdin"`   // a request may send it
	Timeout     *float64                  `json:"timeout"` // seconds
	OneAtATime  *string                   `json:"oneAtATime"`
}

type listedVariable struct {
	Pattern  string `json:"pattern"`
	Required bool   `json:"required"`
}

// listActions answers GET /actions: what the key may run, and with which values.
func (s *shell) listActions(call verifiedCall, st *stream) error {
	list := listedActions{
		Key: call.key.Name, AnyCommand: call.key.AnyCommand, Actions: []listedAction{},
	}
	if !call.key.Expires.IsZero() {
		text := call.key.Expires.UTC().Format(timeFormat)
		list.ExpiresAt = &text
	}
	for _, a := range s.policy.ActionsOf(call.key) {
		list.Actions = append(list.Actions, listAction(a))
	}
	text, err := json.Marshal(list)
	if err != nil {
		return errors.New("the actions cannot be listed")
	}
	sendData(st, "", func(w *jsonWriter) { w.raw(string(text[1 : len(text)-1])) })
	return nil
}

func listAction(a *policy.Action) listedAction {
	listed := listedAction{
		Name: a.Name, Description: a.Description, Envs: map[string]listedVariable{},
		Stdin: a.Stdin,
	}
	for _, v := range a.Variables {
		listed.Envs[v.Name] = listedVariable{v.Pattern.String(), !v.HasDefault}
	}
	if a.Timeout > 0 {
		seconds := a.Timeout.Seconds()
		listed.Timeout = &seconds
	}
	if a.Concurrency != policy.Parallel {
		text := a.Concurrency.String()
		listed.OneAtATime = &text
	}
	return listed
}
