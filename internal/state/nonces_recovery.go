package state

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"
)

// FoundNonces is the result of recovery. For every request that was accepted before, its nonce is
// in Live, its timestamp is not after Floor, or it cannot pass the time window any more.
type FoundNonces struct {
	Live   []Nonce
	Floor  int64    // refuse all timestamps up to it; 0: none
	Why    string   // why Floor may refuse requests within the time window; else empty
	Damage []Damage // for the journal
}

// OpenNonces opens the ledger for requests whose timestamps are within window of now(), and
// recovers it.
func OpenNonces(d *Dir, window time.Duration, now func() time.Time) (*Nonces, FoundNonces, error) {
	boot, err := bootID()
	if err != nil {
		return nil, FoundNonces{}, err
	}
	return d.openNonces(window, now, boot, onDisk)
}

func (d *Dir) openNonces(
	window time.Duration, now func() time.Time, boot [16]byte, open opener,
) (*Nonces, FoundNonces, error) {
	m, known, intact, err := d.openMark("nonces.mark", open)
	if err != nil {
		return nil, FoundNonces{}, err
	}
	before := m.now
	if known { // if this start is interrupted, the next one must assume a power cut
		suspect := m.now
		suspect.clean, suspect.boot = false, [16]byte{}
		if err := m.put(suspect); err != nil {
			_ = m.file.Close()
			return nil, FoundNonces{}, err
		}
	}
	n := &Nonces{
		window: int64((window + time.Second - 1) / time.Second), now: now, mark: m,
		latest: map[*segment]int64{},
	}
	found, err := n.load(d, open)
	if err != nil {
		_ = m.file.Close()
		return nil, FoundNonces{}, err
	}
	n.findFloor(&found, before, known, intact, boot)
	start := mark{
		serial: m.now.serial, boot: boot, horizon: max(before.horizon, found.Floor),
		floor: found.Floor, logEnd: n.log.end(),
	}
	if err := m.format(start); err != nil {
		n.log.close()
		_ = m.file.Close()
		return nil, FoundNonces{}, err
	}
	n.horizon = start.horizon
	return n, found, nil
}

// load replays the log. Expired nonces raise the floor.
func (n *Nonces) load(d *Dir, open opener) (found FoundNonces, err error) {
	now := n.now().Unix()
	n.log, found.Damage, err = d.openLog(
		"nonces", nonceFiles, nonceSegment, open,
		func(at ref, payload []byte) {
			if len(payload) != nonceSize {
				return
			}
			nonce := Nonce{[16]byte(payload), int64(binary.LittleEndian.Uint64(payload[16:]))}
			n.track(at.segment, nonce.Timestamp)
			if nonce.Timestamp+n.window < now {
				found.Floor = max(found.Floor, nonce.Timestamp)
				return
			}
			found.Live = append(found.Live, nonce)
		},
	)
	return found, err
}

// findFloor raises the floor to cover the nonces that may have been lost.
func (n *Nonces) findFloor(found *FoundNonces, m mark, known, intact bool, boot [16]byte) {
	found.Floor = max(found.Floor, m.floor)
	fresh := !known && intact && n.log.end() == position{} && len(found.Damage) == 0
	if known && !n.log.reaches(m.logEnd) {
		found.Damage = append(
			found.Damage, Damage{File: "nonces", Offset: m.logEnd.offset, Kind: Missing},
		)
	}
	switch {
	case fresh:
	case !known || !intact: // only the clock is left
		found.Why = "the mark of the nonce log is missing or damaged"
		found.Floor = max(found.Floor, m.horizon, n.recent, n.now().Unix()+n.window)
	case len(found.Damage) > 0:
		found.Why = "the nonce log is damaged"
		found.Floor = max(found.Floor, m.horizon)
	case !m.clean && m.boot != boot:
		found.Why = "the host stopped before the daemon had ended in order"
		found.Floor = max(found.Floor, m.horizon)
	case m.floor+n.window >= n.now().Unix():
		found.Why = "nonces from before this start could not be recorded or read"
	}
}

// bootID returns the kernel's id of this boot.
func bootID() (id [16]byte, err error) {
	const path = "/proc/sys/kernel/random/boot_id"
	text, err := os.ReadFile(path)
	if err != nil {
		return id, fmt.Errorf("cannot read the boot id: %w", err)
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""))
	if err != nil || len(raw) != len(id) {
		return id, fmt.Errorf("cannot read the boot id: %s holds %q", path, text)
	}
	return [16]byte(raw), nil
}
