// Package interop tests HTTP message signatures with another implementation of RFC 9421 than ours,
// both ways: what it signs runs on the real daemon, and it verifies what we sign. It is a module of
// its own, so that the program does not depend on that implementation.
package interop
