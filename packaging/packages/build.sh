#!/bin/sh
# Builds the .deb and .rpm packages: build.sh DIST WORK VERSION. Takes the programs from
# WORK/amd64/dataflux-func-sidecar and WORK/arm64/dataflux-func-sidecar, writes to DIST/packages,
# and uses WORK/packages for temporary files.
#
# nfpm.yaml lists the contents of a package, with owners and modes; scripts/ has the maintainer
# scripts. The same inputs give the same bytes: the only time in a package is SOURCE_DATE_EPOCH,
# which must be set.
set -eu
umask 022
export LC_ALL=C TZ=UTC

# Later versions need many more modules.
NFPM=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.0
NAME=dataflux-func-sidecar

fail() {
	printf 'packaging/packages/build.sh: %s\n' "$*" >&2
	exit 1
}

[ $# -eq 3 ] || fail "usage: build.sh DIST WORK VERSION"
mkdir -p "$1/packages" "$2/packages"
DIST=$(cd "$1/packages" && pwd)
PROGRAMS=$(cd "$2" && pwd)
WORK=$PROGRAMS/packages
# 1.1.0-rc.1 precedes 1.1.0: package managers write that with a tilde.
VERSION=$(printf '%s' "$3" | sed 's/-/~/; s/-/./g')
export VERSION
# The project has no mail address yet; a distributor of packages sets one.
export MAINTAINER="${PACKAGE_MAINTAINER:-DataFlux Func Sidecar maintainers <maintainers@$NAME.invalid>}"
[ -n "${SOURCE_DATE_EPOCH-}" ] || fail "SOURCE_DATE_EPOCH must be set to the time of the release"
export SOURCE_DATE_EPOCH
cd "$(dirname "$0")/../.."
PARTS=$PWD/packaging/packages

# The units of install.sh, with the path of the program in packages. Only Exec…= lines differ.
write_units() {
	for unit in "$NAME.socket" "$NAME.service" "$NAME-ports.service" "$NAME-metrics.socket" "$NAME-reload.path" \
		"$NAME-reload.service"; do
		sed "s|^\(Exec[A-Za-z]*=[-@:+!]*\)/usr/local/bin/$NAME |\1/usr/bin/$NAME |" "units/$unit" >"$WORK/$unit"
		! grep /usr/local "$WORK/$unit" >&2 || fail "units/$unit names /usr/local elsewhere than at the begin of an Exec…="
	done
	grep -q "^ExecStart=/usr/bin/$NAME " "$WORK/$NAME.service" || fail "units/$NAME.service has no ExecStart= of the installed program"
}

# A maintainer script cannot read files of its package at every stage, so each is assembled here.
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
	write_script deb-postinst sockets setup service deb-postinst
	write_script deb-prerm deb-prerm
	write_script deb-postrm deb-postrm
	write_script rpm-pre sockets rpm-pre
	write_script rpm-post sockets setup service rpm-post
	write_script rpm-preun rpm-preun
	write_script rpm-postun rpm-postun
}

write_documents() {
	gzip -n -9 <"packaging/man/$NAME.8" >"$WORK/$NAME.8.gz"
	gzip -n -9 <"packaging/man/$NAME.5" >"$WORK/$NAME.5.gz"
	mkdir -p "$WORK/doc/docs" "$WORK/doc/connector" "$WORK/doc/monitoring"
	cp README.md CHANGELOG.md SECURITY.md CONTRIBUTING.md LICENSE "$WORK/doc"
	cp -r docs/. "$WORK/doc/docs"
	cp connector/README.md connector/sidecar__*.py "$WORK/doc/connector"
	cp packaging/monitoring/* "$WORK/doc/monitoring"
	CGO_ENABLED=0 GOFLAGS='' GOOS='' GOARCH='' go run -trimpath ./packaging/scriptset --time "$SOURCE_DATE_EPOCH" \
		--zip "$WORK/doc/connector/$NAME-scripts.zip"
	packaging/links.sh "$WORK/doc"
	find "$WORK/doc" -name '*.md' -exec sed -Ei 's#\]\(((\.\./)*)CHANGELOG\.md#](\1changelog.gz#g' {} +
	gzip -n -9 <"$WORK/doc/CHANGELOG.md" >"$WORK/changelog.gz"
	rm "$WORK/doc/CHANGELOG.md"
	chmod -R u=rwX,go=rX "$WORK/doc"
	printf -- "- {semver: %s-1, date: %s, packager: '%s', deb: {urgency: medium, distributions: [unstable]},\n" \
		"$VERSION" "$(date -u -d "@$SOURCE_DATE_EPOCH" +%FT%TZ)" "$MAINTAINER" >"$WORK/changelog.yaml"
	printf "   changes: [{note: 'Version %s: see changelog.gz in the documentation.'}]}\n" \
		"$VERSION" >>"$WORK/changelog.yaml"
	packaging/third-party-licences.sh >"$WORK/third-party-licences"
	gzip -n -9 <"$WORK/third-party-licences" >"$WORK/third-party-licences.gz"
}

# pack FORMAT PROGRAM-FOLDER TARGET
pack() {
	cp "$PROGRAMS/$2/$NAME" "$WORK/program"
	(cd "$WORK" && ARCH=$2 ./nfpm package --config "$PARTS/nfpm.yaml" --packager "$1" --target "$DIST/$3") \
		>"$WORK/log" 2>&1 || fail "nfpm cannot make $3: $(cat "$WORK/log")"
}

# Built as the program is, so that the standard library is compiled once.
CGO_ENABLED=0 GOFLAGS='' GOBIN=$WORK go install -trimpath -ldflags='-s -w' "$NFPM"
write_units
write_scripts
write_documents
cp "$PARTS/sysusers.conf" "$PARTS/first-start.conf" "$PARTS/metrics.preset" "$PARTS/needrestart.conf" "$PARTS/copyright" "$PARTS/lintian-overrides" \
	"units/$NAME.catalog" "packaging/completions/$NAME.bash" "packaging/completions/_$NAME" "$WORK"
pack deb amd64 "${NAME}_$VERSION-1_amd64.deb"
pack deb arm64 "${NAME}_$VERSION-1_arm64.deb"
pack rpm amd64 "$NAME-$VERSION-1.x86_64.rpm"
pack rpm arm64 "$NAME-$VERSION-1.aarch64.rpm"
