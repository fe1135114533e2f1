package client

import (
	"strconv"
	"strings"
	"unicode"
)

// shownFailure is how many characters of a reason are shown.
const shownFailure = 60

// Ending is the exit status as it was, or what took its place.
func (j Job) Ending() string {
	text := "-"
	switch {
	case j.Failure != "":
		return "not started: " + OneLine(j.Failure, shownFailure)
	case j.ExitCode != nil:
		text = strconv.Itoa(*j.ExitCode)
	case j.Signal != nil:
		text = *j.Signal
	}
	if j.Ended != "" && j.Ended != "exited" {
		text += " (" + j.Ended + ")"
	}
	return text
}

// OneLine shows a text of others so that it can neither break the table nor steer the terminal.
func OneLine(text string, most int) string {
	var line strings.Builder
	count := 0
	for _, r := range text {
		if count++; most > 0 && count > most {
			return line.String() + "…"
		}
		if unicode.IsPrint(r) {
			line.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		line.WriteString(quoted[1 : len(quoted)-1])
	}
	return line.String()
}
