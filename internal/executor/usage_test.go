package executor

import (
	"encoding/json"
	"fmt"
	"syscall"
	"testing"
)

func TestAnswer_CPUTimeAndPeakMemory(t *testing.T) {
	r := newRig(t, nil)
	// The peak is told where it is above that of this process, from which the kernel starts to
	// count.
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		t.Fatal(err)
	}
	size := own.Maxrss*1024 + 100_000_000
	r.request(fmt.Sprintf(`{"command":"i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; `+
		`head -c %[1]d /dev/zero | tail -c %[1]d | wc -c"}`, size))
	_, _, body := r.answer()
	var got struct {
		Data struct {
			CPUMs       int64
			MaxRSSBytes int64
		}
	}
	if err := json.Unmarshal(body, &got); err != nil || got.Data.CPUMs < 20 ||
		got.Data.MaxRSSBytes < size {
		t.Errorf("got %.600s, %v, want 20 ms and %d bytes at least", body, err, size)
	}
}
