package client

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"dataflux-func-sidecar/internal/escape"
)

// Callback is a result that is owed to a receiver. Texts are escaped for terminals, as the other
// side chose them.
type Callback struct {
	JobID         string    `json:"jobId"`
	Key           string    `json:"key"`      // the name of the job's key
	Receiver      string    `json:"receiver"` // host and port
	State         string    `json:"state"`
	Attempts      int       `json:"attempts"`
	LastError     string    `json:"lastError"`
	NextAttemptAt time.Time `json:"nextAttemptAt"` // zero: an attempt is under way
	ExpiresAt     time.Time `json:"expiresAt"`
}

// UnmarshalJSON escapes every text.
func (c *Callback) UnmarshalJSON(text []byte) error {
	type plain Callback
	if err := json.Unmarshal(text, (*plain)(c)); err != nil {
		return err
	}
	for _, field := range []*string{&c.JobID, &c.Key, &c.Receiver, &c.State, &c.LastError} {
		*field = escape.Line(*field, 0)
	}
	return nil
}

// Callbacks lists what is owed to receivers, the oldest promise first.
func (c *Client) Callbacks(ctx context.Context) ([]Callback, error) {
	var answer envelope[struct{ Callbacks []Callback }]
	err := c.decode(ctx, http.MethodGet, "/callbacks", nil, &answer, maxFacts)
	return answer.Data.Callbacks, err
}

// RetryCallback lets the next attempt for a job begin now. The caller has checked the id with
// IsJobReference.
func (c *Client) RetryCallback(ctx context.Context, id string) (json.RawMessage, error) {
	return c.Raw(ctx, http.MethodPost, "/callbacks/"+id+"/retry", nil)
}

// DropCallback ends the delivery for a job. The caller has checked the id with IsJobReference.
func (c *Client) DropCallback(ctx context.Context, id string) (json.RawMessage, error) {
	return c.Raw(ctx, http.MethodDelete, "/callbacks/"+id, nil)
}
