package privsep

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// A role that was taken over may write what it likes.
func TestRole_BoundedOutput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	done := make(chan struct{})
	go func() {
		newLineReader(r, func(line string) { said = append(said, line) }).run()
		close(done)
	}()
	long := strings.Repeat("x", 10*maxLineLength)
	fmt.Fprintln(w, "first")
	fmt.Fprintln(w, long)
	for range 100_000 {
		if _, err := fmt.Fprintln(w, "again"); err != nil {
			t.Fatalf("the pipe: got %v, want it to be read to the end", err)
		}
	}
	_ = w.Close()
	<-done
	if len(said) > maxLines+1 || said[0] != "first" || said[1] != long[:maxLineLength] ||
		!strings.Contains(said[len(said)-1], "dropped") {
		t.Errorf("got %d lines, the first %.20q, the second of %d bytes, the last %q; "+
			"want %d, first, %d bytes, dropped",
			len(said), said[0], len(said[1]), said[len(said)-1], maxLines+1, maxLineLength)
	}
}
