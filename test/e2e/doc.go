// Package e2e tests the whole program as a user would use it, on a real Debian with systemd as PID 1:
// installed by install.sh, started by its units, called over its sockets.
//
// Each machine is a container on a temporary overlay, in its own network, cgroup, mount and process
// namespaces. The package must not touch the units, users, addresses or processes of the host, and
// must leave nothing there: a machine ends with the test process, however that process ends.
package e2e
