package client

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"

	"dataflux-func-sidecar/internal/escape"
)

// maxKeyName bounds the name of a key in bytes.
const maxKeyName = 32

// Permissions are what the key of the client may run. Texts are escaped for terminals.
type Permissions struct {
	Key        string     `json:"key"`
	AnyCommand bool       `json:"anyCommand"`
	ExpiresAt  *time.Time `json:"expiresAt"` // nil: never
	Actions    []Action   `json:"actions"`
}

// Action is a command that the configuration of a Sidecar names.
type Action struct {
	Name        string
	Description string
	Variables   []ActionVariable // in the order of their names
	Stdin       bool             // a request may send standard input
	Timeout     float64          // seconds; 0: that of commands
	OneAtATime  string           // refuse, wait or replace; empty: none of them
}

// ActionVariable is an environment variable that a request may set.
type ActionVariable struct {
	Name     string
	Pattern  string // of RE2, for the whole value
	Required bool
}

// UnmarshalJSON escapes every text.
func (p *Permissions) UnmarshalJSON(text []byte) error {
	type plain Permissions
	if err := json.Unmarshal(text, (*plain)(p)); err != nil {
		return err
	}
	p.Key = escape.Line(p.Key, 0)
	return nil
}

// UnmarshalJSON escapes every text.
func (a *Action) UnmarshalJSON(text []byte) error {
	var plain struct {
		Name, Description string
		Envs              map[string]struct {
			Pattern  string
			Required bool
		}
		Stdin      bool
		Timeout    *float64
		OneAtATime *string
	}
	if err := json.Unmarshal(text, &plain); err != nil {
		return err
	}
	*a = Action{Name: escape.Line(plain.Name, 0), Description: escape.Line(plain.Description, 0)}
	a.Stdin = plain.Stdin
	for _, name := range slices.Sorted(maps.Keys(plain.Envs)) {
		v := plain.Envs[name]
		a.Variables = append(a.Variables, ActionVariable{
			escape.Line(name, 0), escape.Line(v.Pattern, 0), v.Required,
		})
	}
	if plain.Timeout != nil {
		a.Timeout = *plain.Timeout
	}
	if plain.OneAtATime != nil {
		a.OneAtATime = escape.Line(*plain.OneAtATime, 0)
	}
	return nil
}

// ActionsPath is what lists the actions.
const ActionsPath = "/actions"

// Actions asks what the key of the client may run.
func (c *Client) Actions(ctx context.Context) (Permissions, error) {
	var answer envelope[Permissions]
	err := c.decode(ctx, http.MethodGet, ActionsPath, nil, &answer, maxFacts)
	return answer.Data, err
}
