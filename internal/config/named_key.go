package config

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"dataflux-func-sidecar/internal/policy"
	"dataflux-func-sidecar/sign"
)

const (
	maxNamedKeys    = 100
	maxNamedSecrets = 2 // of a key: the new one and the old one; of public keys as well
)

// NamedKey is a table [KEY.name].
type NamedKey struct {
	policy.Key
	// Secrets holds one, or two during a rotation, the new one first. Parse leaves it empty if they
	// are in SecretFile; Load and SetFileSecrets fill it in.
	Secrets    []Key
	SecretFile string // an absolute path, or the name of a systemd credential; empty: none
	// PublicKeys has one, or two during a rotation; none: requests need a secret.
	PublicKeys []ed25519.PublicKey
}

// NamedSecret is a secret with the name of its key, policy.DefaultKey for SECRET_KEY.
type NamedSecret struct {
	Name string
	Key  Key
}

// Secrets returns all secrets: those of SECRET_KEY first, then those of each key in the order of
// their names.
func (c Config) Secrets() (all []NamedSecret) {
	for _, key := range c.Keys {
		all = append(all, NamedSecret{policy.DefaultKey, key})
	}
	for _, named := range c.NamedKeys {
		for _, key := range named.Secrets {
			all = append(all, NamedSecret{named.Name, key})
		}
	}
	return all
}

func keySection() section {
	return section{
		key: "KEY", what: "a key", most: maxNamedKeys,
		reserved: []string{policy.DefaultKey, "first", "last"}, rows: keySettings(&NamedKey{}),
	}
}

// keySettings is the table of the keys of [KEY.name].
func keySettings(k *NamedKey) []setting {
	return []setting{
		{
			"SECRET", secretList(&k.Secrets), leftOut, `"a long random text"`,
			`The secret that requests with this key are signed with, in the form of SECRET_KEY.
			While it is rotated, an array of two: ["new secret", "old secret"]. Callbacks are
			signed with the first. No other key may have the same.`,
		},
		{
			"SECRET_FILE", secretFile(&k.SecretFile), leftOut, `"/etc/sidecar-deploy.secret"`,
			`A file that holds the secret, instead of SECRET: one or two lines with one secret
			each, 4096 bytes (4 KiB) at most. It belongs to root and has mode 0600. It is read at
			the start and at each reload. A name without a slash is a credential of the service
			(LoadCredential= of systemd, which loads it at a start and not at a reload).`,
		},
		{
			"PUBLIC_KEYS", publicKeys(&k.PublicKeys), leftOut,
			`"s76P7eJ7nsRrkvaHQKr8Z8uZvsj6e2bLTv8TmISi/bQ="`,
			`The Ed25519 public key of callers that sign with a private key, as
			"dataflux-func-sidecar keys new" prints it, instead of SECRET or beside it. While it
			is rotated, an array of two. Callbacks need a SECRET. No other key may have the same.`,
		},
		{
			"ACTIONS", actionNames(&k.Key), leftOut, `["deploy"]`,
			`The actions that the key may run, and nothing else. []: it may run nothing, and only
			look. Left out: any command and any action.`,
		},
		{
			"FROM", origins(&k.Key), leftOut, `["172.17.0.0/16", "unix"]`,
			`From where the key may be used: networks as in CALLERS, and "unix" for Unix sockets,
			16 at most. Left out: from anywhere.`,
		},
		{
			"EXPIRES", expiry(&k.Expires), leftOut, `2027-06-30`,
			`The last day of the key, to its end in UTC; or the time from which it is refused, such
			as 2027-06-30T18:00:00+02:00. Left out: never.`,
		},
		{
			"JOBS", choice(&k.AllJobs, option[bool]{"own", false},
				option[bool]{"all", true}), "own", "",
			`The jobs that the key sees and may cancel, and whose callbacks it may change: "own",
			those that it has started, or "all".`,
		},
		{
			"MAX_RUNNING", number(&k.MaxRunning, 1, maxRunning), leftOut, "4",
			`How many commands of the key may run at the same time, within MAX_RUNNING of all.
			More of them wait, or are answered 503. Left out: no bound of its own.`,
		},
		{
			"LIMITS", limitTable(&k.Limits),
			map[string]any{},
			`{ OPEN_FILES = 64, MEMORY = 1073741824 }`,
			`Resource limits of the commands of the key: OPEN_FILES, PROCESSES, MEMORY, CPUS,
			CPU_WEIGHT, IO_WEIGHT and CPU_TIME, with the meaning and the bounds of LIMIT_OPEN_FILES
			and so on. The lowest that is set for all commands, the key and the action holds.`,
		},
	}
}

func namedKeys(into *[]NamedKey) kind {
	return kind{
		must: "a table for each key, such as [KEY.deploy]",
		store: func(value any) (err error) {
			*into, err = parseSection(keySection(), value, parseNamedKey)
			return err
		},
	}
}

