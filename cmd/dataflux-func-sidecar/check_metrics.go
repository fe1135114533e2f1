package main

import (
	"slices"

	"dataflux-func-sidecar/config"
)

const metricsUnit = "dataflux-func-sidecar-metrics.socket"

// checkMetrics finds metrics that are half switched on or off. Of those that are off it says nothing.
func checkMetrics(p *patient) []finding {
	unit := p.systemd[metricsUnit]
	enabled := slices.Contains([]string{"enabled", "enabled-runtime"}, unit["UnitFileState"])
	switch active := unit["ActiveState"] == "active"; {
	case enabled && !active:
		return []finding{unwise("%s is enabled and %s: the service has started without it, so there are no metrics. If a restart does not help, it says why: "+
			"journalctl -u %s -n 5", metricsUnit, unit["ActiveState"], metricsUnit).mendedBy(restart)}
	case active && !enabled:
		return []finding{unwise("%s is active and not enabled, so there are no metrics from the next boot on", metricsUnit).mendedBy("systemctl enable " + metricsUnit)}
	case active:
		return []finding{well("%s is active and enabled", metricsUnit)}
	case p.servesMetrics():
		return []finding{unwise("%s is off, but the service keeps the socket that it was given", metricsUnit).mendedBy(restart)}
	}
	return nil
}

// servesMetrics says whether the service has an address of the unit open.
func (p *patient) servesMetrics() bool {
	for _, stream := range config.ListenStreams(withDropIns(p.unitFile(metricsUnit), p.unitDir)) {
		addresses, err := config.ParseBind(stream)
		if err != nil {
			continue // such as a port without an address
		}
		sockets, _ := inTheWay(addresses[0])
		if slices.ContainsFunc(sockets, func(s heldSocket) bool { return s.ours(nil) }) {
			return true
		}
	}
	return false
}
