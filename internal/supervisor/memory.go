package supervisor

import (
	"runtime"
	"runtime/debug"
)

// idleMemory returns memory to the system after a burst of work. The runtime alone keeps most of it
// for minutes, and in an idle daemon for good.
type idleMemory struct {
	lastDone int // work done at the last tick
	freedAt  int // work done when memory was returned last
}

// tick is called every few seconds, with the work done since the start. It returns memory at the
// second tick without new work: at the first one, an answer may still be on its way.
func (m *idleMemory) tick(idle bool, done int) {
	if idle && done == m.lastDone && done != m.freedAt {
		m.freedAt = done
		m.free()
	}
	m.lastDone = done
}

// free is also called after the start, which leaves garbage that nothing else would collect.
func (m *idleMemory) free() {
	runtime.GC() // sync.Pools are emptied by the second collection only, which follows
	debug.FreeOSMemory()
}
