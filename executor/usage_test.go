package executor

import (
	"encoding/json"
	"testing"
)

func TestTheAnswerTellsProcessorTimeAndPeakMemory(t *testing.T) {
	r := newRig(t, nil)
	// The peak is told where it is above that of this process, from which the kernel starts to count.
	r.request(`{"command":"i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; head -c 400000000 /dev/zero | tail -c 400000000 | wc -c"}`)
	_, _, body := r.answer()
	var got struct {
		Data struct {
			CPUMs       int64
			MaxRSSBytes int64
		}
	}
	if err := json.Unmarshal(body, &got); err != nil || got.Data.CPUMs < 20 || got.Data.MaxRSSBytes < 300_000_000 {
		t.Errorf("got %.600s, %v", body, err)
	}
}
