package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

var commented = regexp.MustCompile(`(?m)^#([A-Z_]+ = .*)$`)

func reference(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("reference.toml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestTheReferenceFileStatesTheDefaultsOfTheCode(t *testing.T) {
	text := commented.ReplaceAllString(reference(t), "$1")
	if _, err := Parse("reference.toml", []byte(text)); err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.Contains(err.Error(), "SECRET_KEY is empty") {
		t.Errorf("nothing but the key may be missing: %v", err)
	}
	got := mustParse(t, strings.Replace(text, `SECRET_KEY = ""`, `SECRET_KEY = "k"`, 1))
	want := Default()
	want.Keys = []Key{Key("k")}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the reference file says %+v\nthe code              %+v", got, want)
	}
}

func TestTheReferenceFileHasEveryKeyInOrder(t *testing.T) {
	var there, known []string
	for _, match := range commented.FindAllStringSubmatch(reference(t), -1) {
		name, _, _ := strings.Cut(match[1], " ")
		there = append(there, name)
	}
	c := Default()
	for _, s := range settings(&c) {
		known = append(known, s.name)
	}
	if !reflect.DeepEqual(there, known) {
		t.Errorf("the file has %v\nthe code     %v", there, known)
	}
	if fields := reflect.TypeFor[Config]().NumField(); fields != len(known) {
		t.Errorf("%d fields, but %d keys", fields, len(known))
	}
}

var bounded = regexp.MustCompile(`from (\S+) to (\S+)$`)

func TestTheReferenceFileStatesTheBoundsOfTheCode(t *testing.T) {
	paragraphs := strings.Split(reference(t), "\n\n")
	c := Default()
	for _, s := range settings(&c) {
		bounds := bounded.FindStringSubmatch(s.must)
		for _, paragraph := range paragraphs {
			if bounds == nil || !strings.Contains(paragraph, "\n#"+s.name+" = ") {
				continue
			}
			for _, bound := range bounds[1:] {
				if !regexp.MustCompile(`[ "]` + bound + `["., ]`).MatchString(paragraph) {
					t.Errorf("%s: %s is not stated in\n%s", s.name, bound, paragraph)
				}
			}
		}
	}
}

func TestEveryExampleInAMessageIsAccepted(t *testing.T) {
	c := Default()
	for _, s := range settings(&c) {
		text := s.line()
		if s.name != "SECRET_KEY" {
			text += "\nSECRET_KEY=\"k\""
		}
		switch s.name { // these two go together
		case "TLS_CERTIFICATE":
			text += "\nTLS_KEY = \"/k\""
		case "TLS_KEY":
			text += "\nTLS_CERTIFICATE = \"/c\""
		}
		mustParse(t, text)
	}
}
