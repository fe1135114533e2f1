package main

import (
	"errors"
	"fmt"
	"time"

	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/journal"
	"dataflux-func-sidecar/sign"
	"dataflux-func-sidecar/state"
)

const (
	// stateHeadroom is, in bytes, what stays free in the state files for the results of commands that
	// were accepted with a callback.
	stateHeadroom = 64 << 20
	syncInterval  = time.Second
	// troubleInterval is how often the journal hears of the same trouble with the state files.
	troubleInterval = time.Minute
)

// durable is what outlives this process. It is opened as root, and used as the run user through the
// descriptors that it holds.
type durable struct {
	dir             *state.Dir
	nonces          *state.Nonces
	deliveries      *state.Deliveries
	foundNonces     state.FoundNonces
	foundDeliveries state.FoundDeliveries
}

func openDurable(path string, settings config.Config) (*durable, error) {
	d := &durable{}
	var err error
	if d.dir, err = state.OpenDir(path); err != nil {
		return nil, err
	}
	if d.nonces, d.foundNonces, err = state.OpenNonces(d.dir, settings.TimeWindow, time.Now); err != nil {
		return nil, errors.Join(err, d.dir.Close())
	}
	if d.deliveries, d.foundDeliveries, err = state.OpenDeliveries(d.dir, settings.MaxState, min(stateHeadroom, settings.MaxState/4)); err != nil {
		return nil, errors.Join(err, d.nonces.Close(), d.dir.Close())
	}
	return d, nil
}

// restore hands what was found to the nonce cache, and tells of what was damaged.
func (d *durable) restore(cache *sign.NonceCache, log *journal.Log) {
	for _, n := range d.foundNonces.Live {
		cache.Restore(n.Fingerprint, n.Timestamp)
	}
	cache.RefuseUpTo(d.foundNonces.Floor)
	if d.foundNonces.Why != "" {
		log.Write(journal.Degraded(), fmt.Sprintf("Requests signed up to %s are refused, as replays among them could not be told: %s",
			time.Unix(d.foundNonces.Floor, 0).UTC().Format(time.RFC3339), d.foundNonces.Why), nil)
	}
	for _, damage := range append(d.foundNonces.Damage, d.foundDeliveries.Damage...) {
		log.Write(journal.Degraded(), fmt.Sprintf("A state file was damaged: %s", damage), nil)
	}
	d.foundNonces.Live = nil
}

// keepSynced makes the latest nonces durable about once a second, until the process ends.
func (d *durable) keepSynced(log *journal.Log) {
	var told time.Time
	for range time.Tick(syncInterval) {
		err := d.nonces.Sync()
		if err != nil && time.Since(told) > troubleInterval {
			told = time.Now()
			log.Write(journal.Degraded(), fmt.Sprintf("The state directory is in trouble: %v", err), nil)
		}
	}
}

// close notes on disk that the daemon ended in order.
func (d *durable) close() error {
	return errors.Join(d.nonces.Close(), d.deliveries.Close(), d.dir.Close())
}
