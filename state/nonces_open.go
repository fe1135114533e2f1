package state

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"
)

// FoundNonces is what the ledger holds at the start. Of every request that was accepted before, either
// the nonce is in Live or the timestamp is at or before Floor, or it cannot pass the window.
type FoundNonces struct {
	Live   []Nonce
	Floor  int64    // refuse everything at or before it; 0 if nothing is to be refused
	Why    string   // why Floor may refuse requests that are within the window; else empty
	Damage []Damage // for the journal
}

// OpenNonces opens the ledger of the nonces of requests within window of now().
func OpenNonces(d *Dir, window time.Duration, now func() time.Time) (*Nonces, FoundNonces, error) {
	boot, err := bootID()
	if err != nil {
		return nil, FoundNonces{}, err
	}
	return d.openNonces(window, now, boot, onDisk)
}

func (d *Dir) openNonces(window time.Duration, now func() time.Time, boot [16]byte, open opener) (*Nonces, FoundNonces, error) {
	m, known, whole, err := d.openMark("nonces.mark", open)
	if err != nil {
		return nil, FoundNonces{}, err
	}
	before := m.now
	if known { // should this start be cut short, the next one trusts as little as after a power cut
		suspect := m.now
		suspect.clean, suspect.boot = false, [16]byte{}
		if err := m.put(suspect); err != nil {
			_ = m.file.Close()
			return nil, FoundNonces{}, err
		}
	}
	n := &Nonces{window: int64((window + time.Second - 1) / time.Second), now: now, mark: m, latest: map[*segment]int64{}}
	found, err := n.load(d, open)
	if err != nil {
		_ = m.file.Close()
		return nil, FoundNonces{}, err
	}
	n.findFloor(&found, before, known, whole, boot)
	start := mark{serial: m.now.serial, boot: boot, horizon: max(before.horizon, found.Floor), floor: found.Floor, reached: n.log.reached()}
	if err := m.format(start); err != nil {
		n.log.close()
		_ = m.file.Close()
		return nil, FoundNonces{}, err
	}
	n.horizon = start.horizon
	return n, found, nil
}

// load reads the log. Dead nonces go into the floor.
func (n *Nonces) load(d *Dir, open opener) (found FoundNonces, err error) {
	now := n.now().Unix()
	n.log, found.Damage, err = d.openLog("nonces", nonceFiles, nonceSegment, open, func(at ref, payload []byte) {
		if len(payload) != nonceRecord {
			return
		}
		nonce := Nonce{[16]byte(payload), int64(binary.LittleEndian.Uint64(payload[16:]))}
		n.note(at.segment, nonce.Timestamp)
		if nonce.Timestamp+n.window < now {
			found.Floor = max(found.Floor, nonce.Timestamp)
			return
		}
		found.Live = append(found.Live, nonce)
	})
	return found, err
}

// findFloor settles what must be refused because it cannot be verified.
func (n *Nonces) findFloor(found *FoundNonces, m mark, known, whole bool, boot [16]byte) {
	found.Floor = max(found.Floor, m.floor)
	fresh := !known && whole && n.log.reached() == position{} && len(found.Damage) == 0
	if known && !n.log.reaches(m.reached) {
		found.Damage = append(found.Damage, Damage{File: "nonces", Offset: m.reached.offset, Kind: Missing})
	}
	switch {
	case fresh:
	case !known || !whole: // then the clock is all there is to go by
		found.Why = "the mark of the nonce log is missing or damaged"
		found.Floor = max(found.Floor, m.horizon, n.recent, n.now().Unix()+n.window)
	case len(found.Damage) > 0:
		found.Why = "the nonce log is damaged"
		found.Floor = max(found.Floor, m.horizon)
	case !m.clean && m.boot != boot:
		found.Why = "the host stopped without the daemon having ended in order"
		found.Floor = max(found.Floor, m.horizon)
	case m.floor+n.window >= n.now().Unix():
		found.Why = "nonces from before this start could not be recorded or read"
	}
}

// bootID tells this boot of the host from any other.
func bootID() (id [16]byte, err error) {
	const path = "/proc/sys/kernel/random/boot_id"
	text, err := os.ReadFile(path)
	if err != nil {
		return id, fmt.Errorf("cannot tell this boot from an earlier one: %w", err)
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""))
	if err != nil || len(raw) != len(id) {
		return id, fmt.Errorf("cannot tell this boot from an earlier one: %s holds %q", path, text)
	}
	return [16]byte(raw), nil
}
