package packaging

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

const (
	signer    = name
	namespace = name + "-release"
)

// newSigningKey makes a key pair and returns the path of the private key, and its line of allowed
// signers.
func newSigningKey(dir string) (path, line string, err error) {
	path = filepath.Join(dir, "signing-key")
	if err := testkit.Explain(exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path)); err != nil {
		return "", "", err
	}
	public, err := os.ReadFile(path + ".pub")
	return path, signer + ` namespaces="` + namespace + `" ` + strings.TrimSpace(string(public)) + "\n", err
}

// signedRelease is a release folder that is signed with a key of this test run, and that key.
type signedRelease struct{ dir, key, signers string }

var signed = sync.OnceValues(func() (s signedRelease, err error) {
	checkout, err := source()
	if err != nil {
		return s, err
	}
	own, keys := filepath.Join(testkit.Scratch(), "signed-checkout"), filepath.Join(testkit.Scratch(), "keys")
	if err := errors.Join(copySource(checkout, own), os.Mkdir(keys, 0o700)); err != nil {
		return s, err
	}
	if s.key, s.signers, err = newSigningKey(keys); err != nil {
		return s, err
	}
	list := "# a comment\n\n" + s.signers
	if err := os.WriteFile(filepath.Join(own, "packaging/allowed_signers"), []byte(list), 0o644); err != nil {
		return s, err
	}
	s.dir = filepath.Join(testkit.Scratch(), "signed-dist")
	if said, err := makeDist(own, s.dir, "DIST_SIGNING_KEY="+s.key); err != nil {
		return s, errors.New(said)
	}
	return s, nil
})

