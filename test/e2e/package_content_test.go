package e2e

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

// output runs a tool of this host that must succeed.
func output(t *testing.T, tool string, args ...string) string {
	t.Helper()
	out, err := exec.Command(tool, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
	return string(out)
}

// inBoth lists the files that both kinds of package contain, with modes; all belong to root.
func inBoth(t *testing.T) []string {
	t.Helper()
	list := []string{
		"-rwx--x--x /usr/bin/dataflux-func-sidecar",
		"-rw-r--r-- /etc/needrestart/conf.d/dataflux-func-sidecar.conf",
		"-rw-r--r-- /usr/lib/systemd/catalog/dataflux-func-sidecar.catalog",
		"-rw-r--r-- /usr/lib/systemd/system-preset/80-dataflux-func-sidecar.preset",
		"-rw-r--r-- /usr/lib/systemd/system/dataflux-func-sidecar-metrics.socket",
		"-rw-r--r-- /usr/lib/systemd/system/dataflux-func-sidecar-ports.service",
		"-rw-r--r-- /usr/lib/systemd/system/dataflux-func-sidecar-reload.path",
		"-rw-r--r-- /usr/lib/systemd/system/dataflux-func-sidecar-reload.service",
		"-rw-r--r-- /usr/lib/systemd/system/dataflux-func-sidecar.service",
		"-rw-r--r-- /usr/lib/systemd/system/dataflux-func-sidecar.service.d/first-start.conf",
		"-rw-r--r-- /usr/lib/systemd/system/dataflux-func-sidecar.socket",
		"-rw-r--r-- /usr/lib/sysusers.d/dataflux-func-sidecar.conf",
		"-rw-r--r-- /usr/share/bash-completion/completions/dataflux-func-sidecar",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/changelog.gz",
		"-rw-r--r-- /usr/share/man/man5/dataflux-func-sidecar.5.gz",
		"-rw-r--r-- /usr/share/man/man8/dataflux-func-sidecar.8.gz",
	}
	for _, document := range documents(t) {
		list = append(list, "-rw-r--r-- "+docFolder+"/"+document)
	}
	return list
}

const docFolder = "/usr/share/doc/dataflux-func-sidecar"

// documents lists the files of the repository that packages contain, with the same paths below
// docFolder.
func documents(t *testing.T) []string {
	t.Helper()
	list := []string{
		"README.md", "SECURITY.md", "CONTRIBUTING.md", "LICENSE", "connector/README.md",
		"connector/dataflux-func-sidecar-scripts.zip", "connector/sidecar__callback.py", "connector/sidecar__example.py", "connector/sidecar__fleet.py", "connector/sidecar__helper.py", "connector/sidecar__wire.py",
		"monitoring/alerts.yaml", "monitoring/alerts_test.yaml", "monitoring/dashboard.json",
	}
	err := filepath.WalkDir(filepath.Join(testkit.Root(), "docs"), func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			path, err = filepath.Rel(testkit.Root(), path)
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestDebianPackage_Contents(t *testing.T) {
	testkit.NeedTools(t, "dpkg-deb")
	want := append(inBoth(t),
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/changelog.Debian.gz",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/copyright",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/third-party-licences.gz",
		"-rw-r--r-- /usr/share/lintian/overrides/dataflux-func-sidecar",
		"-rw-r--r-- /usr/share/zsh/vendor-completions/_dataflux-func-sidecar")
	slices.Sort(want)
	for _, arch := range []string{"amd64", "arm64"} {
		deb := packagePath(t, thesePackages, debName(thisVersion, arch))
		var got []string
		for line := range strings.Lines(output(t, "dpkg-deb", "--contents", deb)) {
			f := strings.Fields(line) // mode, owner, size, date, time, name
			if f[1] != "root/root" && f[1] != "0/0" || f[3]+f[4] != "2026-11-2300:00" {
				t.Errorf("%s: %s", arch, line)
			}
			if name := strings.TrimPrefix(f[5], "."); f[0] != "drwxr-xr-x" {
				got = append(got, f[0]+" "+name)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s holds\n%s\nwant\n%s", arch, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		fields := output(t, "dpkg-deb", "--field", deb, "Package", "Version", "Architecture", "Depends")
		if want := fmt.Sprintf("Package: %s\nVersion: %s-1\nArchitecture: %s\nDepends: systemd, passwd\n", packageName, thisVersion, arch); fields != want {
			t.Errorf("its fields are\n%s", fields)
		}
		checkProgram(t, arch, unpackDeb(t, deb))
	}
}

func TestRPMPackage_Contents(t *testing.T) {
	testkit.NeedTools(t, "rpm")
	want := append(inBoth(t),
		"drwxr-xr-x /etc/needrestart",
		"drwxr-xr-x /etc/needrestart/conf.d",
		"drwxr-xr-x /usr/lib/systemd/system/dataflux-func-sidecar.service.d",
		"drwxr-xr-x /usr/share/licenses/dataflux-func-sidecar",
		"-rw-r--r-- /usr/share/licenses/dataflux-func-sidecar/LICENSE",
		"-rw-r--r-- /usr/share/licenses/dataflux-func-sidecar/third-party-licences.gz",
		"-rw-r--r-- /usr/share/zsh/site-functions/_dataflux-func-sidecar",
		"drwxr-xr-x "+docFolder)
	for _, document := range documents(t) {
		if folder := filepath.Dir(document); folder != "." {
			want = append(want, "drwxr-xr-x "+docFolder+"/"+folder)
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	for arch, goArch := range map[string]string{"x86_64": "amd64", "aarch64": "arm64"} {
		rpm := packagePath(t, thesePackages, rpmName(thisVersion, arch))
		format := `[%{FILEMODES:perms} %{FILENAMES} %{FILEUSERNAME} %{FILEGROUPNAME}\n]`
		got := strings.Split(strings.TrimSuffix(output(t, "rpm", "-qp", "--queryformat", format, rpm), "\n"), "\n")
		for i, line := range got {
			got[i] = strings.TrimSuffix(line, " root root")
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s holds\n%s\nwant\n%s", arch, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		fields := output(t, "rpm", "-qp", "--queryformat", "%{NAME} %{EVR} %{ARCH} %{OS} %{BUILDHOST} [%{REQUIRES} ]", rpm)
		if want := packageName + " " + thisVersion + "-1 " + arch + " linux localhost /bin/sh systemd /usr/sbin/useradd "; fields != want {
			t.Errorf("its fields are %q, want %q", fields, want)
		}
		checkProgram(t, goArch, unpackRPM(t, rpm))
	}
}

// unpackDeb and unpackRPM return a folder with the files of a package.
func unpackDeb(t *testing.T, deb string) string {
	t.Helper()
	folder := t.TempDir()
	output(t, "dpkg-deb", "--extract", deb, folder)
	return folder
}

func unpackRPM(t *testing.T, rpm string) string {
	t.Helper()
	testkit.NeedTools(t, "rpm2archive", "tar")
	folder := t.TempDir()
	output(t, "sh", "-euc", `rpm2archive - <"$1" | tar -xz -C "$2"`, "sh", rpm, folder)
	return folder
}

// Links between installed documents hold.
func TestPackages_LinksHold(t *testing.T) {
	moved := map[string]string{"packaging/monitoring": "monitoring", "CHANGELOG.md": "changelog.gz"}
	testkit.CheckLinks(t, filepath.Join(unpackDeb(t, packagePath(t, thesePackages, debName(thisVersion, "amd64"))), docFolder), moved)
	testkit.CheckLinks(t, filepath.Join(unpackRPM(t, packagePath(t, thesePackages, rpmName(thisVersion, "x86_64"))), docFolder), moved)
}

// checkProgram runs the packaged program, on this host's processor or an emulated one, and checks
// that units differ from units/ only in the path of the program.
func checkProgram(t *testing.T, arch, folder string) {
	t.Helper()
	program := filepath.Join(folder, "usr/bin", packageName)
	if file, err := elf.Open(program); err != nil || strings.ToLower(file.Machine.String()) != map[string]string{"amd64": "em_x86_64", "arm64": "em_aarch64"}[arch] {
		t.Errorf("the program for %s: %v, %v", arch, file, err)
	}
	command := []string{program, "version"}
	if arch == "arm64" {
		testkit.NeedTools(t, "qemu-aarch64-static")
		command = append([]string{"qemu-aarch64-static"}, command...)
	}
	if said := output(t, command[0], command[1:]...); !strings.HasPrefix(said, packageName+" "+thisVersion+" ") {
		t.Errorf("the program for %s says %q", arch, said)
	}
	for _, unit := range unitNames {
		source, err := os.ReadFile("../../units/" + unit)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.ReplaceAll(string(source), "/usr/local/bin/"+packageName+" ", "/usr/bin/"+packageName+" ")
		if packaged, err := os.ReadFile(filepath.Join(folder, "usr/lib/systemd/system", unit)); err != nil || string(packaged) != want {
			t.Errorf("%s is not what units/ has with another path of the program: %v", unit, err)
		}
	}
}

func TestPackages_Linters(t *testing.T) {
	testkit.NeedTools(t, "lintian", "rpmlint", "shellcheck", "dpkg-deb", "rpm")
	var debs, rpms []string
	for _, arch := range []string{"amd64", "arm64"} {
		debs = append(debs, packagePath(t, thesePackages, debName(thisVersion, arch)))
	}
	for _, arch := range []string{"x86_64", "aarch64"} {
		rpms = append(rpms, packagePath(t, thesePackages, rpmName(thisVersion, arch)))
	}
	// As root it warns of that; no other output is expected.
	if said := output(t, "lintian", append([]string{"--allow-root", "--fail-on", "error,warning"}, debs...)...); said != "" {
		t.Errorf("lintian says:\n%s", said)
	}
	if said := output(t, "rpmlint", append([]string{"-c", "../../packaging/packages/rpmlint.toml"}, rpms...)...); !strings.Contains(said, " 0 errors, 0 warnings") {
		t.Errorf("rpmlint says:\n%s", said)
	}
	output(t, "shellcheck", maintainerScripts(t, debs[0], rpms[0])...)
}

// maintainerScripts returns the paths of files with the scripts of the packages, assembled from
// their parts.
func maintainerScripts(t *testing.T, deb, rpm string) (paths []string) {
	t.Helper()
	folder := t.TempDir()
	output(t, "dpkg-deb", "--control", deb, folder)
	for _, name := range []string{"preinst", "postinst", "prerm", "postrm"} {
		paths = append(paths, filepath.Join(folder, name))
	}
	for _, tag := range []string{"PREIN", "POSTIN", "PREUN", "POSTUN"} {
		path := filepath.Join(folder, "rpm-"+tag)
		text := output(t, "rpm", "-qp", "--queryformat", "%{"+tag+"}", rpm)
		if !regexp.MustCompile(`\A#!/bin/sh\nset -e\n`).MatchString(text) {
			t.Errorf("%s begins otherwise than a script:\n%.80s", tag, text)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}
