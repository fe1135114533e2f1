package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"dataflux-func-sidecar/exec"
)

// kind is the type of a setting with its bounds.
type kind struct {
	must   string // completes "KEY must be", for error messages
	bounds string // a sentence for the reference
	// store checks a value as the TOML decoder returns it and stores it in the field of Config.
	store func(value any) error
	// meant returns a valid value that such a text was probably meant to be, as TOML; empty: not
	// known. nil: never known.
	meant func(text string) string
}

// errUnsuitable is the error of a value that is not what the setting must be.
var errUnsuitable = errors.New("unsuitable")

// set stores a value. Its error says what the setting must be.
func (s setting) set(value any) error {
	err := s.store(value)
	_, ofVariables := errors.AsType[variableErrors](err)
	_, ofTable := errors.AsType[tableErrors](err)
	if ofVariables || ofTable || err == nil {
		return err
	}
	if errors.Is(err, errUnsuitable) {
		return s.unsuitable(fmt.Sprint(value))
	}
	return fmt.Errorf("%s %w", s.name, err)
}

// unsuitable is the error of a value, with a line to write: what the text was meant to be, else the
// example.
func (s setting) unsuitable(text string) error {
	line := s.line()
	if s.meant != nil {
		if meant := s.meant(text); meant != "" {
			line = s.name + " = " + meant
		}
	}
	return fmt.Errorf("%s must be %s: write %s", s.name, s.must, line)
}

func addressList(into *[]Address) kind {
	return kind{
		must:   "one text in double quotes, addresses separated by commas",
		bounds: fmt.Sprintf("Separated by commas, %d at most.", maxAddresses),
		store: func(value any) (err error) {
			text, ok := value.(string)
			if !ok {
				return errUnsuitable
			}
			*into, err = ParseBind(text)
			return err
		},
	}
}

func addressListOrEmpty(into *[]Address) kind { return orEmpty(addressList(into)) }

func networkList(into *[]netip.Prefix) kind {
	return orEmpty(kind{
		must:   "one text in double quotes, networks separated by commas",
		bounds: fmt.Sprintf("Separated by commas, %d at most.", maxNetworks),
		store: func(value any) (err error) {
			text, ok := value.(string)
			if !ok {
				return errUnsuitable
			}
			*into, err = parseNetworks(text)
			return err
		},
	})
}

func hostList(into *[]string) kind {
	return orEmpty(kind{
		must:   "one text in double quotes, hosts separated by commas",
		bounds: fmt.Sprintf("Separated by commas, %d at most.", maxHosts),
		store: func(value any) (err error) {
			text, ok := value.(string)
			if !ok {
				return errUnsuitable
			}
			*into, err = parseHosts(text)
			return err
		},
	})
}

func keyList(into *[]Key) kind {
	return kind{
		must: "a text in double quotes, or an array of such texts while keys are rotated",
		store: func(value any) (err error) {
			if text, ok := value.(string); ok {
				value = []any{text}
			}
			list, ok := value.([]any)
			if !ok {
				return errUnsuitable
			}
			*into, err = parseKeys(list)
			return err
		},
	}
}

func absolutePath(into *string) kind {
	return kind{
		must:   "an absolute path in double quotes",
		bounds: "An absolute path.",
		store: func(value any) error {
			text, ok := value.(string)
			if !ok || !path.IsAbs(text) || strings.ContainsFunc(text, Unprintable) {
				return errUnsuitable
			}
			*into = text
			return nil
		},
	}
}

func pathOrEmpty(into *string) kind { return orEmpty(absolutePath(into)) }

// orEmpty is a kind for which the empty text means the default.
func orEmpty(k kind) kind {
	store := k.store
	k.store = func(value any) error {
		if value == "" {
			return nil
		}
		return store(value)
	}
	return k
}

func variables(into *Environment) kind {
	return kind{
		must: "a table of texts in double quotes",
		store: func(value any) (err error) {
			table, ok := value.(map[string]any)
			if !ok {
				return errUnsuitable
			}
			*into, err = parseEnvironment(table)
			return err
		},
	}
}

func duration(into *time.Duration, low, high time.Duration) kind {
	return kind{
		must:   fmt.Sprintf("a duration in double quotes, from %s to %s", short(low), short(high)),
		bounds: fmt.Sprintf("A duration from %q to %q.", short(low), short(high)),
		store: func(value any) error {
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
		},
		meant: func(text string) string {
			text = strings.ReplaceAll(text, " ", "")
			if _, err := strconv.Atoi(text); err == nil {
				text += "s"
			} else if days, err := strconv.Atoi(strings.TrimSuffix(text, "d")); err == nil {
				text = fmt.Sprintf("%dh", 24*days)
			}
			if d, err := time.ParseDuration(text); err != nil || d < low || d > high {
				return ""
			}
			return strconv.Quote(text)
		},
	}
}

