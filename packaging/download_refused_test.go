package packaging

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

type answers map[string]http.HandlerFunc

const archive = "linux-amd64/" + name + ".tar.gz"

// Damage by the server or the network is detected, and an older download stays unchanged.
func TestDownload_IncompleteRelease(t *testing.T) {
	t.Parallel()
	rows := map[string]struct {
		odd  answers
		want string
	}{
		"no list":           {answers{"sha256sums": status(404)}, "404"},
		"list forbidden":    {answers{"sha256sums": status(403)}, "check that this is the folder of a release"},
		"a page instead":    {answers{"sha256sums": text("<!DOCTYPE html>\n<title>Log in</title>\n")}, "is a web page, not a list of checksums"},
		"list cut short":    {answers{"sha256sums": cut}, "sha256sums"},
		"endless list":      {answers{"sha256sums": endless}, "sha256sums is larger than any file of a release"},
		"a file is missing": {answers{"install.sh": status(404)}, "install.sh"},
		"server fails":      {answers{archive: status(500)}, "500"},
		"file cut short":    {answers{archive: cut}, archive},
		"cut, not told":     {answers{archive: cutUnseen}, name + ".tar.gz does not match sha256sums"},
		"another file":      {answers{"version": text("1.0.1\n")}, "version does not match sha256sums"},
		"an empty file":     {answers{"install.sh": text("")}, "install.sh does not match sha256sums"},
		"redirected round":  {answers{"version": http.RedirectHandler("/version", http.StatusFound).ServeHTTP}, "/version ("},
	}
	eachCaller(t, func(t *testing.T, who caller) {
		here := newPlace(t, who)
		here.mustRun(t, "--url", newMirror(t, nil), "--arch", "x86_64")
		for called, row := range rows {
			t.Run(called, func(t *testing.T) {
				here.mustFail(t, row.want, "--url", newMirror(t, row.odd), "--arch", "x86_64")
			})
		}
	})
}

func TestDownload_MalformedList(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("0", 64)
	line := func(entry string) func(string) string {
		return func(list string) string { return list + sum + "  " + entry + "\n" }
	}
	without := func(file string) func(string) string {
		return func(list string) string {
			before, after, _ := strings.Cut(list, "  "+file+"\n")
			return before[:max(0, len(before)-64)] + after
		}
	}
	rows := map[string]struct {
		change func(string) string
		want   string
	}{
		"above":           {line("../evil"), "has an invalid line: '" + sum + "  ../evil'"},
		"above, inside":   {line("linux-amd64/../../evil"), "has an invalid line"},
		"above, folder":   {line("linux-amd64/.."), "has an invalid line"},
		"absolute":        {line("/etc/cron.d/evil"), "has an invalid line"},
		"hidden":          {line(".profile"), "has an invalid line"},
		"an option":       {line("-o"), "has an invalid line"},
		"deep":            {line("a/b/c"), "has an invalid line"},
		"a blank":         {line("a b"), "has an invalid line"},
		"shell":           {line("$(reboot)"), "has an invalid line"},
		"terminal":        {line("\x1b[2J"), "has an invalid line: '" + sum + "  [2J'"},
		"NUL":             {line("a\x00b"), "has an invalid line"},
		"short checksum":  {func(list string) string { return list[1:] }, "has an invalid line"},
		"Windows lines":   {func(list string) string { return strings.ReplaceAll(list, "\n", "\r\n") }, "has an invalid line"},
		"cut in a line":   {func(list string) string { return list[:len(list)-4] }, "version is not in its sha256sums"},
		"itself":          {line("sha256sums"), "names itself"},
		"a name twice":    {line("install.sh"), "names install.sh twice"},
		"archive twice":   {line(name + ".tar.gz"), "names " + name + ".tar.gz twice"},
		"too many":        {func(list string) string { return list + strings.Repeat(sum+"  x\n", 100) }, "has more lines than a release"},
		"empty":           {func(string) string { return "" }, "has no program for x86_64: " + archive + " is not in its sha256sums"},
		"no archive":      {without(archive), "has no program for x86_64: " + archive},
		"no installer":    {without("install.sh"), "is incomplete: install.sh is not in its sha256sums"},
		"no service":      {without(name + ".service"), "is incomplete: " + name + ".service"},
		"no run-sidecar":  {without("run-sidecar.sh"), "is incomplete: run-sidecar.sh"},
		"a file it lacks": {line("extra"), "/extra ("},
	}
	for _, called := range []string{"dash, curl", "BusyBox, curl"} {
		here := newPlace(t, callers()[called])
		here.mustRun(t, "--url", newMirror(t, nil), "--arch", "x86_64")
		for changed, row := range rows {
			t.Run(called+", "+changed, func(t *testing.T) {
				url := newMirror(t, answers{"sha256sums": listWith(t, row.change)})
				here.mustFail(t, row.want, "--url", url, "--arch", "x86_64")
			})
		}
	}
}

func TestDownload_UnreachableServer(t *testing.T) {
	t.Parallel()
	eachCaller(t, func(t *testing.T, who caller) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := taken.Addr().String()
		if err := taken.Close(); err != nil {
			t.Fatal(err)
		}
		newPlace(t, who).mustFail(t, "check that this machine reaches the server", "--url", "http://"+address)
	})
}

func TestDownload_EndlessFile(t *testing.T) {
	t.Parallel()
	url := newMirror(t, answers{"install.sh": endless})
	eachCaller(t, func(t *testing.T, who caller) {
		here := newPlace(t, who).scriptWith(t, "MAX_FILE_BYTES=67108864", "MAX_FILE_BYTES=8388608")
		here.mustFail(t, "install.sh is larger than any file of a release", "--url", url)
	})
}

func TestDownload_FullDisk(t *testing.T) {
	t.Parallel()
	testkit.NeedRoot(t)
	url := newMirror(t, nil)
	eachCaller(t, func(t *testing.T, who caller) {
		here := newPlace(t, who)
		small := filepath.Join(here.dir, "small")
		if err := os.Mkdir(small, 0o755); err != nil {
			t.Fatal(err)
		}
		err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=1m")
		testkit.Need(t, err == nil, fmt.Sprintf("cannot mount: %v", err))
		t.Cleanup(func() { _ = syscall.Unmount(small, syscall.MNT_DETACH) })
		here.mustFail(t, "no space left in "+small, "--url", url, "--download-dir", "small/"+name)
	})
}

func TestDownload_MissingTools(t *testing.T) {
	t.Parallel()
	url := newMirror(t, nil)
	newPlace(t, plainCaller().without("curl")).mustFail(t, "curl and wget are missing", "--url", url)
	newPlace(t, plainCaller().without("sha256sum")).
		mustFail(t, "sha256sum, shasum and openssl are missing", "--url", url)
}
