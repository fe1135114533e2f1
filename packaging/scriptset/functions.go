package main

import (
	"fmt"
	"regexp"
	"strings"
)

// The forms in which the scripts of connector/ publish a function:
//
//	@DFF.API('title')
//	def name(required, optional='text'):
//	    """A docstring, or none."""
//
// A test compares what is read here with what Python's own parser reads.
var (
	published = regexp.MustCompile(`(?m)^@DFF\.API\('([^'\\\n]+)'\)\n` +
		`def ([a-z_]+)\(([^()\n]*)\):\n(?:    """([^"\\]+)"""\n)?`)
	oneParameter = regexp.MustCompile(`^([a-z_]+)(?:='([^'\\]*)')?$`)
	useOfAPI     = regexp.MustCompile(`(?m)^@DFF\.API\b`)
)

// publishedFunctions finds the functions that a script publishes. Any other use of DFF.API is an
// error.
func publishedFunctions(scriptID, code string) ([]function, error) {
	functions := []function{}
	for _, match := range published.FindAllStringSubmatch(code, -1) {
		f := function{
			ID: scriptID + "." + match[2], Name: match[2], Title: match[1],
			Definition: match[2] + "(" + match[3] + ")", Category: "general",
			Args: []string{}, DefOrder: len(functions),
		}
		if match[4] != "" {
			text := withoutIndent(match[4])
			f.Description = &text
		}
		for text := range strings.SplitSeq(match[3], ", ") {
			if text == "" {
				continue
			}
			found := oneParameter.FindStringSubmatch(text)
			if found == nil {
				return nil, fmt.Errorf("cannot read the parameter %q of %s in %s; hint: give it "+
					"no default or a plain text without a comma", text, f.Name, scriptID)
			}
			p := parameter{name: found[1]}
			if strings.Contains(text, "=") {
				p.Default = &found[2]
			}
			f.Args, f.Kwargs = append(f.Args, p.name), append(f.Kwargs, p)
		}
		functions = append(functions, f)
	}
	if uses := len(useOfAPI.FindAllString(code, -1)); uses != len(functions) {
		return nil, fmt.Errorf("%s has %d functions with @DFF.API, and %d in the form that is read",
			scriptID, uses, len(functions))
	}
	return functions, nil
}

// withoutIndent removes the indent of a function's body from the later lines of its docstring.
func withoutIndent(docstring string) string {
	return strings.TrimSpace(strings.ReplaceAll(docstring, "\n    ", "\n"))
}