// short writes 1h where time.Duration writes 1h0m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func number[T integer](into *T, low, high int64) kind {
	return kind{
		must:   fmt.Sprintf("a whole number without quotes, from %d to %d", low, high),
		bounds: fmt.Sprintf("A number from %d to %d.", low, high),
		store:  storeNumber(into, low, high),
		meant:  func(text string) string { return meantNumber(text, "", low, high) },
	}
}

func byteCount[T integer](into *T, low, high int64) kind {
	return kind{
		must:   fmt.Sprintf("a whole number of bytes without quotes, from %d to %d", low, high),
		bounds: fmt.Sprintf("A number of bytes from %s to %s.", binary(low), binary(high)),
		store:  storeNumber(into, low, high),
		meant:  func(text string) string { return meantNumber(text, "KMGT", low, high) },
	}
}

// memory is a number of bytes, 0 for no limit. Less than exec.MinMemory would let no shell start.
func memory[T integer](into *T) kind {
	k := byteCount(into, exec.MinMemory, maxMemory)
	k.must = "0, or " + k.must
	k.bounds = "0, or a" + strings.TrimPrefix(k.bounds, "A")
	return orZero(into, k)
}

// orZero is a kind for which 0 means that there is no limit.
func orZero[T integer](into *T, k kind) kind {
	store := k.store
	k.store = func(value any) error {
		if value == 0 || value == int64(0) {
			*into = 0
			return nil
		}
		return store(value)
	}
	return k
}

// processors is a number of processors, stored in thousandths.
func processors(into *uint64) kind {
	const low, high = float64(exec.MinMilliCPU) / 1000, 1024
	return orZero(into, kind{
		must:   fmt.Sprintf("0, or a number without quotes from %g to %d", low, high),
		bounds: fmt.Sprintf("0, or a number from %g to %d.", low, high),
		store: func(value any) error {
			n, ok := value.(float64)
			if whole, isWhole := value.(int64); isWhole {
				n, ok = float64(whole), true
			}
			if !ok || !(n == 0 || n >= low && n <= high) {
				return errUnsuitable
			}
			*into = uint64(math.Round(n * 1000))
			return nil
		},
		meant: func(text string) string {
			n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			if err != nil || !(n >= low && n <= high) {
				return ""
			}
			return strconv.FormatFloat(n, 'f', -1, 64)
		},
	})
}

// meantNumber reads digits with one of the binary units, as in 8M, 8 MB or 8MiB.
func meantNumber(text, units string, low, high int64) string {
	text = strings.ToUpper(strings.ReplaceAll(text, " ", ""))
	if units != "" {
		text = strings.TrimSuffix(strings.TrimSuffix(text, "B"), "I")
	}
	shift := 0
	if end := len(text) - 1; end > 0 {
		if at := strings.IndexByte(units, text[end]); at >= 0 {
			text, shift = text[:end], 10*(at+1)
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > high>>shift || n<<shift < low {
		return ""
	}
	return strconv.FormatInt(n<<shift, 10)
}

// binary adds the number in a binary unit: 1024 (1 KiB).
func binary(n int64) string {
	text := strconv.FormatInt(n, 10)
	for exponent, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if in := n >> (10 * (exponent + 1)); 0 < in && in < 1024 {
			return fmt.Sprintf("%s (%d %s)", text, in, unit)
		}
	}
	return text
}

// integer is the type of a field that holds a number from 0 on.
type integer interface{ int | int64 | uint64 }

func storeNumber[T integer](into *T, low, high int64) func(any) error {
	return func(value any) error {
		n, ok := value.(int64)
		if initial, fromTable := value.(int); fromTable {
			n, ok = int64(initial), true
		}
		if !ok || n < low || n > high {
			return errUnsuitable
		}
		*into = T(n)
		return nil
	}
}

func boolean(into *bool) kind {
	return kind{
		must: "true or false, without quotes",
		store: func(value any) error {
			b, ok := value.(bool)
			if !ok {
				return errUnsuitable
			}
			*into = b
			return nil
		},
	}
}

// option is a word of the file for a value.
type option[T any] struct {
	word  string
	value T
}

// choice is the kind of a setting with a few possible words.
func choice[T any](into *T, options ...option[T]) kind {
	words := make([]string, len(options))
	for i, o := range options {
		words[i] = strconv.Quote(o.word)
	}
	last := len(words) - 1
	return kind{
		must: strings.Join(words[:last], ", ") + " or " + words[last],
		store: func(value any) error {
			at := slices.IndexFunc(options, func(o option[T]) bool { return o.word == value })
			if at < 0 {
				return errUnsuitable
			}
			*into = options[at].value
			return nil
		},
	}
}
