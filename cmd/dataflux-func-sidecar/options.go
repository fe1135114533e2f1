package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"dataflux-func-sidecar/internal/config"
)

// misused reports wrong usage of a subcommand and returns the exit status: status, or 0 if help was
// asked for and printed.
func (t terminal) misused(command string, err error, status int) int {
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	t.fail("%s: %s", command, splitHint(err))
	t.hint("`dataflux-func-sidecar help %s` lists the options", command)
	return status
}

// newFlags makes the options of a subcommand. The first line of usage is its synopsis.
func (t terminal) newFlags(name, usage string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // misused reports errors
	flags.Usage = func() {
		// Called for --help, and for errors, whose output is discarded.
		to := flags.Output()
		fmt.Fprintf(to, "Usage: dataflux-func-sidecar %s\n\nOptions:\n", usage)
		flags.VisitAll(func(f *flag.Flag) { printOption(to, f) })
	}
	return flags
}

// printOption is PrintDefaults of package flag with two dashes.
func printOption(to io.Writer, f *flag.Flag) {
	value, text := flag.UnquoteUsage(f)
	if value != "" {
		value = " " + value
	}
	if f.DefValue != "" && f.DefValue != "false" {
		text += " (default " + f.DefValue + ")"
	}
	fmt.Fprintf(to, "  --%s%s\n        %s\n", f.Name, value, text)
}

// parseArguments parses options before, between and after the arguments, and returns the arguments,
// with an error those before it. After -- everything is an argument. For --help it prints the usage
// on standard output and returns flag.ErrHelp.
func (t terminal) parseArguments(flags *flag.FlagSet, args []string) ([]string, error) {
	var arguments []string
	for {
		err := flags.Parse(args)
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(t.stdout)
			flags.Usage()
		}
		if err != nil {
			return arguments, explainOption(flags, err)
		}
		rest := flags.Args()
		if len(rest) == 0 {
			return arguments, nil
		}
		if parsed := len(args) - len(rest); parsed > 0 && args[parsed-1] == "--" {
			return append(arguments, rest...), nil
		}
		arguments, args = append(arguments, rest[0]), rest[1:]
	}
}

// unknownOption is an option that a subcommand does not have.
type unknownOption struct {
	name  string // without dashes
	meant string // the option that is meant; empty: not known
}

func (e *unknownOption) option() string {
	if len(e.name) == 1 {
		return "-" + e.name
	}
	return "--" + e.name
}

func (e *unknownOption) Error() string {
	text := "there is no option " + e.option()
	if e.meant != "" {
		text += "; hint: did you mean --" + e.meant + "?"
	}
	return text
}

// invalidValue matches the error of package flag for a value that an option refuses.
var invalidValue = regexp.MustCompile(
	`^invalid (?:boolean )?value (".*") for (?:flag )?-(\S+): (.*)$`)

// explainOption writes an error of package flag as this program writes options.
func explainOption(flags *flag.FlagSet, err error) error {
	text := err.Error()
	if name, found := strings.CutPrefix(text, "flag provided but not defined: -"); found {
		known := []string{"help"}
		flags.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
		return &unknownOption{name, config.Closest(name, known)}
	}
	if name, found := strings.CutPrefix(text, "flag needs an argument: -"); found {
		return fmt.Errorf("--%s needs a value", name)
	}
	if parts := invalidValue.FindStringSubmatch(text); parts != nil {
		return fmt.Errorf("--%s %s: %s", parts[2], parts[1], parts[3])
	}
	return err
}

// errArguments does not repeat the argument, which may be a key.
var errArguments = errors.New("it takes no arguments, only options")

// parseOptions is parseArguments for a subcommand without arguments.
func (t terminal) parseOptions(flags *flag.FlagSet, args []string) error {
	arguments, err := t.parseArguments(flags, args)
	if err == nil && len(arguments) > 0 {
		err = errArguments
	}
	return err
}

// given says whether an option was on the command line.
func given(flags *flag.FlagSet, name string) (found bool) {
	flags.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

var errEmpty = errors.New("it is empty: give it a value, or leave the option out")

// nonEmpty is the value of an option that must not be empty: an unset variable in a script must not
// select the default, which may be another host.
func nonEmpty(to *string) func(string) error {
	return func(value string) error {
		if value == "" {
			return errEmpty
		}
		*to = value
		return nil
	}
}

// maxOptionFile bounds a file that an option names, in bytes.
const maxOptionFile = 16 << 20

// readFile reads a file that an option names. A larger one is refused: a device would never end.
func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, maxOptionFile+1))
	if err == nil && len(text) > maxOptionFile {
		err = fmt.Errorf("%s has more than %d MiB: name the right file", path, maxOptionFile>>20)
	}
	return text, err
}

// maxDuration bounds durations of options.
const maxDuration = 100 * 365 * 24 * time.Hour

// parseDuration parses seconds, such as 30 or 0.5, or a duration with units, such as 1h30m or 2d.
// It returns at least a millisecond.
func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	number, unit := text, time.Second
	if days, found := strings.CutSuffix(text, "d"); found {
		number, unit = days, 24*time.Hour
	}
	if n, notNumber := strconv.ParseFloat(number, 64); notNumber == nil {
		d, err = 0, nil
		if n *= float64(unit); n > 0 && n <= float64(maxDuration) { // not so for NaN
			d = time.Duration(n)
		}
	}
	if err != nil || d < time.Millisecond || d > maxDuration {
		return 0, errors.New("write seconds, or a duration such as 500ms, 30s, 1h30m or 2d")
	}
	return d, nil
}
