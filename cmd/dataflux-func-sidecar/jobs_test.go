package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"dataflux-func-sidecar/internal/client"
)

func TestFit(t *testing.T) {
	for _, test := range []struct {
		line  string
		width int
		want  string
	}{
		{"abcdef", 0, "abcdef"},
		{"abcdef", -1, "abcdef"},
		{"abcdef", 6, "abcdef"},
		{"abcdef", 5, "abcd…"},
		{"abcdef", 1, "…"},
		{"你好世界", 8, "你好世界"},
		{"你好世界", 7, "你好世…"},
		{"你好世界", 6, "你好…"},
		{"e\u0301e\u0301e", 3, "e\u0301e\u0301e"},
		{"😀😀", 3, "😀…"},
	} {
		if got := fit(test.line, test.width); got != test.want {
			t.Errorf("%q in %d columns: got %q, want %q", test.line, test.width, got, test.want)
		}
	}
}

// One long reason must not widen the table for all.
func TestPrintJobs_LongFailure(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	zero := 0
	jobs := []client.Job{
		{JobID: "a", State: "ended", Command: "true", AcceptedAt: now, Failure: strings.Repeat("no ", 100)},
		{JobID: "b", State: "ended", Command: "id", AcceptedAt: now, StartedAt: now, EndedAt: now, ExitCode: &zero},
	}
	for _, test := range []struct {
		width int
		want  string
	}{
		{80, "ID  STATE  AGE  DURATION  EXIT         COMMAND\n" +
			"a   ended  0s   -         not started  true  # no no no no no no no no no no no…\n" +
			"b   ended  0s   0s        0            id\n"},
		{-1, "ID  STATE  AGE  DURATION  EXIT         COMMAND\n" +
			"a   ended  0s   -         not started  true  # " + strings.Repeat("no ", 100) + "\n" +
			"b   ended  0s   0s        0            id\n"},
	} {
		var got strings.Builder
		if err := printJobs(&got, jobs, now, test.width); err != nil || got.String() != test.want {
			t.Errorf("in %d columns: got %v\n%s\nwant\n%s", test.width, err, got.String(), test.want)
		}
	}
}

func TestJobs_FilterJSON(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	const data = `{"jobs":[{"jobId":"new","state":"running","acceptedAt":"2026-11-30T11:59:00Z","later":1},` +
		`{"jobId":"done","state":"ended","acceptedAt":"2026-11-30T11:58:00Z"},` +
		`{"jobId":"old","state":"queued","acceptedAt":"2026-11-29T11:59:00Z"}]}`
	for name, test := range map[string]struct {
		o    jobsOptions
		want string
	}{
		"running": {jobsOptions{running: true}, "new old"},
		"since":   {jobsOptions{since: time.Hour}, "new done"},
		"both":    {jobsOptions{running: true, since: time.Hour}, "new"},
		"none":    {jobsOptions{since: time.Second}, ""},
	} {
		filtered, err := test.o.filterJSON(json.RawMessage(data), now)
		var list struct{ Jobs []client.Job }
		if err == nil {
			err = json.Unmarshal(filtered, &list)
		}
		var got []string
		for _, j := range list.Jobs {
			got = append(got, j.JobID)
		}
		if err != nil || strings.Join(got, " ") != test.want || !strings.HasPrefix(string(filtered), `{"jobs":[`) {
			t.Errorf("%s: got %q, %v, want %q: %s", name, got, err, test.want, filtered)
		}
	}
}
