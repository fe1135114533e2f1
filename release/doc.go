// Package release makes what users download, and downloads it: dist.sh writes the release folder,
// download.sh takes from a server what one machine needs of it, run-sidecar.sh is the installer's other
// name. They are scripts; the Go files test them, as built and over real HTTP.
//
// No script here may install anything, need root, or leave a folder that is only half of what it should be.
package release
