// Package connector has the Python scripts for DataFlux Func that call the Sidecar; README.md says
// how to add them. Its only Go code are tests, which run the scripts against the real daemon.
package connector
