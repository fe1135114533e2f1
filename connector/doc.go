// Package connector holds the scripts for DataFlux Func that call the Sidecar from there; README.md in this
// folder says how to add them. They are Python, and this package has no code of the program: it is here so
// that their tests run with all others, against the real daemon. The program must never import it.
package connector
