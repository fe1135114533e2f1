// Package packaging makes and downloads a release: dist.sh writes the release folder, download.sh
// downloads the files that one machine needs, and run-sidecar.sh is another name of the installer.
// All are scripts. The Go files test them, as built and over real HTTP.
//
// No script here installs anything, needs root, or leaves an incomplete folder.
package packaging
