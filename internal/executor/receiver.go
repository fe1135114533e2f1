package executor

import (
	"fmt"

	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/privsep/message"
)

// answer is what an attempt says about the ones after it.
type answer int

const (
	answerNone     answer = iota // the receiver was not asked
	answerAccepted               // 2xx
	answerRefused                // the same attempt will hardly succeed later
	answerTooLarge               // the same attempt will not succeed, a shorter one may
	answerRaised                 // Func's function ran, and failed
	answerOther                  // none of these: the same attempt may succeed later
)

const (
	statusRequestTimeout  = 408
	statusTooLarge        = 413
	statusTooEarly        = 425
	statusTooManyRequests = 429
	statusRaised          = 599 // of Func: its function raised an exception, or ran too long
)

func answerOf(outcome message.Outcome, err error) answer {
	switch status := outcome.Status; {
	case err != nil:
		return answerNone
	case status >= 200 && status < 300:
		return answerAccepted
	case status == statusRaised:
		return answerRaised
	case status == statusRequestTimeout, status == statusTooEarly, status == statusTooManyRequests:
		return answerOther
	case status == statusTooLarge:
		return answerTooLarge
	case status >= 400 && status < 500:
		return answerRefused
	}
	return answerOther
}

// failure is why an attempt failed; the text is empty if none did.
type failure struct {
	Text    string
	Foreign bool // it is from the network role
}

// String is for the journal, in which foreign text is quoted.
func (f failure) String() string {
	if f.Foreign {
		return journal.Quote(f.Text, maxForeign)
	}
	return f.Text
}

// maxForeign bounds foreign text in an entry, in bytes.
const maxForeign = 300

func failureOf(outcome message.Outcome, err error) failure {
	switch {
	case err != nil:
		return failure{Text: err.Error()}
	case outcome.Error != "":
		return failure{outcome.Error, true}
	case outcome.Status >= 300 && outcome.Status < 400:
		return failure{Text: fmt.Sprintf("the receiver redirects (HTTP %d), which is not "+
			"followed: give the final URL", outcome.Status)}
	case outcome.Status == statusRaised:
		return failure{Text: fmt.Sprintf("the receiver answered HTTP %d: Func ran the function, "+
			"which raised an exception or took too long, and it is not run again; the task "+
			"records of the API in Func say why", outcome.Status)}
	}
	return failure{Text: fmt.Sprintf("the receiver answered HTTP %d", outcome.Status)}
}
