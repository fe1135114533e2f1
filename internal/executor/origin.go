package executor

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/internal/policy"
)

// jobRef identifies a job: an id that a caller chose is unique among the jobs of its key.
type jobRef struct {
	key string // the name of the key that signed the request
	id  string
}

// recordID is the id of the job in the ledger and in a handover. Those of the default key are as in
// releases that know no other. Such a release takes those of another key for ids, which no request
// can address.
func (r jobRef) recordID() string {
	if r.key == policy.DefaultKey {
		return r.id
	}
	return r.key + "/" + r.id
}

// parseRecordID is the reverse of recordID.
func parseRecordID(text string) jobRef {
	if key, id, named := strings.Cut(text, "/"); named {
		return jobRef{key, id}
	}
	return jobRef{policy.DefaultKey, text}
}

// address names the job among those of all keys: KEY:ID, or the id alone of the default key.
func (r jobRef) address() string {
	if r.key == policy.DefaultKey {
		return r.id
	}
	return r.key + ":" + r.id
}

// claim is the name under which the verifier remembers the id.
func (r jobRef) claim() string { return "job " + r.recordID() }

// origin says who asked for a job, and for which action. It goes into each entry about the job.
type origin struct {
	jobRef
	originFacts
}

// originFacts are an origin without the id, as they are in the ledger and in a handover, whose
// records embed them. They are part of the state format; a release before may know fewer of them.
type originFacts struct {
	Remote      string      `json:",omitzero"`
	Action      string      `json:",omitzero"` // empty: a command of the caller's own
	Labels      labels      `json:",omitzero"`
	Traceparent traceparent `json:",omitzero"`
}

// fields are those of every entry about the job.
func (o origin) fields() journal.Fields {
	f := journal.Fields{journal.JobID: o.id, journal.Key: o.key}
	if o.Remote != "" {
		f[journal.Remote] = o.Remote
	}
	if o.Action != "" {
		f[journal.Action] = o.Action
	}
	for name, value := range o.Labels {
		f[journal.Label(name)] = value
	}
	o.Traceparent.addTo(f)
	return f
}

// String is the caller for the text of an entry.
func (o origin) String() string {
	text := o.caller()
	for _, name := range slices.Sorted(maps.Keys(o.Labels)) {
		text += fmt.Sprintf(", %s %s", name, journal.Quote(o.Labels[name], maxLabel*utf8.UTFMax))
	}
	return text
}

// caller is the address and the key, for the text of an entry.
func (o origin) caller() string {
	if o.key == policy.DefaultKey {
		return o.Remote
	}
	return o.Remote + " with the key " + o.key
}

// keys are the part of a JSON object that says the same to callers.
func (o origin) keys() string {
	text := `,"key":` + quoteJSON(o.key)
	if o.Action != "" {
		text += `,"action":` + quoteJSON(o.Action)
	}
	if len(o.Labels) > 0 {
		list, _ := json.Marshal(o.Labels) // texts always have a JSON form
		text += `,"labels":` + string(list)
	}
	if o.Traceparent != "" {
		text += `,"traceparent":` + quoteJSON(string(o.Traceparent))
	}
	return text
}

// labels are names and values that a caller gives to a job for those who read the journal. They are
// not passed to the command.
type labels map[string]string

const (
	maxLabels    = 8
	maxLabelName = 32  // characters
	maxLabel     = 128 // characters of a value
)

func (l *labels) decode(raw json.RawMessage) error {
	notStrings := errors.New(`must be an object of strings such as {"user":"alice"}`)
	if raw[0] != '{' {
		return notStrings
	}
	o, err := decodeObject(raw)
	if err != nil {
		return err
	}
	texts := map[string]string{}
	for name, raw := range o {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return notStrings
		}
		texts[name] = text
	}
	if len(texts) > maxLabels {
		return fmt.Errorf("has %d names, at most %d are possible", len(texts), maxLabels)
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		value := texts[name]
		switch n := utf8.RuneCountInString(value); {
		case !isLabelName(name):
			return fmt.Errorf("the name %.64q must be 1 to %d of a-z, 0-9 and _, beginning with "+
				"a letter", name, maxLabelName)
		case n < 1 || n > maxLabel:
			return fmt.Errorf("the value of %s has %d characters, not 1 to %d", name, n, maxLabel)
		case strings.ContainsFunc(value, misleads):
			return fmt.Errorf("the value of %s holds a line break or another control character: "+
				"remove it", name)
		}
	}
	*l = texts
	return nil
}

// misleads reports whether a character ends a line, controls a terminal, or turns the order of the
// text around it.
func misleads(c rune) bool {
	return unicode.IsControl(c) || unicode.In(c, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

func isLabelName(s string) bool {
	return len(s) >= 1 && len(s) <= maxLabelName && s[0] >= 'a' && s[0] <= 'z' &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// listedCommand is what is remembered of a command with its job.
type listedCommand struct {
	text  string // the first maxListedCommand bytes
	bytes int    // of the whole command
}

func listCommand(text string) listedCommand {
	// The clone does not keep the whole body in memory.
	return listedCommand{strings.Clone(journal.Cut(text, maxListedCommand)), len(text)}
}

// restoreCommand is for records of releases that did not know the number of bytes, too.
func restoreCommand(text string, bytes int) listedCommand {
	return listedCommand{text, max(bytes, len(text))}
}

// String says so where the command was cut.
func (c listedCommand) String() string { return c.text + c.missing() }

// quoted is String for the text of an entry.
func (c listedCommand) quoted() string { return journal.Quote(c.text, len(c.text)) + c.missing() }

func (c listedCommand) missing() string {
	if c.bytes == len(c.text) {
		return ""
	}
	return fmt.Sprintf("… (%d bytes)", c.bytes)
}

// keys are the part of a JSON object that says the same to callers.
func (c listedCommand) keys() string {
	return fmt.Sprintf(`,"command":%s,"commandBytes":%d`, quoteJSON(c.text), c.bytes)
}