func parseNamedKey(name string, table map[string]any) (NamedKey, tableErrors) {
	k := NamedKey{Key: policy.Key{Name: name, AnyCommand: true}}
	faults := setTable(keySettings(&k), table)
	_, text := table["SECRET"]
	_, file := table["SECRET_FILE"]
	_, public := table["PUBLIC_KEYS"]
	switch {
	case text && file:
		faults = append(faults, tableError{[]string{"SECRET_FILE"}, errors.New("SECRET_FILE is " +
			"of no use together with SECRET: leave one of the two out")})
	case !text && !file && !public:
		faults = append(faults, tableError{nil, errors.New("SECRET is missing: write SECRET = " +
			"\"a long random text\", or SECRET_FILE = \"/path\", or PUBLIC_KEYS for callers " +
			"with a private key")})
	}
	return k, faults
}

func secretList(into *[]Key) kind {
	k := keyList(into)
	store := k.store
	k.must = "a text in double quotes, or an array of two such texts while the secret is rotated"
	k.store = func(value any) error {
		if list, ok := value.([]any); ok && (len(list) == 0 || len(list) > maxNamedSecrets) {
			return fmt.Errorf("must hold one secret or %d", maxNamedSecrets)
		}
		return store(value)
	}
	return k
}

// publicKeys never repeats a text, which may be a private key.
func publicKeys(into *[]ed25519.PublicKey) kind {
	return kind{
		must: "a public key in double quotes, or an array of two while it is rotated",
		store: func(value any) error {
			if text, ok := value.(string); ok {
				value = []any{text}
			}
			list, ok := texts(value)
			if !ok {
				return errUnsuitable
			}
			if len(list) == 0 || len(list) > maxNamedSecrets {
				return fmt.Errorf("must hold one public key or %d", maxNamedSecrets)
			}
			var keys []ed25519.PublicKey
			for _, text := range list {
				key, err := sign.ParsePublicKey(text)
				if err != nil {
					return err
				}
				keys = append(keys, key)
			}
			*into = keys
			return nil
		},
	}
}

func secretFile(into *string) kind {
	return kind{
		must: "an absolute path in double quotes, or the name of a credential of the service",
		store: func(value any) error {
			text, ok := value.(string)
			if !ok || text == "" || strings.ContainsFunc(text, Unprintable) ||
				!path.IsAbs(text) && strings.Contains(text, "/") || text == "." || text == ".." {
				return errUnsuitable
			}
			*into = text
			return nil
		},
	}
}

// texts returns the items of an array of texts.
func texts(value any) ([]string, bool) {
	list, ok := value.([]any)
	if !ok {
		return nil, false
	}
	items := make([]string, len(list))
	for i, item := range list {
		if items[i], ok = item.(string); !ok {
			return nil, false
		}
	}
	return items, true
}

func actionNames(k *policy.Key) kind {
	return kind{
		must: "an array of names of actions in double quotes",
		store: func(value any) error {
			names, ok := texts(value)
			if !ok {
				return errUnsuitable
			}
			slices.Sort(names)
			k.AnyCommand, k.Actions = false, slices.Compact(names)
			return nil
		},
	}
}

func origins(k *policy.Key) kind {
	return kind{
		must: `an array of networks in double quotes, and "unix" for Unix sockets`,
		store: func(value any) error {
			entries, ok := texts(value)
			if !ok || len(entries) == 0 {
				return errUnsuitable
			}
			if len(entries) > maxNetworks {
				return fmt.Errorf("lists more than %d networks: write fewer", maxNetworks)
			}
			var networks []netip.Prefix
			for i, entry := range entries {
				if entry == "unix" {
					k.FromUnix = true
					continue
				}
				network, err := parseNetwork(entry)
				if err != nil {
					return fmt.Errorf("network %d of %d %w", i+1, len(entries), err)
				}
				networks = append(networks, network)
			}
			k.From = networks
			return nil
		},
	}
}

func expiry(into *time.Time) kind {
	return kind{
		must: "a date such as 2027-06-30, or a time with its offset such as " +
			"2027-06-30T18:00:00+02:00",
		store: func(value any) error {
			if text, ok := value.(string); ok {
				value = parseTime(text)
			}
			switch value := value.(type) {
			case time.Time:
				*into = value.UTC()
			case toml.LocalDate:
				*into = value.AsTime(time.UTC).AddDate(0, 0, 1)
			default:
				return errUnsuitable
			}
			if into.Year() < firstYear { // the zero time would mean never
				return errUnsuitable
			}
			if into.Year() > lastYear {
				*into = time.Date(lastYear, time.December, 31, 23, 59, 59, 0, time.UTC)
			}
			return nil
		},
	}
}

// Of EXPIRES. RFC 3339, in which answers have it, has no later year.
const firstYear, lastYear = 2000, 9999

// parseTime returns what the TOML decoder returns for the text without its quotes, or nil.
func parseTime(text string) any {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at
	}
	var day toml.LocalDate
	if day.UnmarshalText([]byte(text)) != nil {
		return nil
	}
	return day
}
