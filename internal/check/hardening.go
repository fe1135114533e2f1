package check

import (
	"slices"

	"dataflux-func-sidecar/units"
)

// confinement is a setting of systemd that applies to the commands as well. The unit sets none of
// them; the end of its file says why.
type confinement struct{ property, loss string }

func confinements() []confinement {
	return []confinement{
		{"ProtectHome", "cannot use home directories"},
		{"ProtectSystem", "cannot write to /usr, /boot, or more"},
		{"ReadOnlyPaths", "cannot write there"},
		{"InaccessiblePaths", "cannot use these paths"},
		{"NoExecPaths", "cannot execute what is there"},
		{"TemporaryFileSystem", "see an empty directory there"},
		{"RootDirectory", "see that directory as /"},
		{"PrivateTmp", "see a /tmp of their own"},
		{"PrivateDevices", "have few devices"},
		{"PrivateUsers", "see most users as nobody"},
		{"PrivateNetwork", "have no network, and callbacks fail"},
		{"IPAddressDeny", "cannot reach these addresses, nor can callbacks"},
		{"RestrictAddressFamilies", "cannot use all kinds of sockets"},
		{"ProtectProc", "see their own processes only"},
		{"ProcSubset", "see processes only in /proc"},
		{"ProtectControlGroups", "get no cgroups of their own"},
		{"ProtectKernelTunables", "cannot write to /proc/sys"},
		{"ProtectKernelModules", "cannot read /usr/lib/modules"},
		{"MemoryDenyWriteExecute", "cannot run Node.js, Java and others with a JIT compiler"},
		{"RestrictNamespaces", "cannot run containers or unshare"},
		{"RestrictSUIDSGID", "cannot set the bits setuid and setgid"},
		{"LockPersonality", "cannot set their personality"},
		{"SystemCallFilter", "fail where they make another system call"},
		{"SystemCallArchitectures", "cannot run programs for other architectures"},
	}
}

// checkHardening finds settings of drop-ins that confine commands.
func checkHardening(c *checker) (found []Finding) {
	unit := c.units[units.Service]
	for _, one := range confinements() {
		value := unit[one.property] // empty: it is not set, or this systemd does not know it
		if slices.Contains([]string{"", "no", "default", "all", "~"}, value) {
			continue
		}
		found = append(found, warning("%s=%s applies to commands as well, so they %s: remove it "+
			"from the drop-in unless that is intended (systemctl cat %s)",
			one.property, value, one.loss, units.Service))
	}
	if c.settings.AllowSudo && unit["NoNewPrivileges"] == "yes" {
		found = append(found, warning("NoNewPrivileges=yes makes ALLOW_SUDO = true void: remove "+
			"it from the drop-in, or set ALLOW_SUDO = false (systemctl cat %s)", units.Service))
	}
	if len(found) == 0 {
		found = append(found, ok("no drop-in of the service confines its commands"))
	}
	return found
}
