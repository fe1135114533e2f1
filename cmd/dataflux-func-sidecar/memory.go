package main

import (
	"runtime"
	"runtime/debug"
)

// idleMemory gives memory back to the system after a burst of work. The runtime by itself keeps most
// of it for minutes, and an idle daemon for good.
type idleMemory struct {
	seen  int // the work done at the last tick
	freed int // the work done when memory was last given back
}

// tick is called every few seconds. Memory is given back at the second tick without work in between:
// at the first one, an answer may still be on its way.
func (m *idleMemory) tick(idle bool, done int) {
	if idle && done == m.seen && done != m.freed {
		m.freed = done
		m.free()
	}
	m.seen = done
}

// free is also of use when the start is over, whose garbage nothing else would collect.
func (m *idleMemory) free() {
	runtime.GC() // what the pools hold goes with the second collection, which follows
	debug.FreeOSMemory()
}
