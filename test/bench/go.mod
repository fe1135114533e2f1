module dataflux-func-sidecar/test/bench

go 1.26.0

require (
	dataflux-func-sidecar v0.0.0
	golang.org/x/sys v0.49.0
)

replace dataflux-func-sidecar => ../..
