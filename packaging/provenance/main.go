// Provenance prints how a release was built: an in-toto statement with SLSA provenance (version 1)
// about the files of a list of checksums on standard input. packaging/dist.sh calls it.
//
// What it says of Go and of the modules is read from the built program. There is no time and no
// host in it: the same source gives the same bytes.
package main

import (
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

const (
	buildType = "urn:dataflux-func-sidecar:make-dist:1"
	// builderID stands for any machine on which somebody has run `make dist`.
	builderID = "urn:dataflux-func-sidecar:make-dist:not-isolated"
	note      = "Written by make dist on the machine of the person who made the release. The " +
		"build was not isolated and nobody else attests it: this is SLSA Build Level 1. To " +
		"verify it, build the same source with the same tools: all files have the same bytes, " +
		"this one only if the commit is known there too."
)

type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     predicate `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

type predicate struct {
	BuildDefinition buildDefinition `json:"buildDefinition"`
	RunDetails      runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	BuildType            string         `json:"buildType"`
	ExternalParameters   map[string]any `json:"externalParameters"`
	InternalParameters   map[string]any `json:"internalParameters"`
	ResolvedDependencies []dependency   `json:"resolvedDependencies"`
}

type dependency struct {
	Name        string            `json:"name,omitempty"`
	URI         string            `json:"uri,omitempty"`
	Digest      map[string]string `json:"digest,omitempty"`
	Annotations map[string]any    `json:"annotations,omitempty"`
}

type runDetails struct {
	Builder map[string]string `json:"builder"`
}

// facts are what dist.sh tells.
type facts struct {
	program, version, commit, url string
	modified, packages            bool
	epoch                         int64
	tools                         map[string]string
}

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "provenance:", err)
		os.Exit(1)
	}
}

func run(args []string, stdin io.Reader, stdout io.Writer) error {
	f, err := parse(args)
	if err != nil {
		return err
	}
	list, err := io.ReadAll(stdin)
	if err != nil {
		return err
	}
	s := statement{
		Type: "https://in-toto.io/Statement/v1", PredicateType: "https://slsa.dev/provenance/v1",
	}
	if s.Subject, err = subjects(string(list)); err != nil {
		return err
	}
	if s.Predicate, err = f.predicate(); err != nil {
		return err
	}
	out := json.NewEncoder(stdout)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(s)
}

func parse(args []string) (f facts, err error) {
	f.tools = map[string]string{}
	flags := flag.NewFlagSet("provenance", flag.ContinueOnError)
	flags.StringVar(&f.program, "program", "", "the built program")
	flags.StringVar(&f.version, "version", "", "of the release")
	flags.StringVar(&f.commit, "commit", "", "of the source; empty: not known")
	flags.BoolVar(&f.modified, "modified", false, "the source differs from the commit")
	flags.BoolVar(&f.packages, "packages", false, "the release has packages")
	flags.StringVar(&f.url, "download-url", "", "DOWNLOAD_URL")
	flags.Int64Var(&f.epoch, "epoch", 0, "SOURCE_DATE_EPOCH")
	flags.Func("tool", "NAME=VERSION", func(text string) error {
		name, version, found := strings.Cut(text, "=")
		if !found || version == "" {
			return errors.New("a tool has a name and a version")
		}
		f.tools[name] = version
		return nil
	})
	return f, flags.Parse(args)
}

var listLine = regexp.MustCompile(`^([0-9a-f]{64}) [ *](\S+)$`)

func subjects(list string) (all []subject, err error) {
	for line := range strings.Lines(list) {
		match := listLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if match == nil {
			return nil, fmt.Errorf("%q is no line of checksums", line)
		}
		all = append(all, subject{match[2], map[string]string{"sha256": match[1]}})
	}
	if len(all) == 0 {
		return nil, errors.New("the list of checksums is empty")
	}
	return all, nil
}

func (f facts) predicate() (p predicate, err error) {
	info, err := buildinfo.ReadFile(f.program)
	if err != nil {
		return p, err
	}
	f.tools["go"] = info.GoVersion
	source := dependency{Name: "source", Annotations: map[string]any{"known": f.commit != ""}}
	if f.commit != "" {
		source.Digest = map[string]string{"gitCommit": f.commit}
		source.Annotations["modified"] = f.modified
	}
	dependencies := []dependency{source}
	for _, module := range info.Deps {
		hash, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(module.Sum, "h1:"))
		if err != nil || len(hash) == 0 {
			return p, fmt.Errorf("the module %s has no checksum", module.Path)
		}
		dependencies = append(dependencies, dependency{
			URI:    "pkg:golang/" + module.Path + "@" + module.Version,
			Digest: map[string]string{"dirHash1": hex.EncodeToString(hash)},
		})
	}
	return predicate{
		BuildDefinition: buildDefinition{
			BuildType: buildType,
			ExternalParameters: map[string]any{
				"version": f.version, "packages": f.packages, "downloadURL": f.url,
				"sourceDateEpoch": f.epoch,
			},
			InternalParameters: map[string]any{
				"isolated": false, "note": note, "tools": f.tools,
			},
			ResolvedDependencies: dependencies,
		},
		RunDetails: runDetails{Builder: map[string]string{"id": builderID}},
	}, nil
}
