package release

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

type answers map[string]http.HandlerFunc

const archive = "linux-amd64/" + name + ".tar.gz"

// What a server or the way to it can do wrong; each time an older download stays as it was.
func TestWhatIsNotWholeIsRefused(t *testing.T) {
	t.Parallel()
	rows := map[string]struct {
		odd  answers
		want string
	}{
		"no list":           {answers{"sha256sums": status(404)}, "404"},
		"list forbidden":    {answers{"sha256sums": status(403)}, "Is this the folder of a release"},
		"a page instead":    {answers{"sha256sums": text("<!DOCTYPE html>\n<title>Log in</title>\n")}, "is a web page and no list of checksums"},
		"list cut short":    {answers{"sha256sums": cut}, "sha256sums"},
		"endless list":      {answers{"sha256sums": endless}, "sha256sums is larger than anything in a release"},
		"a file is missing": {answers{"install.sh": status(404)}, "install.sh"},
		"server fails":      {answers{archive: status(500)}, "500"},
		"file cut short":    {answers{archive: cut}, archive},
		"cut, not told":     {answers{archive: cutUnseen}, name + ".tar.gz is not what sha256sums says"},
		"another file":      {answers{"version": text("1.0.1\n")}, "version is not what sha256sums says"},
		"an empty file":     {answers{"install.sh": text("")}, "install.sh is not what sha256sums says"},
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

func TestAListThatIsNotPlainIsRefused(t *testing.T) {
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
		"above":           {line("../evil"), "has a line that has no place there: '" + sum + "  ../evil'"},
		"above, inside":   {line("linux-amd64/../../evil"), "has a line that has no place there"},
		"above, folder":   {line("linux-amd64/.."), "has a line that has no place there"},
		"absolute":        {line("/etc/cron.d/evil"), "has a line that has no place there"},
		"hidden":          {line(".profile"), "has a line that has no place there"},
		"an option":       {line("-o"), "has a line that has no place there"},
		"deep":            {line("a/b/c"), "has a line that has no place there"},
		"a blank":         {line("a b"), "has a line that has no place there"},
		"shell":           {line("$(reboot)"), "has a line that has no place there"},
		"terminal":        {line("\x1b[2J"), "has a line that has no place there: '" + sum + "  [2J'"},
		"NUL":             {line("a\x00b"), "has a line that has no place there"},
		"short checksum":  {func(list string) string { return list[1:] }, "has a line that has no place there"},
		"Windows lines":   {func(list string) string { return strings.ReplaceAll(list, "\n", "\r\n") }, "has a line that has no place there"},
		"cut in a line":   {func(list string) string { return list[:len(list)-4] }, "version is not in its sha256sums"},
		"itself":          {line("sha256sums"), "names itself"},
		"a name twice":    {line("install.sh"), "names install.sh twice"},
		"archive twice":   {line(name + ".tar.gz"), "names " + name + ".tar.gz twice"},
		"too many":        {func(list string) string { return list + strings.Repeat(sum+"  x\n", 100) }, "has more lines than any release"},
		"empty":           {func(string) string { return "" }, "has no program for x86_64: " + archive + " is not in its sha256sums"},
		"no archive":      {without(archive), "has no program for x86_64: " + archive},
		"no installer":    {without("install.sh"), "is not complete: install.sh is not in its sha256sums"},
		"no service":      {without(name + ".service"), "is not complete: " + name + ".service"},
		"no run-sidecar":  {without("run-sidecar.sh"), "is not complete: run-sidecar.sh"},
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

func TestAServerThatIsNotThereIsTold(t *testing.T) {
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
		newPlace(t, who).mustFail(t, "Does this machine reach the server?", "--url", "http://"+address)
	})
}

func TestAFileThatNeverEndsIsRefused(t *testing.T) {
	t.Parallel()
	url := newMirror(t, answers{"install.sh": endless})
	eachCaller(t, func(t *testing.T, who caller) {
		here := newPlace(t, who).scriptWith(t, "MAX_FILE_BYTES=67108864", "MAX_FILE_BYTES=4194304")
		here.mustFail(t, "install.sh is larger than anything in a release", "--url", url)
	})
}

func TestAFullDiskIsTold(t *testing.T) {
	t.Parallel()
	need(t, os.Geteuid() == 0, "only root can mount a small file system")
	url := newMirror(t, nil)
	eachCaller(t, func(t *testing.T, who caller) {
		here := newPlace(t, who)
		small := filepath.Join(here.dir, "small")
		if err := os.Mkdir(small, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=1m"); err != nil {
			need(t, false, "cannot mount: "+err.Error())
		}
		t.Cleanup(func() { _ = syscall.Unmount(small, syscall.MNT_DETACH) })
		here.mustFail(t, "no space is left in "+small, "--url", url, "--download-dir", "small/"+name)
	})
}

func TestMissingToolsAreNamed(t *testing.T) {
	t.Parallel()
	url := newMirror(t, nil)
	newPlace(t, plainCaller().without("curl")).mustFail(t, "neither curl nor wget is here", "--url", url)
	newPlace(t, plainCaller().without("sha256sum")).
		mustFail(t, "none of sha256sum, shasum and openssl is here", "--url", url)
}
