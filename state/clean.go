package state

// limit is how many bytes may be needed at once. The rest is what makes copying worthwhile: a file in
// which everything is needed frees nothing.
func (d *Deliveries) limit() int64 { return d.capacity / 4 * 3 }

// makeRoom sees to it that size bytes can be appended, with headroom for more.
func (d *Deliveries) makeRoom(size, headroom int64) error {
	if d.total+size+headroom > d.limit() {
		return ErrFull
	}
	d.evacuate()
	if err := d.trim(); err != nil {
		return err
	}
	for range deliveryFiles {
		enough := d.room() >= size
		if enough && !d.sparse() {
			return nil
		}
		moved, err := d.cleanOldest()
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

// room is how much can be appended for certain, one empty file being left for copying.
func (d *Deliveries) room() int64 {
	waste := d.chunk + frameSize + int64(chunkHead("")) + maxID // at the end of a file, where no whole chunk fits
	d.log.mu.Lock()
	defer d.log.mu.Unlock()
	room := int64(len(d.log.free)-1) * (d.log.segmentSize - headerSize - waste)
	if s := d.log.active(); s != nil {
		room += max(0, d.log.segmentSize-s.size()-waste)
	}
	return room
}

// sparse says whether the files are much larger than what is needed of them.
func (d *Deliveries) sparse() bool {
	d.log.mu.Lock()
	defer d.log.mu.Unlock()
	return int64(len(d.log.segments)-4)*d.log.segmentSize > 4*d.total
}

// trim empties the oldest files as long as nothing in them is needed.
func (d *Deliveries) trim() error {
	for {
		s, _ := d.log.oldest()
		if s == nil {
			clear(d.owed) // what was owed concerned records that are gone
			return nil
		}
		if d.live[s] > 0 {
			return nil
		}
		// The ends of jobs must be on disk before a part of their records goes: a power cut would bring
		// back the rest, as a job that never had a result.
		if !d.log.single() {
			if err := d.log.sync(); err != nil {
				return err
			}
		}
		if err := d.log.drop(s); err != nil {
			return err
		}
	}
}

// cleanOldest copies what is needed of the oldest file to the newest, and empties it. It returns false
// if they are the same.
func (d *Deliveries) cleanOldest() (bool, error) {
	s, active := d.log.oldest()
	if s == nil || active {
		return false, nil
	}
	if err := d.relocate(s, 0); err != nil {
		return false, err
	}
	return true, d.trim()
}

// evacuate copies what is needed of files that failed to sync. What was durable there before is most
// likely still so; this makes sure of it, as far as it can.
func (d *Deliveries) evacuate() {
	for s := range d.live {
		if s.broken() {
			_ = d.relocate(s, 1)
		}
	}
}

// relocate copies the needed records of s, and leaves keep files empty. Only when the copies are
// durable do they count.
func (d *Deliveries) relocate(s *segment, keep int) error {
	var old []*ref
	for _, j := range d.jobs {
		old = append(old, j.refsIn(s)...)
	}
	copies, buffer := make([]ref, len(old)), make([]byte, d.chunk+frameSize+int64(chunkHead(""))+maxID)
	b, err := d.log.write(keep, func(b *batch) error {
		for i, r := range old {
			payload, err := r.read(buffer)
			if err != nil {
				return err
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
		d.unneed(*r)
		*r = copies[i]
		d.need(*r)
	}
	return nil
}

// refsIn are the places where the job's records in s are noted.
func (j *job) refsIn(s *segment) []*ref {
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
