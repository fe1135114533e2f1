package doctor

import (
	"slices"

	"dataflux-func-sidecar/config"
	"dataflux-func-sidecar/host"
	"dataflux-func-sidecar/units"
)

// checkMetrics finds metrics that are half switched on or off. Of those that are off it says nothing.
func checkMetrics(p *patient) []Finding {
	unit := p.systemd[units.Metrics]
	enabled := slices.Contains([]string{"enabled", "enabled-runtime"}, unit["UnitFileState"])
	switch active := unit["ActiveState"] == "active"; {
	case enabled && !active:
		return []Finding{unwise("%s is enabled and %s: the service has started without it, so there are no metrics. If a restart does not help, it says why: "+
			"journalctl -u %s -n 5", units.Metrics, unit["ActiveState"], units.Metrics).mendedBy(units.Restart)}
	case active && !enabled:
		return []Finding{unwise("%s is active and not enabled, so there are no metrics from the next boot on", units.Metrics).
			mendedBy("systemctl enable " + units.Metrics)}
	case active:
		return []Finding{well("%s is active and enabled", units.Metrics)}
	case p.servesMetrics():
		return []Finding{unwise("%s is off, but the service keeps the socket that it was given", units.Metrics).mendedBy(units.Restart)}
	}
	return nil
}

// servesMetrics says whether the service has an address of the unit open.
func (p *patient) servesMetrics() bool {
	for _, stream := range config.ListenStreams(units.WithDropIns(p.unitFile(units.Metrics), p.UnitDir)) {
		// One that BIND could not have, such as a port without an address, is left out.
		if addresses, err := config.ParseBind(stream); err == nil && host.ServiceHas(addresses[0]) {
			return true
		}
	}
	return false
}
