#!/bin/bash
# Make an Asterisk with chan_websocket for tests, from Debian's own packages.
#
#   tests/asterisk/make.sh [DIRECTORY]
#
# The packages are downloaded and unpacked into DIRECTORY (or $CALLSTREAM_ASTERISK_DIR, or .cache/asterisk in this
# repository); nothing is installed and no root is needed. The unpacked programs are started through their own
# loader with their own C library, so they may be newer than the machine. A second run finds the work done.
#
#   SUITE=testing   take the packages from another suite than sid
#   MIRROR=URI      take them from this Debian archive, not from the one in the machine's apt sources
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$(realpath -m "${1:-${CALLSTREAM_ASTERISK_DIR:-$here/../../.cache/asterisk}}")
suite=${SUITE:-sid}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

die() {
    echo "make.sh: $*" >&2
    exit 1
}

# The modules that the configuration loads, as file names.
modules() {
    sed -n 's/^load *= *//p' "$here/etc/modules.conf"
}

# Run a program of the unpacked tree $1. Not LD_LIBRARY_PATH: children would inherit it.
run_unpacked() {
    local root=$1
    shift
    "$root"/usr/lib/*/ld-linux*.so.* --library-path "$(echo "$root"/usr/lib/*-linux-gnu*)" "$@"
}

# Print the libraries that Asterisk and its modules in the tree $1 need and that are not in the tree. The machine's
# own libraries do not count, although the loader would find them: they are of another Debian.
missing_libraries() {
    local root=$1 libraries file name
    libraries=$(echo "$root"/usr/lib/*-linux-gnu*)
    { echo "$root/usr/sbin/asterisk"; modules | sed "s|^|$libraries/asterisk/modules/|"; } |
        while read -r file; do
            LD_TRACE_LOADED_OBJECTS=1 LD_DEBUG=files run_unpacked "$root" "$file" 2>&1 </dev/null || true
        done |
        sed -n "s|.*file=\([^/ ]*\) .*needed by $root/.*|\1|p" | sort -u |
        while read -r name; do
            [[ -e $libraries/$name ]] || echo "$name"
        done
}

# Print the package for the library $1, out of the names in the file $2. Debian names a library package after its
# soname (libxml2.so.16 is in libxml2-16, libssl.so.3 in libssl3t64); the exceptions are here.
package_of() {
    local soname=$1 names=$2 stem version
    case $soname in
        libz.so.*) echo zlib1g && return ;;
        libcrypto.so.*) soname=libssl.so.${soname#*.so.} ;;
        libexslt.so.*) soname=libxslt.so.1 ;;
    esac
    stem=$(sed 's/\.so\..*//; s/_/-/g; s/[+.]/\\&/g' <<<"${soname,,}")
    version=${soname#*.so.}
    grep -E -m 1 "^$stem-?$version(\.[0-9]+)?(t64)?$" "$names" || true
}

is_complete() {
    [[ -f $1/version && -z $(missing_libraries "$1/root") ]] && run_unpacked "$1/root" "$1/root/usr/sbin/asterisk" -V
}

if version=$(is_complete "$target" 2>/dev/null); then
    echo "$version is already in $target; remove that directory to make it anew."
    exit 0
fi

for tool in apt-get apt-cache dpkg dpkg-deb timeout; do
    command -v "$tool" >/dev/null || die "there is no $tool here: run this on Debian, for example in a debian:stable container."
done
[[ -f $keyring ]] || die "$keyring is missing: install the package debian-archive-keyring."

# The archive that this machine already uses for its own release, with any proxy and certificate set for it.
release=$(. /etc/os-release && echo "${VERSION_CODENAME:-none}")
mirror=${MIRROR:-$(apt-get update --print-uris 2>/dev/null | sed -n "s|^'\(.*\)/dists/$release/InRelease'.*|\1|p" | head -n 1)}
[[ -n $mirror ]] || die "no Debian archive for '$release' is in apt's sources: name one, MIRROR=URI $0."

mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$target.making.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,cache/archives/partial,none,debs,made/root}
: >"$work/status"

# An apt of our own: it reads the machine's settings first, then these. Hooks of the machine must not run for it.
cat >"$work/apt.conf" <<CONF
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
Dir::State "$work";
Dir::State::lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "$work/none";
Dir::Etc::Preferences "$work/none.pref";
Dir::Etc::PreferencesParts "$work/none";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
APT::Update::Error-Mode "any";
APT::Sandbox::User "$(id -un)";
CONF
echo "deb [signed-by=$keyring] $mirror $suite main" >"$work/sources.list"

echo "Fetching the package index of $suite ..."
timeout 180 apt-get -qq -c "$work/apt.conf" update >"$work/log" 2>&1 ||
    die "no package index of '$suite' from $mirror: check the network and the name of the suite. apt said:" \
        $'\n'"$(tail -n 5 "$work/log")"

apt-cache -c "$work/apt.conf" depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
    --no-enhances asterisk asterisk-modules 2>/dev/null | grep '^[a-z]' | sort -u >"$work/names" || true
grep -qx asterisk "$work/names" || die "suite '$suite' has no package asterisk: try SUITE=sid or SUITE=testing."

fetch() {
    echo "Fetching $* ..."
    (cd "$work/debs" && timeout 300 apt-get -qq -c "$work/apt.conf" download "$@") >"$work/log" 2>&1 ||
        die "one of these packages could not be fetched: $*. apt said:"$'\n'"$(tail -n 5 "$work/log")"
    local deb
    for deb in "$work"/debs/*.deb; do
        dpkg-deb -x "$deb" "$work/made/root" || die "$(basename "$deb") could not be unpacked: is the disk full?"
    done
    rm "$work"/debs/*.deb
}

fetch asterisk asterisk-modules libc6
for module in $(modules); do
    compgen -G "$work/made/root/usr/lib/*/asterisk/modules/$module" >/dev/null ||
        die "the package asterisk-modules has no $module any more: remove it from etc/modules.conf."
done

# A library may need further ones, so look again after each fetch.
fetched=" "
while missing=$(missing_libraries "$work/made/root") && [[ -n $missing ]]; do
    packages=()
    for soname in $missing; do
        package=$(package_of "$soname" "$work/names")
        [[ -n $package ]] || die "no package with $soname is known: add its name to package_of in $0."
        [[ $fetched != *" $package "* ]] || die "$package does not contain $soname: correct package_of in $0."
        [[ " ${packages[*]-} " == *" $package "* ]] || packages+=("$package")
    done
    fetch "${packages[@]}"
    fetched+="${packages[*]} "
done

version=$(run_unpacked "$work/made/root" "$work/made/root/usr/sbin/asterisk" -V) ||
    die "the unpacked Asterisk does not run on this machine ($(uname -srm))."
echo "$version, $suite" >"$work/made/version"

rm -rf "$target"
mv -T "$work/made" "$target"
echo "$version is in $target ($(du -sh "$target" | cut -f 1))."
