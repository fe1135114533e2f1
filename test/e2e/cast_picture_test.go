package e2e

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

const (
	castPrompt = "$ "
	castMore   = "> "

	castColumns, castRows = 92, 28
	castLine, castMargin  = 18, 14 // pixels
	castWidth             = 760    // 92 columns of the widest usual monospace font, and the margins
)

// chunk is what a terminal has shown at once, at a time after the command was typed.
type chunk struct {
	at   time.Duration
	text string
}

// exchange is a command as the terminal echoes it, its output and the next prompt.
type exchange []chunk

func (e exchange) text() string {
	var all strings.Builder
	for _, o := range e {
		all.WriteString(o.text)
	}
	return all.String()
}

// recording is a terminal session. The pictures keep the times within an exchange; between two of
// them is time to read.
type recording []exchange

// readingTime is long enough to read most of what a command prints.
func (e exchange) readingTime() time.Duration {
	lines := strings.Count(e.text(), "\n")
	return min(1500*time.Millisecond+time.Duration(lines)*300*time.Millisecond, 7*time.Second)
}

// span is text of one line that appears at one time in one style.
type span struct {
	at          time.Duration
	style, text string
}

// screen is what a terminal shows, without an end of the scroll-back.
type screen struct {
	lines  [][]span
	column int
	style  string
	scroll []time.Duration // when each line beyond castRows begins
}

var (
	// The only control sequences that the program and journalctl send to a terminal.
	styleSequence = regexp.MustCompile(`^\x1b\[([0-9;]*)m`)
	castStyles    = map[string]string{
		"0": "", "32": "ok", "1;33": "warn", "1;31": "err",
		"0;1;39": "b", "0;1;38;5;185": "warn", "0;1;31": "err",
	}
)

func (s *screen) newLine(at time.Duration) {
	s.lines, s.column = append(s.lines, nil), 0
	if len(s.lines) > castRows {
		s.scroll = append(s.scroll, at)
	}
}

