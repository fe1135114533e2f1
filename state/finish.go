package state

import "fmt"

// Finish records a job's result before its first delivery. When it returns nil, the result survives a
// power cut, and the caller may forget it: Result reads it back. On an error nothing was recorded; the
// caller keeps the result, and may try again.
func (d *Deliveries) Finish(id string, meta []byte, stdout, stderr Output) error {
	b, err := d.finish(id, meta, [2]Output{stdout, stderr})
	if err != nil {
		return fmt.Errorf("cannot record the result of job %s: %w", id, err)
	}
	if err := b.sync(); err != nil {
		d.takeBack(id)
		return fmt.Errorf("cannot record the result of job %s: %w", id, err)
	}
	return nil
}

func (d *Deliveries) finish(id string, meta []byte, outputs [2]Output) (*batch, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	j := d.jobs[id]
	switch {
	case d.closed:
		return nil, errClosed
	case j == nil:
		return nil, ErrUnknown
	case j.finish.segment != nil:
		return nil, fmt.Errorf("%w, with a result", ErrExists)
	}
	end := encodeFinish(id, [2]int64{outputs[0].Size, outputs[1].Size}, meta)
	if int64(len(end)) > d.log.segmentSize/2 || len(end) > maxPayload {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(end))
	}
	if err := d.makeRoom(d.stored(id, outputs)+int64(frameSize+len(end)), 0); err != nil {
		return nil, err
	}
	result := &job{id: id}
	b, err := d.write(func(b *batch) error { return result.write(b, outputs, d.chunk, end) })
	if err != nil {
		return nil, err
	}
	j.finish, j.chunks, j.sizes = result.finish, result.chunks, result.sizes
	d.needResult(j)
	return b, nil
}

// stored is how much room the outputs take with their frames.
func (d *Deliveries) stored(id string, outputs [2]Output) int64 {
	frame := int64(frameSize + chunkHead(id))
	size := int64(0)
	for _, o := range outputs {
		size += o.Size + (o.Size/d.chunk+1)*frame
	}
	return size
}

// write puts the chunks first and the record that makes them a result last.
func (j *job) write(b *batch, outputs [2]Output, size int64, end []byte) (err error) {
	for i, o := range outputs {
		w := &chunkWriter{batch: b, job: j, stream: i, buffer: make([]byte, 0, min(size, o.Size))}
		if _, err := o.Data.WriteTo(w); err != nil {
			return err
		}
		if err := w.flush(); err != nil {
			return err
		}
		if j.sizes[i] != o.Size {
			return fmt.Errorf("an output of %d bytes was announced, and %d came", o.Size, j.sizes[i])
		}
	}
	j.finish, err = b.append(end)
	return err
}

// chunkWriter cuts a stream into records.
type chunkWriter struct {
	batch  *batch
	job    *job
	stream int
	buffer []byte
}

func (w *chunkWriter) Write(p []byte) (written int, err error) {
	for len(p) > 0 {
		n := min(len(p), cap(w.buffer)-len(w.buffer))
		if n == 0 {
			if cap(w.buffer) == 0 {
				return written, fmt.Errorf("an output came that was announced as empty")
			}
			if err := w.flush(); err != nil {
				return written, err
			}
			continue
		}
		w.buffer = append(w.buffer, p[:n]...)
		p = p[n:]
		written += n
	}
	return written, nil
}

func (w *chunkWriter) flush() error {
	if len(w.buffer) == 0 {
		return nil
	}
	offset := &w.job.sizes[w.stream]
	at, err := w.batch.append(encodeChunkHead(w.job.id, w.stream, *offset), w.buffer)
	if err != nil {
		return err
	}
	w.job.chunks[w.stream] = append(w.job.chunks[w.stream], chunk{*offset, at})
	*offset += int64(len(w.buffer))
	w.buffer = w.buffer[:0]
	return nil
}

func (d *Deliveries) needResult(j *job) {
	d.need(j.finish)
	for i := range j.chunks {
		for _, c := range j.chunks[i] {
			d.need(c.at)
		}
	}
}

// takeBack undoes a result that could not be made durable: the next attempt writes it elsewhere.
func (d *Deliveries) takeBack(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if j := d.jobs[id]; j != nil {
		d.forgetResult(j)
	}
}
