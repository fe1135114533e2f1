// Package system tests the built program over real sockets. It imports no package of the program,
// so that it implements the wire contract a second time, from docs/protocol.md.
package system

import (
	"flag"
	"testing"

	"dataflux-func-sidecar/test/testkit"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "6") // these tests mostly wait
	testkit.Main(m)
}
