package config

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

// setting is one key of the file: what it must be, an example of it, and how
// its value is taken over.
type setting struct {
	name    string
	must    string
	example string
	store   func(value any) error
}

// errUnsuitable stands for a value that is not what the setting must be.
var errUnsuitable = errors.New("unsuitable")

// settings lists every key there is, in the order of the reference file. The
// values are stored in c, whose present ones serve as examples.
func settings(c *Config) []setting {
	return []setting{
		bind("BIND", &c.Bind),
		keys("SECRET_KEY", &c.Keys),
		pathOrEmpty("TLS_CERTIFICATE", "/etc/ssl/certs/sidecar.pem", &c.TLSCertificate),
		pathOrEmpty("TLS_KEY", "/etc/ssl/private/sidecar.key", &c.TLSKey),
		bindOrEmpty("TLS_ADDRESSES", &c.TLSAddresses),
		absolutePath("SHELL", "/bin/sh", &c.Shell),
		pathOrEmpty("WORKDIR", "/home/dffs", &c.Workdir),
		duration("COMMAND_TIMEOUT", &c.CommandTimeout, 0, 168*time.Hour),
		duration("KILL_GRACE", &c.KillGrace, 0, 10*time.Minute),
		duration("DRAIN_TIMEOUT", &c.DrainTimeout, 0, time.Hour),
		duration("TIME_WINDOW", &c.TimeWindow, time.Second, time.Hour),
		duration("CALLBACK_TIMEOUT", &c.CallbackTimeout, time.Second, 10*time.Minute),
		duration("CALLBACK_EXPIRY", &c.CallbackExpiry, time.Minute, 720*time.Hour),
		number("MAX_BODY", "number of bytes", &c.MaxBody, 1<<10, 16<<20),
		number("MAX_OUTPUT", "number of bytes", &c.MaxOutput, 1<<10, 256<<20),
		number("MAX_RUNNING", "number", &c.MaxRunning, 1, 10_000),
		number("MAX_QUEUED", "number", &c.MaxQueued, 0, 100_000),
		duration("KEEP_TIME", &c.KeepTime, 0, 168*time.Hour),
		number("KEEP_JOBS", "number", &c.KeepJobs, 0, 100_000),
		number("KEEP_BYTES", "number of bytes", &c.KeepBytes, 0, 4<<30),
		number("MAX_CALLBACKS", "number", &c.MaxCallbacks, 1, 100_000),
		number("MAX_STATE", "number of bytes", &c.MaxState, 16<<20, 64<<30),
		number("LIMIT_OPEN_FILES", "number", &c.LimitOpenFiles, 0, 1<<20),
		number("LIMIT_PROCESSES", "number", &c.LimitProcesses, 0, 1<<22),
		number("LIMIT_MEMORY", "number of bytes", &c.LimitMemory, 0, 1<<46),
		duration("LIMIT_CPU_TIME", &c.LimitCPUTime, 0, 168*time.Hour),
		boolean("END_BACKGROUND", &c.EndBackground),
		boolean("ALLOW_SUDO", &c.AllowSudo),
		boolean("LOG_COMMANDS", &c.LogCommands),
	}
}

func bind(name string, into *[]Address) setting {
	must := "one text in double quotes, addresses separated by commas"
	return setting{name, must, strconv.Quote(DefaultBind), func(value any) (err error) {
		text, ok := value.(string)
		if !ok {
			return errUnsuitable
		}
		*into, err = ParseBind(text)
		return err
	}}
}

// bindOrEmpty is a BIND that the empty text leaves to its default.
func bindOrEmpty(name string, into *[]Address) setting {
	s := bind(name, into)
	s.example = `""`
	store := s.store
	s.store = func(value any) error {
		if value == "" {
			return nil
		}
		return store(value)
	}
	return s
}

func keys(name string, into *[]Key) setting {
	must := "a text in double quotes, or an array of such texts while keys are rotated"
	return setting{name, must, `"a long random text"`, func(value any) (err error) {
		if text, ok := value.(string); ok {
			*into, err = parseKeys([]any{text})
			return err
		}
		list, ok := value.([]any)
		if !ok {
			return errUnsuitable
		}
		*into, err = parseKeys(list)
		return err
	}}
}

func parseKeys(list []any) ([]Key, error) {
	if len(list) == 0 || len(list) > mostKeys {
		return nil, fmt.Errorf("must hold at least one key and at most %d", mostKeys)
	}
	parsed := make([]Key, 0, len(list))
	for i, value := range list {
		text, ok := value.(string)
		if !ok {
			return nil, errUnsuitable
		}
		key, err := ParseKey(text)
		if err != nil {
			return nil, err
		}
		for j, other := range parsed {
			if string(other) == text {
				return nil, fmt.Errorf("holds the same key twice, as number %d and number %d: leave one out", j+1, i+1)
			}
		}
		parsed = append(parsed, key)
	}
	return parsed, nil
}

func absolutePath(name, example string, into *string) setting {
	return setting{name, "an absolute path in double quotes", strconv.Quote(example), func(value any) error {
		text, ok := value.(string)
		if !ok || !path.IsAbs(text) || strings.ContainsFunc(text, unprintable) {
			return errUnsuitable
		}
		*into = text
		return nil
	}}
}

// pathOrEmpty is an absolute path that the empty text leaves to its default.
func pathOrEmpty(name, example string, into *string) setting {
	s := absolutePath(name, example, into)
	store := s.store
	s.store = func(value any) error {
		if value == "" {
			return nil
		}
		return store(value)
	}
	return s
}

func duration(name string, into *time.Duration, low, high time.Duration) setting {
	must := fmt.Sprintf("a duration in double quotes, from %s to %s", brief(low), brief(high))
	return setting{name, must, strconv.Quote(brief(*into)), func(value any) error {
		text, ok := value.(string)
		if !ok {
			return errUnsuitable
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < low || d > high {
			return errUnsuitable
		}
		*into = d
		return nil
	}}
}

// brief writes 1h where time.Duration writes 1h0m0s.
func brief(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func number[T int | int64](name, unit string, into *T, low, high int64) setting {
	must := fmt.Sprintf("a whole %s without quotes, from %d to %d", unit, low, high)
	return setting{name, must, strconv.FormatInt(int64(*into), 10), func(value any) error {
		n, ok := value.(int64)
		if !ok || n < low || n > high {
			return errUnsuitable
		}
		*into = T(n)
		return nil
	}}
}

func boolean(name string, into *bool) setting {
	return setting{name, "true or false, without quotes", strconv.FormatBool(*into), func(value any) error {
		b, ok := value.(bool)
		if !ok {
			return errUnsuitable
		}
		*into = b
		return nil
	}}
}
