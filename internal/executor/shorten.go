package executor

import (
	"fmt"
	"io"
	"slices"

	"dataflux-func-sidecar/exec"
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
	stdout, changed := shortened(r.stdout)
	stderr, changedToo := shortened(r.stderr)
	if !changed && !changedToo {
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
		headerStdoutOmitted, fmt.Sprint(leftOut(stdout)),
		headerStderrOmitted, fmt.Sprint(leftOut(stderr)))
	return r, true
}

// leftOut is how many bytes are missing between the start and the end of an output.
func leftOut(o capturedOutput) int64 {
	if p := o.Parts(); p.EndSize > 0 {
		return p.Missing
	}
	return 0
}

// shortened returns an output with its start and its end only, which are read when they are
// written. It returns false if it leaves nothing out.
func shortened(o capturedOutput) (capturedOutput, bool) {
	start, end, _ := o.Extent()
	if start <= shortPart && end <= shortPart || end == 0 && start <= 2*shortPart {
		return o, false
	}
	return shortOutput{o}, true
}

// shortOutput is an output without its middle.
type shortOutput struct{ capturedOutput }

func (s shortOutput) Parts() exec.Parts {
	start, end, total := s.Extent()
	from := total - min(end, shortPart)
	if end == 0 { // the end of what is kept
		from = start - shortPart
		total = start
	}
	start = min(start, shortPart)
	return exec.Parts{
		Start: outputRange{s, 0, start}, StartSize: start,
		End: outputRange{s, from, total}, EndSize: total - from, Missing: from - start,
	}
}

// outputRange are at most shortPart kept bytes of an output, between two offsets.
type outputRange struct {
	output   capturedOutput
	from, to int64
}

func (r outputRange) WriteTo(w io.Writer) (int64, error) {
	part := make([]byte, r.to-r.from)
	n, err := r.output.ReadAt(part, r.from)
	if n < len(part) {
		return 0, fmt.Errorf("cannot shorten an output: %w", err)
	}
	n, err = w.Write(part)
	return int64(n), err
}
