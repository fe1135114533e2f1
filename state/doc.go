// Package state keeps on disk what must outlive the daemon: the nonces that were accepted, and the
// jobs whose callers were promised a callback, with their results. STATE.md describes the files and
// what is done with damaged ones.
//
// Everything is opened before the executor gives up root. Afterwards nothing here may create, rename,
// remove or open a file: it reads, writes, cuts and syncs what it holds. It must never take bytes for
// a record that it did not write as one, never call a record durable before fdatasync has said so,
// and never know what is in the bytes that its callers hand over.
package state
