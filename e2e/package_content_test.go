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
)

func needTools(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		_, err := exec.LookPath(tool)
		need(t, err == nil, "looking into packages needs "+tool)
	}
}

// output runs a tool of this host that must succeed.
func output(t *testing.T, tool string, args ...string) string {
	t.Helper()
	out, err := exec.Command(tool, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", tool, args, err, out)
	}
	return string(out)
}

// inBoth lists what both kinds of package hold, with mode; everything belongs to root.
func inBoth() []string {
	return []string{
		"-rwx--x--x /usr/bin/dataflux-func-sidecar",
		"-rw-r--r-- /usr/lib/systemd/catalog/dataflux-func-sidecar.catalog",
		"-rw-r--r-- /usr/lib/systemd/system-preset/80-dataflux-func-sidecar.preset",
		"-rw-r--r-- /usr/lib/systemd/system/dataflux-func-sidecar-metrics.socket",
		"-rw-r--r-- /usr/lib/systemd/system/dataflux-func-sidecar-ports.service",
		"-rw-r--r-- /usr/lib/systemd/system/dataflux-func-sidecar.service",
		"-rw-r--r-- /usr/lib/systemd/system/dataflux-func-sidecar.service.d/first-start.conf",
		"-rw-r--r-- /usr/lib/systemd/system/dataflux-func-sidecar.socket",
		"-rw-r--r-- /usr/lib/sysusers.d/dataflux-func-sidecar.conf",
		"-rw-r--r-- /usr/share/bash-completion/completions/dataflux-func-sidecar",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/COMPATIBILITY.md",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/PROTOCOL.md",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/README.md",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/README.zh-CN.md",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/SECURITY.md",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/STATE.md",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/changelog.gz",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/config/reference.toml",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/connector/README.md",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/connector/sidecar__callback.py",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/connector/sidecar__example.py",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/connector/sidecar__helper.py",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/connector/sidecar__wire.py",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/docs/architecture.md",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/docs/benchmark.md",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/docs/benchmark.svg",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/docs/development.md",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/docs/first-five-minutes.md",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/docs/operations.md",
		"-rw-r--r-- /usr/share/doc/dataflux-func-sidecar/docs/troubleshooting.md",
		"-rw-r--r-- /usr/share/man/man5/dataflux-func-sidecar.5.gz",
		"-rw-r--r-- /usr/share/man/man8/dataflux-func-sidecar.8.gz",
	}
}

func TestDebianPackagesHoldWhatTheyShould(t *testing.T) {
	needTools(t, "dpkg-deb")
	want := append(inBoth(),
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

func TestRPMPackagesHoldWhatTheyShould(t *testing.T) {
	needTools(t, "rpm")
	want := append(inBoth(),
		"drwxr-xr-x /usr/lib/systemd/system/dataflux-func-sidecar.service.d",
		"drwxr-xr-x /usr/share/doc/dataflux-func-sidecar",
		"drwxr-xr-x /usr/share/doc/dataflux-func-sidecar/config",
		"drwxr-xr-x /usr/share/doc/dataflux-func-sidecar/connector",
		"drwxr-xr-x /usr/share/doc/dataflux-func-sidecar/docs",
		"drwxr-xr-x /usr/share/licenses/dataflux-func-sidecar",
		"-rw-r--r-- /usr/share/licenses/dataflux-func-sidecar/copyright",
		"-rw-r--r-- /usr/share/licenses/dataflux-func-sidecar/third-party-licences.gz",
		"-rw-r--r-- /usr/share/zsh/site-functions/_dataflux-func-sidecar")
	slices.Sort(want)
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
	needTools(t, "rpm2archive", "tar")
	folder := t.TempDir()
	output(t, "sh", "-euc", `rpm2archive - <"$1" | tar -xz -C "$2"`, "sh", rpm, folder)
	return folder
}

// checkProgram runs the packaged program, on this host's processor or an emulated one, and looks at what
// the packages changed of the units.
func checkProgram(t *testing.T, arch, folder string) {
	t.Helper()
	program := filepath.Join(folder, "usr/bin", packageName)
	if file, err := elf.Open(program); err != nil || strings.ToLower(file.Machine.String()) != map[string]string{"amd64": "em_x86_64", "arm64": "em_aarch64"}[arch] {
		t.Errorf("the program for %s: %v, %v", arch, file, err)
	}
	command := []string{program, "version"}
	if arch == "arm64" {
		needTools(t, "qemu-aarch64-static")
		command = append([]string{"qemu-aarch64-static"}, command...)
	}
	if said := output(t, command[0], command[1:]...); !strings.HasPrefix(said, packageName+" "+thisVersion+" ") {
		t.Errorf("the program for %s says %q", arch, said)
	}
	for _, unit := range []string{service, socket, ports} {
		source, err := os.ReadFile("../units/" + unit)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Replace(string(source), "\nExecStart=/usr/local/bin/", "\nExecStart=/usr/bin/", 1)
		if packaged, err := os.ReadFile(filepath.Join(folder, "usr/lib/systemd/system", unit)); err != nil || string(packaged) != want {
			t.Errorf("%s is not what units/ has with another path of the program: %v", unit, err)
		}
	}
}

func TestPackagesPassTheirDistributionsLinters(t *testing.T) {
	needTools(t, "lintian", "rpmlint", "shellcheck", "dpkg-deb", "rpm")
	var debs, rpms []string
	for _, arch := range []string{"amd64", "arm64"} {
		debs = append(debs, packagePath(t, thesePackages, debName(thisVersion, arch)))
	}
	for _, arch := range []string{"x86_64", "aarch64"} {
		rpms = append(rpms, packagePath(t, thesePackages, rpmName(thisVersion, arch)))
	}
	// Run as root it warns of that, and nothing else is expected.
	if said := output(t, "lintian", append([]string{"--allow-root", "--fail-on", "error,warning"}, debs...)...); said != "" {
		t.Errorf("lintian says:\n%s", said)
	}
	if said := output(t, "rpmlint", append([]string{"-c", "../release/packages/rpmlint.toml"}, rpms...)...); !strings.Contains(said, " 0 errors, 0 warnings") {
		t.Errorf("rpmlint says:\n%s", said)
	}
	output(t, "shellcheck", maintainerScripts(t, debs[0], rpms[0])...)
}

// maintainerScripts are files with the scripts as packages have them, put together from their parts.
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
