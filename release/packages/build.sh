#!/bin/sh
# Makes the .deb and .rpm packages: build.sh DIST WORK VERSION. Takes the programs from
# WORK/amd64/dataflux-func-sidecar and WORK/arm64/dataflux-func-sidecar, writes to DIST/packages, and uses
# WORK/packages for what it needs meanwhile.
#
# What a package holds, with owners and modes, is in nfpm.yaml; what it does is in scripts/. The same
# inputs give the same bytes: the only time in a package is SOURCE_DATE_EPOCH, which must be set.
set -eu
umask 022
export LC_ALL=C TZ=UTC

# The last version before one that needs more modules than packing .deb and .rpm takes.
NFPM=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.0
NAME=dataflux-func-sidecar

fail() {
	printf 'release/packages/build.sh: %s\n' "$*" >&2
	exit 1
}

[ $# -eq 3 ] || fail "usage: build.sh DIST WORK VERSION"
mkdir -p "$1/packages" "$2/packages"
DIST=$(cd "$1/packages" && pwd)
PROGRAMS=$(cd "$2" && pwd)
WORK=$PROGRAMS/packages
# 1.1.0-rc.1 comes before 1.1.0: package managers spell that with a tilde.
VERSION=$(printf '%s' "$3" | sed 's/-/~/; s/-/./g')
export VERSION
# There is no address that takes mail about this program yet: who distributes packages gives one.
export MAINTAINER="${PACKAGE_MAINTAINER:-DataFlux Func Sidecar maintainers <maintainers@$NAME.invalid>}"
[ -n "${SOURCE_DATE_EPOCH-}" ] || fail "SOURCE_DATE_EPOCH must be set to the time of the release"
export SOURCE_DATE_EPOCH
cd "$(dirname "$0")/../.."
PARTS=$PWD/release/packages

# The units of install.sh, with the program where packages have it. That one line is all that differs.
write_units() {
	for unit in "$NAME.socket" "$NAME.service" "$NAME-ports.service" "$NAME-metrics.socket"; do
		sed "s|^ExecStart=/usr/local/bin/$NAME |ExecStart=/usr/bin/$NAME |" "units/$unit" >"$WORK/$unit"
		! grep /usr/local "$WORK/$unit" >&2 || fail "units/$unit names /usr/local elsewhere than in its ExecStart="
	done
	changed=$(diff "units/$NAME.service" "$WORK/$NAME.service" | grep -c '^>') || :
	[ "$changed" = 1 ] || fail "$changed lines of units/$NAME.service are an ExecStart= of the installed program, not one"
}

# Maintainer scripts cannot read files of their package at every stage, so each is put together here.
write_script() {
	target=$1
	shift
	{
		printf '#!/bin/sh\nset -e\n'
		for part in "$@"; do grep -v '^# shellcheck ' "$PARTS/scripts/$part.sh"; done
	} >"$WORK/$target"
}

write_scripts() {
	write_script deb-preinst sockets deb-preinst
	write_script deb-postinst sockets setup deb-postinst
	write_script deb-prerm deb-prerm
	write_script deb-postrm deb-postrm
	write_script rpm-pre sockets rpm-pre
	write_script rpm-post sockets setup rpm-post
	write_script rpm-preun rpm-preun
	write_script rpm-postun rpm-postun
}

write_documents() {
	gzip -n -9 <"man/$NAME.8" >"$WORK/$NAME.8.gz"
	gzip -n -9 <"man/$NAME.5" >"$WORK/$NAME.5.gz"
	gzip -n -9 <CHANGELOG.md >"$WORK/changelog.gz"
	mkdir -p "$WORK/doc/docs" "$WORK/doc/config" "$WORK/doc/connector"
	cp README.md README.zh-CN.md COMPATIBILITY.md PROTOCOL.md SECURITY.md STATE.md "$WORK/doc"
	cp docs/* "$WORK/doc/docs"
	cp config/reference.toml "$WORK/doc/config"
	cp connector/README.md connector/sidecar__*.py "$WORK/doc/connector"
	chmod -R u=rwX,go=rX "$WORK/doc"
	printf -- "- {semver: %s-1, date: %s, packager: '%s', deb: {urgency: medium, distributions: [unstable]},\n" \
		"$VERSION" "$(date -u -d "@$SOURCE_DATE_EPOCH" +%FT%TZ)" "$MAINTAINER" >"$WORK/changelog.yaml"
	printf "   changes: [{note: 'Version %s: what changed is in changelog.gz of the documentation.'}]}\n" \
		"$VERSION" >>"$WORK/changelog.yaml"
	write_licences
}

# The program holds these modules and Go's own library; their licences ask to be handed on with it.
write_licences() {
	modules=$(CGO_ENABLED=0 GOFLAGS='' go list -deps \
		-f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' "./cmd/$NAME")
	{
		printf '%s\n' "$modules" | sort -u | while read -r module version folder; do
			[ -n "$module" ] || continue
			[ -f "$folder/LICENSE" ] || fail "no file LICENSE in module $module: see what its licence asks for"
			print_licence "$module $version" "$folder"
		done
		print_licence "Go's standard library" "$(go env GOROOT)"
	} >"$WORK/third-party-licences"
	gzip -n -9 <"$WORK/third-party-licences" >"$WORK/third-party-licences.gz"
}

print_licence() {
	printf '==== %s\n\n' "$1"
	for text in "$2/LICENSE" "$2/NOTICE"; do
		if [ -f "$text" ]; then cat "$text" && echo; fi
	done
}

# pack FORMAT PROGRAM-FOLDER TARGET
pack() {
	cp "$PROGRAMS/$2/$NAME" "$WORK/program"
	(cd "$WORK" && ARCH=$2 ./nfpm package --config "$PARTS/nfpm.yaml" --packager "$1" --target "$DIST/$3") \
		>"$WORK/log" 2>&1 || fail "nfpm cannot make $3: $(cat "$WORK/log")"
}

GOFLAGS='' GOBIN=$WORK go install "$NFPM"
write_units
write_scripts
write_documents
cp "$PARTS/sysusers.conf" "$PARTS/first-start.conf" "$PARTS/metrics.preset" "$PARTS/copyright" "$PARTS/lintian-overrides" \
	"units/$NAME.catalog" "completions/$NAME.bash" "completions/_$NAME" "$WORK"
pack deb amd64 "${NAME}_$VERSION-1_amd64.deb"
pack deb arm64 "${NAME}_$VERSION-1_arm64.deb"
pack rpm amd64 "$NAME-$VERSION-1.x86_64.rpm"
pack rpm arm64 "$NAME-$VERSION-1.aarch64.rpm"
