package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"dataflux-func-sidecar/internal/check"
	"dataflux-func-sidecar/internal/client"
	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/escape"
	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/internal/supervisor"
	"dataflux-func-sidecar/units"
)

const keysUsage = `keys [OPTIONS]
       dataflux-func-sidecar keys new FILE

Lists the keys of the configuration, without their secrets: what each may run, from where, until
when, which jobs it sees, and when the journal last had an entry about it. SECRET_KEY is the key
"default".

keys new makes an Ed25519 private key for a caller, in a FILE that is not there yet, and prints the
line PUBLIC_KEYS for each host that the caller may call; with --quiet the public key alone.`

// listedKey is a key in the list, and in its JSON.
type listedKey struct {
	Name       string     `json:"name"`
	AnyCommand bool       `json:"anyCommand"`
	Actions    []string   `json:"actions"` // of a key without anyCommand
	From       []string   `json:"from"`    // none: anywhere
	ExpiresAt  *time.Time `json:"expiresAt"`
	Expired    bool       `json:"expired"`
	Jobs       string     `json:"jobs"`    // own or all
	Secrets    int        `json:"secrets"` // 2 during a rotation; 0: none, or not readable
	PublicKeys int        `json:"publicKeys"`
	LastUse    *time.Time `json:"lastUse"` // nil: not known
}

func runKeys(args []string, t terminal) int {
	flags := t.newFlags("keys", keysUsage)
	path := flags.String("config", defaultConfig, "the configuration `FILE`")
	asJSON := flags.Bool("json", false, "print one JSON document")
	quiet := flags.Bool("quiet", false, "print only the names, of a new key only the public key")
	arguments, err := t.parseArguments(flags, args)
	isNew := len(arguments) > 0 && arguments[0] == "new"
	switch {
	case err != nil:
	case isNew && (len(arguments) != 2 || given(flags, "config") || *asJSON):
		err = errors.New("keys new needs the FILE of the private key, and nothing else but --quiet")
	case !isNew && len(arguments) > 0:
		err = errArguments
	}
	if err != nil {
		return t.misused("keys", err, statusUsage)
	}
	if isNew {
		return t.newKeyFile(arguments[1], *quiet)
	}
	settings, err := t.loadWithoutSecrets(*path)
	if err != nil {
		t.sayErrors(err)
		return statusError
	}
	now := time.Now()
	listed := listKeys(settings, now)
	if !*quiet {
		addLastUse(listed)
	}
	switch {
	case *asJSON:
		text, _ := json.Marshal(map[string]any{"keys": listed}) // cannot fail
		fmt.Fprintf(t.stdout, "%s\n", escape.JSON(text))
	case *quiet:
		for _, key := range listed {
			fmt.Fprintln(t.stdout, key.Name)
		}
	default:
		_ = printKeys(t.stdout, listed, now, columns(t.stdout.to)) // stdout keeps the error
	}
	return 0
}

// newKeyFile writes a private key into a new file, and prints its public key.
func (t terminal) newKeyFile(path string, quiet bool) int {
	text, public, err := client.NewPrivateKey()
	if err == nil {
		err = createPrivate(path, text)
	}
	if err != nil {
		t.sayError(fmt.Errorf("cannot make a private key: %w", err))
		return statusError
	}
	if quiet {
		fmt.Fprintln(t.stdout, public)
		return 0
	}
	t.note("%s has the private key, for the caller alone; give this line to each host, in a table "+
		"[KEY.name]:", path)
	fmt.Fprintf(t.stdout, "PUBLIC_KEYS = %q\n", public)
	return 0
}

// createPrivate writes a file with mode 0600 that is not there yet. After an error there is none.
func createPrivate(path string, text []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already; hint: name another file, as a key that is "+
			"overwritten is lost", path)
	}
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		_ = os.Remove(path)
	}
	return err
}

