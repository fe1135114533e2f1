package supervisor

import (
	"context"
	"errors"
	"time"

	"dataflux-func-sidecar/internal/config"
	"dataflux-func-sidecar/internal/journal"
	"dataflux-func-sidecar/internal/state"
	"dataflux-func-sidecar/sign"
)

const (
	// stateHeadroom is the bytes that stay free in the state files for the results of commands that
	// were accepted with a callback.
	stateHeadroom = 64 << 20
	syncInterval  = time.Second
	// syncReportInterval is the interval between two log entries about failing syncs.
	syncReportInterval = time.Minute
)

// durableState is what outlives this process: accepted nonces and owed callbacks. It is opened
// as root, and used after the drop through the open descriptors.
type durableState struct {
	dir             *state.Dir
	nonces          *state.Nonces
	deliveries      *state.Deliveries
	foundNonces     state.FoundNonces
	foundDeliveries state.FoundDeliveries

	syncing chan struct{} // has a token during a sync, and while syncs pause
}

func openState(path string, settings config.Config) (*durableState, error) {
	dir, err := state.OpenDir(path)
	if err != nil {
		return nil, err
	}
	return openLedgers(dir, settings)
}

// openLedgers closes the directory if it fails.
func openLedgers(dir *state.Dir, settings config.Config) (d *durableState, err error) {
	d = &durableState{dir: dir, syncing: make(chan struct{}, 1)}
	d.nonces, d.foundNonces, err = state.OpenNonces(d.dir, settings.TimeWindow, time.Now)
	if err != nil {
		return nil, errors.Join(err, d.dir.Close())
	}
	headroom := min(stateHeadroom, settings.MaxState/4)
	d.deliveries, d.foundDeliveries, err = state.OpenDeliveries(d.dir, settings.MaxState, headroom)
	if err != nil {
		return nil, errors.Join(err, d.nonces.Close(), d.dir.Close())
	}
	return d, nil
}

// restore puts the nonces of earlier processes into the cache, and logs damage to the state files.
func (d *durableState) restore(cache *sign.NonceCache, log *journal.Log) {
	for _, n := range d.foundNonces.Live {
		cache.Restore(n.Fingerprint, n.Timestamp)
	}
	cache.RefuseUpTo(d.foundNonces.Floor)
	if d.foundNonces.Why != "" {
		logf(log, journal.Degraded(),
			"Requests signed up to %s are refused, as replays among them are not recognised: %s",
			time.Unix(d.foundNonces.Floor, 0).UTC().Format(time.RFC3339), d.foundNonces.Why)
	}
	for _, damage := range append(d.foundNonces.Damage, d.foundDeliveries.Damage...) {
		logf(log, journal.Degraded(), "A state file was damaged: %s", damage)
	}
	d.foundNonces.Live = nil
}

// keepSynced syncs the nonces once a second, until the process ends. It logs failures.
func (d *durableState) keepSynced(log *journal.Log) {
	var reported time.Time
	for range time.Tick(syncInterval) {
		d.syncing <- struct{}{}
		err := d.nonces.Sync()
		<-d.syncing
		if err != nil && time.Since(reported) > syncReportInterval {
			reported = time.Now()
			logf(log, journal.Degraded(), "The state directory is in trouble: %v", err)
		}
	}
}

// pause waits for the sync that is under way, and lets no other begin before resume.
func (d *durableState) pause(ctx context.Context) error {
	select {
	case d.syncing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errors.New("cannot reload now: a write to the state directory does not finish; " +
			"hint: look at the disk of that directory, then reload again")
	}
}

func (d *durableState) resume() { <-d.syncing }

// syncForHandover returns an error if a successor could not use the files. The sync at rest, which
// follows, is short.
func (d *durableState) syncForHandover() error {
	if err := d.nonces.SyncForHandover(); err != nil {
		return err
	}
	return d.deliveries.Sync()
}

// sync makes everything durable. The failure of a file is returned once.
func (d *durableState) sync() error {
	if err := d.nonces.Sync(); err != nil {
		return err
	}
	return d.deliveries.Sync()
}

// close records that the daemon ended in order.
func (d *durableState) close() error {
	return errors.Join(d.nonces.Close(), d.deliveries.Close(), d.dir.Close())
}
