package supervisor

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"dataflux-func-sidecar/internal/journal"
)

// maxWriteTime bounds how long the network role waits for a reader of its standard error.
const maxWriteTime = time.Second

// logf writes an entry that has no fields.
func logf(log *journal.Log, e journal.Event, format string, args ...any) {
	log.Write(e, fmt.Sprintf(format, args...), nil)
}

// IgnoreClosedReaders makes a write to a pipe without a reader fail with EPIPE. By default the Go
// runtime ends the process if that pipe is standard output or standard error. SIGPIPE is caught,
// not ignored, because every command would inherit an ignored signal (execve and
// CLONE_CLEAR_SIGHAND reset caught signals only).
func IgnoreClosedReaders() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
}

// writeWithin writes a message, and gives up after maxWriteTime: neither the start nor the end of
// the role depends on a reader of w.
func writeWithin(w io.Writer, format string, args ...any) {
	written := make(chan struct{})
	go func() {
		fmt.Fprintf(w, format, args...)
		close(written)
	}()
	select {
	case <-written:
	case <-time.After(maxWriteTime):
	}
}
