package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"dataflux-func-sidecar/client"
)

const versionUsage = `version [OPTIONS]

Prints the version of this program, and with --url that of the Sidecar there, which needs no key.`

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
	flags.Func("url", "`URL` of a Sidecar to ask: http://HOST:PORT, https://HOST:PORT or unix:/PATH", text(&o.url))
	flags.Func("ca", "`FILE` with the certificates (PEM) of the authorities to trust for https (default: those of this host)", text(&o.ca))
	asJSON := flags.Bool("json", false, "print one JSON document")
	arguments, err := t.parseArguments(flags, args)
	if err == nil && len(arguments) > 0 {
		err = fmt.Errorf("there is no argument %q", arguments[0])
		t.say("version: %v", err)
	}
	if err != nil {
		return refuseUsage(err, 2)
	}
	v := versions{Version: version, ReleaseDate: releaseDate}
	if o.url != "" {
		if v.Remote, err = o.askVersion(); err != nil {
			t.say("%s", client.Explain(err, ""))
			return 1
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
	ctx, stop := context.WithTimeout(context.Background(), lookTime)
	defer stop()
	welcome, err := client.New(target, nil).Welcome(ctx)
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
		text, _ := json.Marshal(v) // texts always have a JSON form
		fmt.Fprintf(t.stdout, "%s\n", text)
		return
	}
	fmt.Fprintf(t.stdout, "dataflux-func-sidecar %s (released %s)\n", v.Version, v.ReleaseDate)
	if v.Remote != nil {
		fmt.Fprintf(t.stdout, "%s: %s (released %s)\n", v.Remote.URL, client.OneLine(v.Remote.Version, 0), client.OneLine(v.Remote.ReleaseDate, 0))
	}
}