// loadWithoutSecrets is config.Load, and only warns of files that hold secrets: credentials of the
// service are there while it runs, and the list shows none.
func (t terminal) loadWithoutSecrets(path string) (config.Config, error) {
	settings, err := config.Load(path)
	if err == nil {
		return settings, nil
	}
	text, _, unread := config.Read(path)
	if unread != nil {
		return config.Config{}, err
	}
	settings, invalid := config.Parse(path, text)
	if invalid != nil {
		return config.Config{}, err
	}
	for _, fault := range config.Failures(err) {
		t.warn("%s", splitHint(fault))
	}
	return settings, nil
}

// listKeys returns the keys by name, the default one first.
func listKeys(settings config.Config, now time.Time) (listed []listedKey) {
	if n := len(settings.Keys); n > 0 {
		listed = append(listed, listKey(policy.Default(), n, now))
	}
	for _, named := range settings.NamedKeys {
		key := listKey(named.Key, len(named.Secrets), now)
		key.PublicKeys = len(named.PublicKeys)
		listed = append(listed, key)
	}
	return listed
}

func listKey(key policy.Key, secrets int, now time.Time) listedKey {
	listed := listedKey{
		Name: key.Name, AnyCommand: key.AnyCommand, Actions: key.Actions, From: []string{},
		Jobs: "own", Secrets: secrets,
	}
	if listed.Actions == nil {
		listed.Actions = []string{}
	}
	for _, network := range key.From {
		listed.From = append(listed.From, network.String())
	}
	if key.FromUnix {
		listed.From = append(listed.From, "unix")
	}
	if key.AllJobs {
		listed.Jobs = "all"
	}
	if !key.Expires.IsZero() {
		listed.ExpiresAt, listed.Expired = &key.Expires, !now.Before(key.Expires)
	}
	return listed
}

// addLastUse asks the journal. It adds nothing where there is none.
func addLastUse(keys []listedKey) {
	var names []string
	for _, key := range keys {
		names = append(names, key.Name)
	}
	role := check.RoleID(supervisor.DefaultRoleUser, defaultUser)
	times := units.LastTimes(role, journal.Key, names)
	for i := range keys {
		if at, found := times[keys[i].Name]; found {
			keys[i].LastUse = &at
		}
	}
}

// printKeys writes a table, whose lines are cut to width columns if that is positive.
func printKeys(to io.Writer, keys []listedKey, now time.Time, width int) error {
	return printTable(to, width, func(table *tabwriter.Writer) {
		fmt.Fprintln(table, "NAME\tMAY RUN\tFROM\tEXPIRES\tJOBS\tLAST USE")
		for _, key := range keys {
			lastUse := "-"
			if key.LastUse != nil {
				lastUse = formatTime(*key.LastUse)
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", key.Name, key.mayRun(), key.from(),
				key.expires(now), key.Jobs, lastUse)
		}
	})
}

func (k listedKey) mayRun() string {
	switch {
	case k.AnyCommand:
		return "any command"
	case len(k.Actions) == 0:
		return "nothing"
	}
	return strings.Join(k.Actions, ", ")
}

func (k listedKey) from() string {
	if len(k.From) == 0 {
		return "anywhere"
	}
	return strings.Join(k.From, ", ")
}

func (k listedKey) expires(now time.Time) string {
	if k.ExpiresAt == nil {
		return "never"
	}
	return untilExpiry(*k.ExpiresAt, now)
}

// untilExpiry is when a key expires. A midnight in UTC is the end of the day before it.
func untilExpiry(at, now time.Time) string {
	at = at.UTC()
	text := at.Format(time.RFC3339)
	if at.Equal(at.Truncate(24 * time.Hour)) {
		text = at.Add(-time.Second).Format(time.DateOnly)
	}
	switch left := at.Sub(now); {
	case left <= 0:
		return text + ", expired"
	case left < 48*time.Hour:
		return text + ", in " + strings.TrimSuffix(left.Round(time.Minute).String(), "0s")
	default:
		return fmt.Sprintf("%s, in %d days", text, left/(24*time.Hour))
	}
}
