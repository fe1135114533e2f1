package exec

import (
	"os"

	"golang.org/x/sys/unix"
)

// readOnce reads or drops at most `most` bytes. It needs reading.
func (p *pipe) readOnce(most int) (n int, err error) {
	output := p.attached()
	switch {
	case output == nil:
		n, err = p.drop(most)
		p.late.Add(int64(n))
	case output.mask.Load() != nil:
		n, err = p.readMasked(output, most)
	case output.isFull():
		n, err = p.readBehind(output, most)
	default:
		n, err = p.readStart(output, most)
	}
	return n, err
}

// readStart reads at most `most` bytes into the start that is kept. A command can make its pipe one
// of packets, by O_DIRECT, each of a page at most. The kernel drops what of a packet does not fit a
// read, so there is room for a page in any case. It needs reading.
func (p *pipe) readStart(output *Output, most int) (n int, err error) {
	b := output.borrow(most)
	kept := false
	if len(b.space) < min(most, os.Getpagesize()) {
		output.giveBack(b, 0)
		scratch := p.buffers.scratch()
		defer p.buffers.scratches.Put(scratch)
		n, err = readPipe(p.fd, scratch[:min(most, len(scratch))])
		kept = p.keep(n, func() { output.add(scratch[:n]) })
	} else {
		n, err = readPipe(p.fd, b.space)
		if kept = p.keep(n, func() { output.commit(b, n) }); !kept {
			output.giveBack(b, n)
		}
	}
	if kept && output.isLarge() {
		p.widen()
	}
	return n, err
}

// readBehind reads or drops at most `most` bytes behind the start that is kept. Bytes that the end
// would not keep, as more are in the pipe behind them, are dropped. It needs reading.
func (p *pipe) readBehind(output *Output, most int) (n int, err error) {
	extra := most
	if end := output.tail.limit; end > 0 {
		extra = 0
		if p.wide { // else hardly more is in the pipe than one read takes
			extra = min(p.buffered(), most) - end
		}
	}
	if extra > 0 {
		n, err = p.drop(extra)
		p.keep(n, func() { output.addDropped(n) })
		return n, err
	}
	scratch := p.buffers.scratch()
	defer p.buffers.scratches.Put(scratch)
	n, err = readPipe(p.fd, scratch[:min(most, len(scratch))])
	p.keep(n, func() { output.addTail(scratch[:n]) })
	return n, err
}

// readMasked reads at most `most` bytes and keeps them masked. It needs reading.
func (p *pipe) readMasked(output *Output, most int) (n int, err error) {
	in, out := p.buffers.scratch(), p.buffers.scratch()
	defer p.buffers.scratches.Put(in)
	defer p.buffers.scratches.Put(out)
	n, err = readPipe(p.fd, in[:min(most, len(in))])
	if p.keep(n, func() { output.addMasked(out[:0], in[:n]) }) && output.isLarge() {
		p.widen()
	}
	return n, err
}

func (p *pipe) attached() *Output {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output
}

// keep calls f for n bytes that were read, and returns true. If the output was detached meanwhile,
// they are late.
func (p *pipe) keep(n int, f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.output == nil {
		p.late.Add(int64(n))
		return false
	}
	f()
	return true
}

func readPipe(fd int, into []byte) (int, error) {
	for {
		n, err := unix.Read(fd, into)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// widen enlarges the pipe of a command that writes much, so that the two sides switch less often.
// Where the budget does not allow it nothing is lost. It needs reading.
func (p *pipe) widen() {
	if p.wide || !p.buffers.takeWide() {
		return
	}
	p.wide = true
	_, _ = unix.FcntlInt(uintptr(p.fd), unix.F_SETPIPE_SZ, pipeSize)
}

// drop moves bytes to /dev/null inside the kernel, which takes neither memory nor a copy, however
// much a command writes. It needs reading.
func (p *pipe) drop(most int) (int, error) {
	const flags = unix.SPLICE_F_NONBLOCK | unix.SPLICE_F_MOVE
	for {
		n, err := unix.Splice(p.fd, nil, int(p.null.Fd()), nil, most, flags)
		switch err {
		case unix.EINTR:
		case nil, unix.EAGAIN:
			return int(max(n, 0)), err
		default: // this /dev/null takes no splice
			scratch := p.buffers.scratch()
			defer p.buffers.scratches.Put(scratch)
			return readPipe(p.fd, scratch[:min(most, len(scratch))])
		}
	}
}
