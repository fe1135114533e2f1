package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"dataflux-func-sidecar/internal/client"
	"dataflux-func-sidecar/internal/escape"
)

const actionsUsage = `actions [OPTIONS]

Lists the actions that the key may run, with the pattern of each variable; a variable in brackets
may be left out. "run" runs one.`

// maxShownPattern bounds a pattern in the table, in characters. --json has all of it.
const maxShownPattern = 40

func runActions(args []string, t terminal) int {
	var o targetOptions
	flags := t.newFlags("actions", actionsUsage)
	o.register(flags)
	flags.Lookup("quiet").Usage = "print only the names, and no notes"
	asJSON := flags.Bool("json", false, "print the data of the answer as one JSON document")
	if err := t.parseOptions(flags, args); err != nil {
		return t.misused("actions", err, statusUsage)
	}
	c, source, err := o.connect(t)
	if err != nil {
		t.sayError(err)
		return statusError
	}
	t.quiet = o.quiet
	ctx, stop := context.WithTimeout(context.Background(), maxAnswerTime)
	defer stop()
	if *asJSON {
		data, err := c.Raw(ctx, "GET", client.ActionsPath, nil)
		if err == nil {
			_, err = fmt.Fprintf(t.stdout, "%s\n", data)
		}
		return t.answered(err, source)
	}
	may, err := c.Actions(ctx)
	if err == nil {
		err = t.showActions(may)
	}
	return t.answered(err, source)
}

// answered reports a failed call, and returns the exit status.
func (t terminal) answered(err error, source string) int {
	if err != nil {
		t.callFailed(err, source)
		return statusError
	}
	return 0
}

func (t terminal) showActions(may client.Permissions) error {
	if t.quiet {
		for _, action := range may.Actions {
			fmt.Fprintln(t.stdout, action.Name)
		}
		return nil
	}
	if len(may.Actions) > 0 {
		if err := printActions(t.stdout, may.Actions, columns(t.stdout.to)); err != nil {
			return err
		}
	}
	switch {
	case may.AnyCommand:
		t.note("the key %s may run any command as well", may.Key)
	case len(may.Actions) == 0:
		t.note("the key %s may run nothing", may.Key)
	}
	if may.ExpiresAt != nil {
		t.note("the key %s expires %s", may.Key, untilExpiry(*may.ExpiresAt, time.Now()))
	}
	return nil
}

// printActions writes a table, whose lines are cut to width columns if that is positive.
func printActions(to io.Writer, actions []client.Action, width int) error {
	return printTable(to, width, func(table *tabwriter.Writer) {
		fmt.Fprintln(table, "NAME\tTIMEOUT\tONE AT A TIME\tVARIABLES\tDESCRIPTION")
		for _, a := range actions {
			timeout := "-"
			if a.Timeout > 0 {
				timeout = time.Duration(a.Timeout * float64(time.Second)).String()
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", a.Name, timeout, orDash(a.OneAtATime),
				orDash(strings.Join(patterns(a), " ")), orDash(a.Description))
		}
	})
}

func patterns(action client.Action) (texts []string) {
	if action.Stdin {
		texts = append(texts, "[--stdin]")
	}
	for _, v := range action.Variables {
		text := v.Name + "=" + escape.Line(v.Pattern, maxShownPattern)
		if !v.Required {
			text = "[" + text + "]"
		}
		texts = append(texts, text)
	}
	return texts
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
