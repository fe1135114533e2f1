package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"dataflux-func-sidecar/internal/client"
	"dataflux-func-sidecar/internal/escape"
)

const versionUsage = `version [OPTIONS]

Prints the version of this program, and with --url also that of the Sidecar there, without a key.`

// versions is what --json prints.
type versions struct {
	Version     string  `json:"version"`
	ReleaseDate string  `json:"releaseDate"`
	Remote      *remote `json:"remote,omitempty"`
}

type remote struct {
	URL         string `json:"url"`
	Version     string `json:"version"`
	ReleaseDate string `json:"releaseDate"`
}

func runVersion(args []string, t terminal) int {
	flags := t.newFlags("version", versionUsage)
	var o targetOptions
	o.registerURL(flags, "")
	asJSON := flags.Bool("json", false, "print one JSON document")
	if err := t.parseOptions(flags, args); err != nil {
		return t.misused("version", err, statusUsage)
	}
	v := versions{Version: version, ReleaseDate: releaseDate}
	if o.url != "" {
		var err error
		if v.Remote, err = o.askVersion(); err != nil {
			t.callFailed(err, "")
			return statusError
		}
	}
	t.printVersions(v, *asJSON)
	return 0
}

func (o *targetOptions) askVersion() (*remote, error) {
	target, err := o.target()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(context.Background(), maxAnswerTime)
	defer stop()
	welcome, err := client.New(target, client.Key{}).Welcome(ctx)
	if err != nil {
		return nil, err
	}
	r := &remote{URL: target.String()}
	for line := range strings.Lines(welcome) {
		if text, found := strings.CutPrefix(line, "* Version: "); found {
			r.Version = strings.TrimSpace(text)
		} else if text, found := strings.CutPrefix(line, "* Release Date: "); found {
			r.ReleaseDate = strings.TrimSpace(text)
		}
	}
	return r, nil
}

func (t terminal) printVersions(v versions, asJSON bool) {
	if asJSON {
		text, _ := json.Marshal(v) // cannot fail: it has strings only
		fmt.Fprintf(t.stdout, "%s\n", escape.JSON(text))
		return
	}
	fmt.Fprintf(t.stdout, "dataflux-func-sidecar %s (released %s)\n", v.Version, v.ReleaseDate)
	if v.Remote != nil {
		fmt.Fprintf(t.stdout, "%s: %s (released %s)\n", v.Remote.URL,
			escape.Line(v.Remote.Version, 0), escape.Line(v.Remote.ReleaseDate, 0))
	}
}
