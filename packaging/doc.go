// Package packaging makes and downloads a release: dist.sh writes the release folder, and
// download.sh downloads the files that one machine needs. Both are scripts. The Go files test them,
// as built and over real HTTP.
//
// No script here installs anything, needs root, or leaves an incomplete folder.
package packaging
