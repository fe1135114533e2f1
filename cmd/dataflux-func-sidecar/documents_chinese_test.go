package main_test

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// part is a heading of a document and what stands below it, up to the next heading.
type part struct {
	level, heading, text string
	anchor               string // of a line before the heading; only the Chinese text has them
}

var (
	codeFence   = regexp.MustCompile("(?ms)^```.*?^```$")
	headingLine = regexp.MustCompile(`(?m)^(?:<a id="([^"]+)"></a>\n\n)?(#+) (.+)$`)
	fingerprint = regexp.MustCompile(`<!-- en ([0-9a-f]{8}) -->\n`)
)

// parts splits a document at its headings. A line of code that begins with # is none.
func parts(text string) []part {
	outline := codeFence.ReplaceAllStringFunc(text, func(block string) string { return strings.ReplaceAll(block, "#", "\x00") })
	var all []part
	found := headingLine.FindAllStringSubmatchIndex(outline, -1)
	for i, at := range found {
		end := len(text)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		p := part{level: text[at[4]:at[5]], heading: text[at[6]:at[7]], text: text[at[1]:end]}
		if at[2] >= 0 {
			p.anchor = text[at[2]:at[3]]
		}
		all = append(all, p)
	}
	return all
}

func hash(p part) string {
	sum := sha256.Sum256([]byte(p.level + p.heading + "\n" + strings.TrimSpace(p.text)))
	return hex.EncodeToString(sum[:4])
}

func TestTheChineseReadmeFollowsTheEnglishOne(t *testing.T) {
	t.Parallel()
	english, chinese := parts(document(t, "README.md")), parts(document(t, "README.zh-CN.md"))
	if len(english) < 10 || len(english) != len(chinese) {
		t.Fatalf("README.md has %d headings, README.zh-CN.md has %d", len(english), len(chinese))
	}
	for i := range english {
		checkTranslation(t, english[i], chinese[i])
	}
}

func checkTranslation(t *testing.T, english, chinese part) {
	t.Helper()
	if chinese.level != english.level || english.level != "#" && chinese.anchor != anchor(english.heading) {
		t.Errorf("%q is at %s %q with the anchor %q, want %q", english.heading, chinese.level, chinese.heading, chinese.anchor, anchor(english.heading))
	}
	if mark := fingerprint.FindStringSubmatch(chinese.text); mark == nil || mark[1] != hash(english) {
		t.Errorf("%q has changed since it was translated: translate what changed, then write <!-- en %s --> below %q", english.heading, hash(english), chinese.heading)
	}
	for what, of := range map[string]func(string) []string{
		"blocks of code": codeWithoutComments, "names in `quotes`": quotedNames, "links": linkTargets, "rows of tables": tableRows,
	} {
		if en, zh := of(english.text), of(chinese.text); !slices.Equal(en, zh) {
			t.Errorf("%q has other %s:\nEnglish %q\nChinese %q", english.heading, what, en, zh)
		}
	}
}

func codeWithoutComments(text string) []string {
	comments := regexp.MustCompile(`(?m)\s+# .*$`)
	var blocks []string
	for _, block := range codeFence.FindAllString(text, -1) {
		if !strings.HasPrefix(block, "```text\nsystemd") { // the diagram is prose
			block = comments.ReplaceAllString(block, "")
			blocks = append(blocks, block)
		}
	}
	return blocks
}

// quotedNames are sorted, as the order of words differs.
func quotedNames(text string) []string {
	return sorted(found(codeFence.ReplaceAllString(text, ""), "`([^`]+)`"))
}

// linkTargets leaves out what leads from one language to the other.
func linkTargets(text string) []string {
	targets := sorted(found(text, `\]\(([^)\s]+)\)`))
	return slices.DeleteFunc(targets, func(target string) bool { return strings.HasPrefix(target, "README.") })
}

// tableRows are the names in the first column of each row: the key of a configuration, a folder, a module.
func tableRows(text string) []string {
	var rows []string
	for _, cell := range found(text, `(?m)^\| ([^|]*) \|`) {
		rows = append(rows, strings.Join(sorted(found(cell[0], "`([^`]+)`")), " "))
	}
	return rows
}

func sorted(matches [][]string) []string {
	var all []string
	for _, match := range matches {
		all = append(all, match[0])
	}
	slices.Sort(all)
	return all
}
