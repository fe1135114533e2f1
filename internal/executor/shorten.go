package executor

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

// shortPart is how many bytes of the start of a stream, and as many of its end, a shortened
// callback has at most. With the longest escapes such a body stays below 1 MiB, which nginx permits
// by default.
const shortPart = 32 << 10

// Names of headers of a callback.
const (
	headerTruncated     = "X-Sidecar-Truncated"
	headerStdoutOmitted = "X-Sidecar-Stdout-Omitted"
	headerStderrOmitted = "X-Sidecar-Stderr-Omitted"
)

// shortened returns r with the start and the end of each stream only, for a receiver that answered
// 413. It returns false if there is nothing to leave out.
func (r report) shortened() (report, bool) {
	stdout, stderr := shortOutputOf(r.stdout), shortOutputOf(r.stderr)
	if stdout.omitted == 0 && stderr.omitted == 0 {
		return r, false
	}
	r.stdout, r.stderr = stdout, stderr
	r.headers = slices.Clone(r.headers)
	for i := 0; i+1 < len(r.headers); i += 2 {
		if r.headers[i] == headerTruncated {
			r.headers[i+1] = "true"
		}
	}
	r.headers = append(r.headers,
		headerStdoutOmitted, fmt.Sprint(stdout.omitted),
		headerStderrOmitted, fmt.Sprint(stderr.omitted))
	return r, true
}

// shortOutput is an output without its middle. A line says how much is left out there.
type shortOutput struct {
	capturedOutput       // the whole one
	size           int64 // of that, in bytes
	omitted        int64
}

func shortOutputOf(o capturedOutput) shortOutput {
	s := shortOutput{capturedOutput: o, size: o.Kept()}
	if stored, onDisk := o.(storedOutput); onDisk {
		s.size = stored.stored.Size()
	}
	s.omitted = max(0, s.size-2*shortPart)
	return s
}

// WriteTo writes the start, the line and the end. A character that is cut in two is left out.
func (s shortOutput) WriteTo(w io.Writer) (written int64, err error) {
	if s.omitted == 0 {
		return s.capturedOutput.WriteTo(w)
	}
	start, err := s.part(0)
	if err != nil {
		return 0, err
	}
	end, err := s.part(s.size - shortPart)
	if err != nil {
		return 0, err
	}
	start, end = withoutCutEnd(start), withoutCutStart(end)
	line := fmt.Sprintf("\n[dataflux-func-sidecar: %d bytes left out]\n", s.omitted)
	for _, piece := range [][]byte{start, []byte(line), end} {
		n, err := w.Write(piece)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func (s shortOutput) part(offset int64) ([]byte, error) {
	part := make([]byte, shortPart)
	_, err := io.ReadFull(io.NewSectionReader(s.capturedOutput, offset, shortPart), part)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("cannot shorten an output: it has fewer than %d bytes", s.size)
	}
	return part, err
}

// withoutCutEnd drops the first bytes of a character whose others are missing at the end.
func withoutCutEnd(text []byte) []byte {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		last := text[len(text)-n:]
		if utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				return text[:len(text)-n]
			}
			break
		}
	}
	return text
}

// withoutCutStart drops the last bytes of a character whose others are missing at the start.
func withoutCutStart(text []byte) []byte {
	for n := 0; n < utf8.UTFMax && n < len(text); n++ {
		if utf8.RuneStart(text[n]) {
			return text[n:]
		}
	}
	return text
}
