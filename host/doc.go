// Package host looks at the machine that it runs on: under which addresses it can be reached, which
// sockets hold one of them, and whose those are.
//
// It must never change anything, nor connect to anybody. To see whether an address is taken it listens there
// for a moment, which only RefuseTaken does, before an installation.
package host