func signedFolder(t *testing.T) signedRelease {
	t.Helper()
	testkit.NeedTools(t, "ssh-keygen")
	s, err := signed()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sign returns a signature of a text, with a key and a namespace.
func sign(t *testing.T, key, space, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := testkit.Explain(exec.Command("ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", space, path)); err != nil {
		t.Fatal(err)
	}
	return read(t, path+".sig")
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func overwrite(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// wrongSignatures are signatures that must not be accepted, with what is said of each.
func wrongSignatures(t *testing.T, s signedRelease) map[string]struct{ signature, want string } {
	t.Helper()
	list := read(t, filepath.Join(s.dir, "sha256sums"))
	other, _, err := newSigningKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return map[string]struct{ signature, want string }{
		"of another key":     {sign(t, other, namespace, list), "is a signature of another key"},
		"of another release": {sign(t, s.key, namespace, "of the last release"), "does not belong to"},
		"of another purpose": {sign(t, s.key, "file", list), ""},
		"no signature":       {"signed, I promise\n", ""},
		"empty":              {"", ""},
	}
}

// programOf returns the program of a release folder, which knows the keys that were there when it
// was built.
func programOf(t *testing.T, dir string) string {
	t.Helper()
	folder := map[string]string{"amd64": "linux-amd64", "arm64": "linux-arm"}[runtime.GOARCH]
	_, files := members(t, filepath.Join(dir, folder, name+".tar.gz"))
	program := filepath.Join(t.TempDir(), name)
	if err := writeProgram(program, files[name]); err != nil {
		t.Fatal(err)
	}
	return program
}

// verifyFolder runs `verify` with only these tools in PATH.
func verifyFolder(t *testing.T, program, tools string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	path := t.TempDir()
	for tool := range strings.FieldsSeq(tools) {
		found, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(found, filepath.Join(path, tool)); err != nil {
			t.Fatal(err)
		}
	}
	var out, said bytes.Buffer
	cmd := exec.Command(program, append([]string{"verify"}, args...)...)
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &said, []string{"PATH=" + path}
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), said.String()
}

func wantVerified(t *testing.T, program, dir string, options ...string) {
	t.Helper()
	status, out, said := verifyFolder(t, program, "ssh-keygen", append(options, dir)...)
	if want := regexp.MustCompile(`^Release \S+: the signature \(ED25519 key SHA256:\S+\) and all \d+ files are correct\.\n$`); status != 0 || !want.MatchString(out) || said != "" {
		t.Errorf("%s: exit status %d, %q, %q, want it verified", dir, status, out, said)
	}
}

func wantRefused(t *testing.T, program, dir string, want ...string) {
	t.Helper()
	status, out, said := verifyFolder(t, program, "ssh-keygen", dir)
	if status != 1 || out != "" || !strings.HasPrefix(said, "error: do not use "+dir+": ") || !strings.Contains(said, "\nhint: ") {
		t.Errorf("exit status %d, %q, %q, want a refusal with a hint", status, out, said)
	}
	for _, text := range want {
		if !strings.Contains(said, text) {
			t.Errorf("got %q, want %q in it", said, text)
		}
	}
}

func TestVerify_ReleaseFolder(t *testing.T) {
	t.Parallel()
	s := signedFolder(t)
	program := programOf(t, s.dir)
	wantVerified(t, program, s.dir)
	wantVerified(t, programOf(t, releaseFolder(t)), s.dir+"/", "--allowed-signers", signersFile(t, s.signers))

	list := read(t, filepath.Join(s.dir, "sha256sums"))
	archived := "linux-amd64/" + name + ".tar.gz"
	for called, row := range map[string]struct {
		change func(dir string)
		want   string
	}{
		"a changed byte": {func(dir string) {
			path := filepath.Join(dir, archived)
			content := []byte(read(t, path))
			content[len(content)/2] ^= 1
			overwrite(t, path, string(content))
		}, archived + " was changed"},
		"a missing file":            {func(dir string) { _ = os.Remove(filepath.Join(dir, "install.sh")) }, "install.sh is missing"},
		"an additional file":        {func(dir string) { overwrite(t, filepath.Join(dir, "postinstall.sh"), "") }, `"postinstall.sh" is not of the release`},
		"an additional deep file":   {func(dir string) { overwrite(t, filepath.Join(dir, "a/b"), "") }, `"a/b" is not of the release`},
		"a link":                    {func(dir string) { _ = os.Symlink("/etc/passwd", filepath.Join(dir, "x")) }, `"x" is no regular file`},
		"a changed document":        {func(dir string) { overwrite(t, filepath.Join(dir, "README.md"), "run this") }, "README.md was changed"},
		"a changed list":            {func(dir string) { overwrite(t, filepath.Join(dir, "sha256sums"), list[66:]) }, "sha256sums.sig does not belong to sha256sums: the list was changed"},
		"a changed list below":      {func(dir string) { overwrite(t, filepath.Join(dir, "func/sha256sums"), "") }, "func/sha256sums was changed"},
		"a changed script for Func": {func(dir string) { overwrite(t, filepath.Join(dir, "func/META.yaml"), "") }, "func/META.yaml was changed"},
		"a removed signature": {
			func(dir string) { _ = os.Remove(filepath.Join(dir, "sha256sums.sig")) },
			"sha256sums.sig is missing, and the key of releases is known here",
		},
		"no list": {func(dir string) { _ = os.Remove(filepath.Join(dir, "sha256sums")) }, "name a release folder"},
	} {
		dir := copyOf(t, s.dir)
		row.change(dir)
		t.Log(called)
		wantRefused(t, program, dir, row.want)
	}
	dir := copyOf(t, s.dir)
	for called, row := range wrongSignatures(t, s) {
		t.Log(called)
		overwrite(t, filepath.Join(dir, "sha256sums.sig"), row.signature)
		wantRefused(t, program, dir, "sha256sums.sig", row.want)
	}
}

func signersFile(t *testing.T, signers string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "allowed_signers")
	overwrite(t, path, signers)
	return path
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := copySource(dir, to); err != nil {
		t.Fatal(err)
	}
	return to
}

// Where the signature cannot be verified, that is said and has an exit status of its own; a changed
// file is refused all the same.
func TestVerify_WithoutKeyOrTool(t *testing.T) {
	t.Parallel()
	s := signedFolder(t)
	without, with := programOf(t, releaseFolder(t)), programOf(t, s.dir)
	old := t.TempDir()
	if err := writeProgram(filepath.Join(old, "ssh-keygen"), []byte("#!/bin/sh\necho 'unknown option -- Y' >&2\nexit 1\n")); err != nil {
		t.Fatal(err)
	}
	for called, row := range map[string]struct{ program, tools, dir, want string }{
		"no key, not signed":        {without, "ssh-keygen", releaseFolder(t), "the release is not signed, and no release key is known here\n"},
		"no key, signed":            {without, "ssh-keygen", s.dir, "no release key is known here\nhint: give the public key"},
		"no ssh-keygen":             {with, "", s.dir, "there is no ssh-keygen of OpenSSH 8.1 or later\nhint: install it"},
		"no ssh-keygen, no release": {with, "", s.dir + "/linux-amd64", "error: "},
	} {
		status, out, said := verifyFolder(t, row.program, row.tools, row.dir)
		refused := strings.HasPrefix(row.want, "error: ")
		switch {
		case refused && status == 1 && out == "" && strings.HasPrefix(said, row.want):
		case !refused && status == 3 && strings.Contains(out, " files are as their checksums say.\n") &&
			strings.HasPrefix(said, "warning: the signature was not verified: "+row.want):
		default:
			t.Errorf("%s: exit status %d, %q, %q", called, status, out, said)
		}
	}
	cmd := exec.Command(with, "verify", s.dir)
	cmd.Env = []string{"PATH=" + old + ":/usr/bin:/bin"}
	if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 3 || !bytes.Contains(out, []byte("OpenSSH 8.1 or later")) {
		t.Errorf("an old ssh-keygen: exit status %d, %s", cmd.ProcessState.ExitCode(), out)
	}
	dir := copyOf(t, s.dir)
	overwrite(t, filepath.Join(dir, "install.sh"), "")
	if status, _, said := verifyFolder(t, with, "", dir); status != 1 || !strings.Contains(said, "install.sh was changed") {
		t.Errorf("no ssh-keygen, a changed file: exit status %d, %q", status, said)
	}
}

// fromSigned returns a place whose download.sh is that of the signed release, and has ssh-keygen.
func fromSigned(t *testing.T, who caller, s signedRelease) place {
	t.Helper()
	who.tools = append(append([]string{}, who.tools...), "ssh-keygen")
	here := newPlace(t, who)
	here.script = filepath.Join(s.dir, "download.sh")
	return here
}

func mirrorOf(t *testing.T, dir string, odd answers) string {
	t.Helper()
	server := httptest.NewServer(mirror{dir, odd})
	t.Cleanup(server.Close)
	return server.URL
}

// What download.sh has verified, verify verifies again later, and refuses after a change.
func TestDownload_SignedRelease(t *testing.T) {
	t.Parallel()
	s := signedFolder(t)
	url, program := mirrorOf(t, s.dir, nil), programOf(t, s.dir)
	eachCaller(t, func(t *testing.T, who caller) {
		here := fromSigned(t, who, s)
		out, told := here.mustRun(t, "--url", url, "--arch", "aarch64", "--require-signature")
		if !strings.Contains(out, "all checksums are correct.\nIts signature is correct.\n") || strings.Contains(told, "signature") {
			t.Errorf("told %q and %q", out, told)
		}
		wantVerified(t, program, filepath.Join(here.dir, name))
	})
	here := fromSigned(t, plainCaller(), s)
	here.mustRun(t, "--url", url, "--arch", "x86_64")
	dir := filepath.Join(here.dir, name)
	list := read(t, filepath.Join(dir, "sha256sums"))
	for file, row := range map[string]struct{ content, want string }{
		"install.sh":                 {"reboot", "install.sh was changed"},
		"extra":                      {"", `"extra" is not of the release`},
		name + ".tar.gz":             {"", name + ".tar.gz was changed"},
		"sha256sums":                 {strings.Repeat("0", 64) + list[64:], "sha256sums was changed: it differs from release.sha256sums"},
		"release.sha256sums":         {list, "release.sha256sums.sig does not belong to release.sha256sums"},
		"release.sha256sums.sig":     {"", "release.sha256sums.sig"},
		"sub/dataflux-func-sidecar8": {"", "is not of the release"},
	} {
		changed := copyOf(t, dir)
		overwrite(t, filepath.Join(changed, file), row.content)
		wantRefused(t, program, changed, row.want)
	}
}

func TestDownload_WrongSignature(t *testing.T) {
	t.Parallel()
	s := signedFolder(t)
	for _, called := range []string{"dash, curl", "BusyBox with its own wget"} {
		here := fromSigned(t, callers()[called], s)
		here.mustRun(t, "--url", mirrorOf(t, s.dir, nil), "--arch", "x86_64")
		for _, row := range wrongSignatures(t, s) {
			here.mustFail(t, "sha256sums.sig", "--url", mirrorOf(t, s.dir, answers{"sha256sums.sig": text(row.signature)}))
			here.mustFail(t, row.want, "--url", mirrorOf(t, s.dir, answers{"sha256sums.sig": text(row.signature)}))
		}
		list := read(t, filepath.Join(s.dir, "sha256sums"))
		here.mustFail(t, "does not belong to sha256sums", "--url", mirrorOf(t, s.dir, answers{"sha256sums": text(list + strings.Repeat("0", 64) + "  extra\n")}))
		here.mustFail(t, "has no signature sha256sums.sig", "--url", mirrorOf(t, s.dir, answers{"sha256sums.sig": status(404)}))
		here.mustFail(t, "is not signed, and this copy of download.sh has the key", "--url", mirrorOf(t, releaseFolder(t), nil))
	}
}

func TestDownload_SignatureNotVerified(t *testing.T) {
	t.Parallel()
	s := signedFolder(t)
	signedURL, unsignedURL := mirrorOf(t, s.dir, nil), newMirror(t, nil)
	without := newPlace(t, plainCaller())
	withoutTool := newPlace(t, plainCaller())
	withoutTool.script = filepath.Join(s.dir, "download.sh")
	for called, row := range map[string]struct {
		here      place
		url, want string
	}{
		"no key, not signed": {without, unsignedURL, "this copy of download.sh has no key of releases"},
		"no key, signed":     {without, signedURL, "this copy of download.sh has no key of releases"},
		"no ssh-keygen":      {withoutTool, signedURL, "ssh-keygen is missing"},
	} {
		out, told := row.here.mustRun(t, "--url", row.url, "--arch", "x86_64")
		if !strings.Contains(told, "warning: the signature of the release was not verified: "+row.want) || strings.Contains(out, "signature") {
			t.Errorf("%s: told %q and %q", called, out, told)
		}
		row.here.mustFail(t, "the signature cannot be verified: "+row.want, "--url", row.url, "--arch", "x86_64", "--require-signature")
	}
	// What could not be verified at the download is verified later.
	wantVerified(t, programOf(t, s.dir), filepath.Join(withoutTool.dir, name))
}

func TestDist_SigningKey(t *testing.T) {
	t.Parallel()
	testkit.NeedTools(t, "ssh-keygen")
	checkout := ownSource(t)
	key, line, err := newSigningKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	other, otherLine, err := newSigningKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(checkout, "packaging/signing-key")
	overwrite(t, inside, read(t, key))
	signersList := filepath.Join(checkout, "packaging/allowed_signers")
	dist := func(key string) string {
		dir := filepath.Join(t.TempDir(), "dist")
		said, err := makeDist(checkout, dir, "DIST_SIGNING_KEY="+key)
		if err == nil {
			t.Errorf("%s: got a release, want a refusal", key)
		}
		if left := contents(t, filepath.Dir(dir)); len(left) != 0 {
			t.Errorf("it left %v", left)
		}
		return said
	}
	for _, row := range []struct{ signers, key, want string }{
		{"# no key\n", key, "packaging/allowed_signers has no key"},
		{line, inside, "DIST_SIGNING_KEY is in the checkout"},
		{line, "/nowhere/key", "DIST_SIGNING_KEY names no file"},
		{otherLine, key, "the key of DIST_SIGNING_KEY is not in packaging/allowed_signers"},
		{line, other, "the key of DIST_SIGNING_KEY is not in packaging/allowed_signers"},
	} {
		overwrite(t, signersList, row.signers)
		if said := dist(row.key); !strings.Contains(said, "dist.sh: "+row.want) {
			t.Errorf("%s: said %q, want %q", row.key, said, row.want)
		}
	}
}
