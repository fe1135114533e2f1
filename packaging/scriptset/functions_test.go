package main

import (
	"strings"
	"testing"
)

// connector/test_scriptset.py compares the functions of the shipped scripts with Python's parser.
func TestPublishedFunctions_Refused(t *testing.T) {
	for name, code := range map[string]string{
		"two lines":         "@DFF.API('a')\ndef f(a,\n      b):\n    pass\n",
		"another quote":     "@DFF.API(\"a\")\ndef f():\n    pass\n",
		"options":           "@DFF.API('a', timeout=5)\ndef f():\n    pass\n",
		"another decorator": "@DFF.API('a')\n@other\ndef f():\n    pass\n",
		"a number":          "@DFF.API('a')\ndef f(a=5):\n    pass\n",
		"a comma":           "@DFF.API('a')\ndef f(a='b, c'):\n    pass\n",
		"an annotation":     "@DFF.API('a')\ndef f(a: str):\n    pass\n",
		"arguments":         "@DFF.API('a')\ndef f(*a):\n    pass\n",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := publishedFunctions("x", code)
			if err == nil {
				t.Errorf("got %+v, want an error", got)
			}
		})
	}
}

func TestPublishedFunctions_Read(t *testing.T) {
	const code = "import x\n\n\n@DFF.API('Do it')\ndef f(b, a='c d', e=''):\n" +
		"    \"\"\"First.\n\n    Second.\n    \"\"\"\n    pass\n\n\n@DFF.API('g')\ndef g():\n    pass\n"
	got, err := publishedFunctions("x__y", code)
	if err != nil || len(got) != 2 {
		t.Fatalf("got %+v, %v", got, err)
	}
	text := string(encode(got[0], ""))
	for _, want := range []string{
		`"id":"x__y.f","name":"f","title":"Do it","description":"First.\n\nSecond.",`,
		`"definition":"f(b, a='c d', e='')","argsJSON":["b","a","e"],` +
			`"kwargsJSON":{"b":{},"a":{"default":"c d"},"e":{"default":""}},"extraConfigJSON":{},`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("got %s, want it to have %s", text, want)
		}
	}
	text = string(encode(got[1], ""))
	if want := `"description":null,"definition":"g()","argsJSON":[],"kwargsJSON":{},`; !strings.Contains(text, want) {
		t.Errorf("got %s, want it to have %s", text, want)
	}
}