// write shows text. Lines break at castColumns, as in the terminal that was recorded.
func (s *screen) write(at time.Duration, text string) error {
	for text != "" {
		if sequence := styleSequence.FindStringSubmatch(text); sequence != nil {
			style, known := castStyles[sequence[1]]
			if !known {
				return fmt.Errorf("cannot draw the style %q", sequence[0])
			}
			s.style, text = style, text[len(sequence[0]):]
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		text = text[size:]
		switch {
		case r == '\n':
			s.newLine(at)
		case r == '\r':
		case r < ' ' || r == utf8.RuneError:
			return fmt.Errorf("cannot draw the character %q", r)
		default:
			s.put(at, r)
		}
	}
	return nil
}

func (s *screen) put(at time.Duration, r rune) {
	if s.column == castColumns {
		s.newLine(at)
	}
	s.column++
	line := &s.lines[len(s.lines)-1]
	if n := len(*line); n > 0 && (*line)[n-1].at == at && (*line)[n-1].style == s.style {
		(*line)[n-1].text += string(r)
	} else {
		*line = append(*line, span{at, s.style, string(r)})
	}
}

// play puts the exchanges after each other and returns the screen and the time to its end.
func (r recording) play() (s *screen, length time.Duration, err error) {
	s = &screen{lines: [][]span{nil}}
	_ = s.write(0, castPrompt)
	length = time.Second
	for _, e := range r {
		for _, o := range e {
			at := (length + o.at).Round(50 * time.Millisecond)
			if err := s.write(at, o.text); err != nil {
				return nil, 0, err
			}
		}
		length += e[len(e)-1].at + e.readingTime()
	}
	return s, length, nil
}

// picture draws the recording as an SVG with an animation in CSS. A viewer without animations shows
// the first castRows lines.
func (r recording) picture() ([]byte, error) {
	if len(r) == 0 {
		return nil, errors.New("cannot draw an empty recording")
	}
	s, length, err := r.play()
	if err != nil {
		return nil, err
	}
	height := castRows*castLine + 2*castMargin
	var d bytes.Buffer
	fmt.Fprintf(&d, castHead, castWidth, height, castWidth, height)
	s.animate(&d, length)
	fmt.Fprintf(&d, "</style>\n<rect class=\"screen\" x=\"0.5\" y=\"0.5\" width=\"%d\" height=\"%d\" rx=\"8\"/>\n"+
		"<svg x=\"0\" y=\"%d\" width=\"%d\" height=\"%d\"><g class=\"all\">\n",
		castWidth-1, height-1, castMargin, castWidth, castRows*castLine)
	for i, line := range s.lines {
		if len(line) == 0 {
			continue
		}
		fmt.Fprintf(&d, `<text x="%d" y="%d">`, castMargin, castLine*i+castLine-5)
		for _, p := range line {
			fmt.Fprintf(&d, `<tspan class="%s">`, strings.TrimSpace(appears(p.at)+" "+p.style))
			_ = xml.EscapeText(&d, []byte(p.text))
			d.WriteString("</tspan>")
		}
		d.WriteString("</text>\n")
	}
	d.WriteString("</g></svg>\n</svg>\n")
	return d.Bytes(), nil
}

// appears names the style of what appears at a time.
func appears(at time.Duration) string { return fmt.Sprintf("t%d", at.Milliseconds()/50) }

// animate writes one animation for each time, and one that scrolls.
func (s *screen) animate(d io.Writer, length time.Duration) {
	percent := func(at time.Duration) string { return fmt.Sprintf("%.2f%%", 100*at.Seconds()/length.Seconds()) }
	fmt.Fprintf(d, "tspan,.all{animation:%.1fs step-end infinite}\n", length.Seconds())
	known := make(map[time.Duration]bool)
	for _, line := range s.lines {
		for _, p := range line {
			if p.at > 0 && !known[p.at] {
				known[p.at] = true
				name := appears(p.at)
				fmt.Fprintf(d, ".%s{animation-name:%s}@keyframes %s{0%%{visibility:hidden}%s{visibility:visible}}\n",
					name, name, name, percent(p.at))
			}
		}
	}
	fmt.Fprint(d, ".all{animation-name:scroll}@keyframes scroll{0%{transform:none}")
	for i, at := range s.scroll {
		if i+1 == len(s.scroll) || s.scroll[i+1] != at {
			fmt.Fprintf(d, "%s{transform:translateY(%dpx)}", percent(at), -castLine*(i+1))
		}
	}
	fmt.Fprint(d, "}\n@media (prefers-reduced-motion:reduce){tspan,.all{animation:none}}\n")
}

const castHead = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="title desc" xml:space="preserve">
<title id="title">The first five minutes with DataFlux Func Sidecar</title>
<desc id="desc">A terminal session, recorded by make cast in a booted machine: installation, a first command, check, an action with a named key, jobs, keys and the journal. The pauses between commands are for reading. The machine and both of its keys were thrown away.</desc>
<style>
:root{color-scheme:light dark}
.screen{fill:#f6f8fa;stroke:#d1d9e0}
text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#1f2328;white-space:pre}
.b,.warn,.err{font-weight:600}.ok{fill:#1a7f37}.warn{fill:#9a6700}.err{fill:#cf222e}
@media (prefers-color-scheme:dark){.screen{fill:#0d1117;stroke:#3d444d}text{fill:#f0f6fc}.ok{fill:#3fb950}.warn{fill:#d29922}.err{fill:#f85149}}
`

// textOf returns the text of a picture, a line for each of its elements `text`.
func textOf(t *testing.T, picture []byte) string {
	t.Helper()
	var all strings.Builder
	inside := false
	for decoder := xml.NewDecoder(bytes.NewReader(picture)); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return all.String()
		}
		if err != nil {
			t.Fatalf("the picture is not XML: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			inside = inside || token.Name.Local == "text"
		case xml.EndElement:
			if token.Name.Local == "text" {
				inside = false
				all.WriteString("\n")
			}
		case xml.CharData:
			if inside {
				all.Write(token)
			}
		}
	}
}

func TestCastPicture_LinesStylesAndScrolling(t *testing.T) {
	long := strings.Repeat("x", castColumns+1)
	r := recording{
		{{0, "ls <a>\r\n"}, {time.Second, "\x1b[32mok:\x1b[0m " + long[5:] + "\r\n"}, {time.Second, long + "\r\n$ "}},
		{{0, "seq 40\r\n" + strings.Repeat("1\r\n", 40) + "$ "}},
	}
	picture, err := r.picture()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := textOf(t, picture), "$ ls <a>\nok: "+long[5:]+"\n"+long[1:]+"\nx\n$ seq 40\n1\n"; !strings.HasPrefix(got, want) {
		t.Errorf("got the text\n%s\nwant at its start\n%s", got, want)
	}
	for _, want := range []string{`class="t40 ok">ok:<`, "t40{animation-name:t40}", "transform:translateY(-324px)"} {
		if !bytes.Contains(picture, []byte(want)) {
			t.Errorf("got no %q, want it in\n%s", want, picture)
		}
	}
	for _, bad := range []string{"\x1b[2J", "\x1b[35m", "\a"} {
		if _, err := (recording{{{0, bad}}}).picture(); err == nil {
			t.Errorf("%q: got a picture, want an error", bad)
		}
	}
}
