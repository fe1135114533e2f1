// Package e2e proves the whole program on a real Debian with systemd as PID 1: installed by install.sh,
// started by its units, called over its sockets, as a user would.
//
// Every machine is a container of its own on a throw-away overlay, in its own network, cgroup, mount and
// process namespaces. The package must never touch the host's own units, users, addresses or processes,
// and must leave nothing behind: a machine dies with the test process, however that ends.
package e2e
