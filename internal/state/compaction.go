package state

// maxLive bounds the bytes that are needed at once. The rest keeps compaction worthwhile: it frees
// nothing from a file in which all records are needed.
func (d *Deliveries) maxLive() int64 { return d.capacity / 4 * 3 }

// makeRoom compacts until size bytes can be appended, and headroom bytes after them. It returns
// ErrFull if compaction cannot free enough.
func (d *Deliveries) makeRoom(size, headroom int64) error {
	if d.totalBytes.Load()+size+headroom > d.maxLive() {
		return ErrFull
	}
	d.moveFromFailed()
	if err := d.dropUnused(); err != nil {
		return err
	}
	for range deliveryFiles {
		enough := d.room() >= size
		if enough && !d.fragmented() {
			return nil
		}
		moved, err := d.compactOldest()
		switch {
		case err != nil && !enough:
			return err
		case enough && (err != nil || !moved):
			return nil
		case !moved:
			return ErrFull
		}
	}
	if d.room() >= size {
		return nil
	}
	return ErrFull
}

// room is how many bytes can be appended for certain, with one empty file left for compaction.
func (d *Deliveries) room() int64 {
	return d.log.room(d.chunk + frameSize + int64(chunkHeadSize("")) + maxID)
}

// fragmented reports whether the files are more than four times as large as the needed records.
func (d *Deliveries) fragmented() bool {
	return int64(d.log.count()-4)*d.log.segmentSize > 4*d.totalBytes.Load()
}

// dropUnused empties the oldest files as long as no record in them is needed.
func (d *Deliveries) dropUnused() error {
	for {
		s, _ := d.log.oldest()
		if s == nil {
			clear(d.undone) // the records that they would end are gone
			return nil
		}
		if d.liveBytes[s] > 0 {
			return nil
		}
		// Done records must be durable before a part of their job's records is gone: otherwise a
		// power cut would bring the other part back, as a job without a result.
		if d.log.count() > 1 {
			if err := d.log.sync(); err != nil {
				return err
			}
		}
		if err := d.log.drop(s); err != nil {
			return err
		}
	}
}

// compactOldest moves the needed records of the oldest file to the newest, and empties it. It
// returns false if that is the same file.
func (d *Deliveries) compactOldest() (moved bool, err error) {
	s, active := d.log.oldest()
	if s == nil || active {
		return false, nil
	}
	if err := d.moveRecords(s, 0); err != nil {
		return false, err
	}
	return true, d.dropUnused()
}

// moveFromFailed moves the needed records of files that failed to sync. Records that were durable
// before the failure are most likely still there. This is best effort.
func (d *Deliveries) moveFromFailed() {
	for s := range d.liveBytes {
		if s.broken() {
			_ = d.moveRecords(s, 1)
		}
	}
}

// moveRecords copies the needed records of s and leaves reserve files empty. The copies count once
// they are durable.
func (d *Deliveries) moveRecords(s *segment, reserve int) error {
	var old []*ref
	kept := map[*ref]bool{} // accept records of jobs that owe no callback
	for _, j := range d.jobs {
		old = append(old, j.refsIn(s)...)
		kept[&j.accept] = !j.owed
	}
	copies := make([]ref, len(old))
	buffer := make([]byte, d.chunk+frameSize+int64(chunkHeadSize(""))+maxID)
	b, err := d.log.write(reserve, func(b *batch) error {
		for i, r := range old {
			payload, err := r.read(buffer)
			if err != nil {
				return err
			}
			if kept[r] {
				// The copy may come after the record that settled the callback.
				payload[0] = byte(keepRecord)
			}
			if copies[i], err = b.append(payload); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := b.sync(); err != nil {
		d.log.withdraw(b)
		return err
	}
	for i, r := range old {
		d.release(*r)
		*r = copies[i]
		d.retain(*r)
	}
	return nil
}

// refsIn returns pointers to the job's refs into s.
func (j *recordPlaces) refsIn(s *segment) []*ref {
	var refs []*ref
	add := func(r *ref) {
		if r.segment == s {
			refs = append(refs, r)
		}
	}
	add(&j.accept)
	for i := range j.chunks {
		for k := range j.chunks[i] {
			add(&j.chunks[i][k].at)
		}
	}
	add(&j.finish)
	return refs
}
