package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"unicode"

	"golang.org/x/sys/unix"

	"dataflux-func-sidecar/internal/client"
	"dataflux-func-sidecar/internal/escape"
)

// terminal is what a subcommand reads from and writes to.
type terminal struct {
	stdin  io.Reader
	stdout *output
	stderr io.Writer
	quiet  bool // print no notes
}

// output is standard output. It keeps the first error, so that subcommands need not check each
// write.
type output struct {
	to       io.Writer
	err      error
	reported bool
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.to.Write(p)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// lostOutput returns whether a write to standard output failed, and reports the error once.
func (t terminal) lostOutput() bool {
	o := t.stdout
	if o.err != nil && !o.reported {
		o.reported = true
		t.fail("not all could be written: %v", o.err)
	}
	return o.err != nil
}

// The labels of messages, each with its color on a terminal (SGR parameters; empty: none).
const (
	labelError   = "error"
	labelWarning = "warning"
	labelNote    = "note"
	labelHint    = "hint"
)

var labelColors = map[string]string{labelError: "1;31", labelWarning: "1;33", labelHint: "36"}

// fail reports why something was not done.
func (t terminal) fail(format string, args ...any) { t.message(labelError, format, args...) }

// warn reports what a user has to know although the call goes on or succeeds.
func (t terminal) warn(format string, args ...any) { t.message(labelWarning, format, args...) }

// note reports what is of use to people only. --quiet suppresses it, with its hints.
func (t terminal) note(format string, args ...any) {
	if !t.quiet {
		t.message(labelNote, format, args...)
	}
}

// hint says what to do about the message before.
func (t terminal) hint(format string, args ...any) { t.message(labelHint, format, args...) }

// message writes to standard error, which is for people; standard output is for programs. A line of
// the text that begins with "hint: " is a message of that label. The text is escaped as a whole:
// text of others that an error quotes cannot control the terminal.
func (t terminal) message(label, format string, args ...any) {
	text := escape.Lines(fmt.Sprintf(format, args...))
	for _, part := range strings.Split(text, "\n"+labelHint+": ") {
		fmt.Fprintf(t.stderr, "%s %s\n", colored(t.stderr, label+":", labelColors[label]), part)
		label = labelHint
	}
}

// sayError reports an error of this host. Its hint gets a line of its own.
func (t terminal) sayError(err error) {
	t.fail("%s", splitHint(err))
}

func splitHint(err error) string {
	return strings.ReplaceAll(err.Error(), "; hint: ", "\nhint: ")
}

// callFailed reports why a call failed, unless lost output is the cause.
func (t terminal) callFailed(err error, keySource string) {
	if !t.lostOutput() {
		t.fail("%s", client.Explain(err, keySource))
	}
}

// colored returns the text in a color if w is a terminal that shows colors and NO_COLOR is not set
// (source: https://no-color.org).
func colored(w io.Writer, text, color string) string {
	if color == "" || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || columns(w) < 0 {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// columns returns the width of a terminal, 0 if it is not known, and -1 if w is no terminal.
func columns(w io.Writer) int {
	file, isFile := w.(*os.File)
	if !isFile {
		return -1
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return -1
	}
	return int(size.Col)
}

// printTable writes what fill writes in columns. Width is that of the terminal, to which lines are
// cut if it is positive.
func printTable(to io.Writer, width int, fill func(table *tabwriter.Writer)) error {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fill(table)
	_ = table.Flush() // to memory
	for line := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(to, fit(strings.TrimSuffix(line, "\n"), width)); err != nil {
			return err
		}
	}
	return nil
}

// fit cuts a line of text to the width of a terminal in columns, if it is positive. An ellipsis
// replaces what does not fit.
func fit(line string, width int) string {
	if width <= 0 {
		return line
	}
	used, cut := 0, 0 // cut is where the ellipsis still fits
	for at, r := range line {
		if used <= width-1 {
			cut = at
		}
		if used += runeColumns(r); used > width {
			return line[:cut] + "…"
		}
	}
	return line
}

// runeColumns is in how many columns a terminal shows a character: Chinese, Japanese and Korean
// ones and emoji in two, marks on another character in none.
func runeColumns(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana),
		r >= 0x3000 && r <= 0x303f, r >= 0xff01 && r <= 0xff60, r >= 0x1f300 && r <= 0x1faff:
		return 2
	}
	return 1
}
