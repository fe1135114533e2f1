package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// newRepository writes the repositories of these packages, signed with a key of this test, as they
// would be served at file:///srv/repository.
func newRepository(t *testing.T) (folder string) {
	t.Helper()
	testkit.NeedTools(t, "gpg", "apt-ftparchive", "createrepo_c")
	packages, err := thesePackages()
	if err != nil {
		t.Fatal(err)
	}
	dist, keyring := t.TempDir(), gnupgHome(t)
	if err := os.CopyFS(filepath.Join(dist, "packages"), os.DirFS(packages)); err != nil {
		t.Fatal(err)
	}
	if err := runHere("sh", "-c", `cd "$0" && find packages -type f -exec sha256sum {} + >sha256sums`, dist); err != nil {
		t.Fatal(err)
	}
	folder = filepath.Join(t.TempDir(), "repository")
	cmd := exec.Command("../../packaging/repo.sh", dist, folder)
	cmd.Env = append(os.Environ(), "GNUPGHOME="+keyring, "REPO_SIGNING_KEY=release@localhost", "REPO_URL=file:///srv/repository")
	if err := testkit.Explain(cmd); err != nil {
		t.Fatal(err)
	}
	return folder
}

// gnupgHome returns a keyring with one new key.
func gnupgHome(t *testing.T) string {
	t.Helper()
	home, err := os.MkdirTemp("", "gpg") // the sockets in it have short names only
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop := exec.Command("gpgconf", "--kill", "all")
		stop.Env = append(os.Environ(), "GNUPGHOME="+home)
		_ = stop.Run()
		_ = os.RemoveAll(home)
	})
	cmd := exec.Command("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "release@localhost", "ed25519", "sign", "never")
	cmd.Env = append(os.Environ(), "GNUPGHOME="+home)
	if err := testkit.Explain(cmd); err != nil {
		t.Fatal(err)
	}
	return home
}

// apt of a booted machine installs from the repository, and refuses it after a change of one byte.
func TestRepository_Apt(t *testing.T) {
	needMachines(t)
	folder := newRepository(t)
	m := boot(t)
	for _, file := range filesBelow(t, folder) {
		m.place(filepath.Join(folder, file), "/srv/repository/"+file, 0o644)
	}
	m.sh("rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*; mkdir -p /etc/apt/keyrings" +
		"; cp /srv/repository/dataflux-func-sidecar.asc /etc/apt/keyrings" +
		"; cp /srv/repository/apt/dataflux-func-sidecar.sources /etc/apt/sources.list.d")
	m.run("apt-get", "update")
	m.sh("DEBIAN_FRONTEND=noninteractive apt-get install --yes dataflux-func-sidecar")
	m.checkServes()

	m.sh("cd /srv/repository/apt/dists/stable/main/binary-$(dpkg --print-architecture) && echo >>Packages && gzip -kf Packages" +
		" && rm -rf /var/lib/apt/lists/*")
	if said, status := m.try("apt-get", "update"); status == 0 {
		t.Errorf("apt-get update accepted a changed index:\n%s", said)
	}
	m.sh("sed -i s/^Suite:.*/Suite:\\ other/ /srv/repository/apt/dists/stable/InRelease; rm -rf /var/lib/apt/lists/*")
	if said, status := m.try("apt-get", "-o", "APT::Update::Error-Mode=any", "update"); status == 0 {
		t.Errorf("apt-get update accepted a changed InRelease:\n%s", said)
	}
}

func filesBelow(t *testing.T, folder string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, strings.TrimPrefix(path, folder+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// baseRPM makes a package that provides what ours depends on, in a folder of its own.
func baseRPM(t *testing.T) (path string) {
	t.Helper()
	work := t.TempDir()
	spec := "Name: base\nVersion: 1\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n" +
		"Provides: /bin/sh systemd /usr/sbin/useradd\n%description\nx\n%files\n"
	if err := os.WriteFile(work+"/base.spec", []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := runHere("rpmbuild", "-bb", "--quiet", "--define", "_topdir "+work+"/build", "--define", "_rpmdir "+work, work+"/base.spec"); err != nil {
		t.Fatal(err)
	}
	return work + "/noarch/base-1-1.noarch.rpm"
}

// dnf installs from the repository into a root of its own, and refuses it after a change of one
// byte. The root has nothing but a package that provides what ours depends on, so no script runs:
// what they do is the subject of TestRPMPackage_FromInstallationToRemoval.
func TestRepository_Dnf(t *testing.T) {
	testkit.NeedRoot(t)
	testkit.NeedTools(t, "dnf", "rpmbuild", "rpm")
	folder := newRepository(t)
	work := t.TempDir()
	base := filepath.Dir(baseRPM(t))
	if err := runHere("createrepo_c", "--quiet", base); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(folder, "yum/dataflux-func-sidecar.repo"))
	if err != nil {
		t.Fatal(err)
	}
	configuration := "[main]\nreposdir=/nonexistent\ntsflags=noscripts\n[base]\nname=base\ngpgcheck=0\nbaseurl=file://" + base + "\n" +
		strings.ReplaceAll(strings.ReplaceAll(string(text), "file:///srv/repository", "file://"+folder), "$basearch", "x86_64")
	if err := os.WriteFile(work+"/dnf.conf", []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	install := func(name string) (root, said string, err error) {
		root = filepath.Join(work, name)
		cmd := exec.Command("dnf", "--config", work+"/dnf.conf", "--installroot", root, "--releasever", "1", "--forcearch", "x86_64",
			"--assumeyes", "--setopt=cachedir="+root+"-cache", "install", "dataflux-func-sidecar")
		out, err := cmd.CombinedOutput()
		return root, string(out), err
	}
	root, said, err := install("root")
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if out := output(t, "rpm", "--root", root, "-q", "dataflux-func-sidecar"); !strings.HasPrefix(out, "dataflux-func-sidecar-"+thisVersion+"-1.x86_64") {
		t.Errorf("rpm says %q", out)
	}
	if err := runHere("rpm", "--root", root, "--verify", "--nodeps", "--noscripts", "--nouser", "--nogroup", "dataflux-func-sidecar"); err != nil {
		t.Error(err)
	}

	metadata := filepath.Join(folder, "yum/x86_64/repodata/repomd.xml")
	content, err := os.ReadFile(metadata)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(metadata, append(content, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	root, said, err = install("changed")
	if _, there := os.Stat(filepath.Join(root, "usr/bin/dataflux-func-sidecar")); err == nil || there == nil {
		t.Errorf("dnf accepted changed metadata:\n%s", said)
	}
}
