#!/bin/sh
# Fetch one Debian package from another suite of this machine's own mirror and
# unpack it, without installing it:   fetch_deb.sh SUITE PACKAGE TARGET_DIR
#
# The mirror's address comes from the machine's apt sources, in either of their
# two forms (one-line `deb ...`, deb822 `URIs: ...`). The package lists of the
# other suite live in TARGET_DIR/apt, so that the machine's apt state stays as
# it is; signatures are checked with the distribution's keyring.
set -eu

suite=$1 package=$2
mkdir -p "$3"
target=$(cd "$3" && pwd) # apt takes a relative path as one below /etc/apt
stamp=$target/.fetched-$package
[ ! -e "$stamp" ] || exit 0

# Prints the address of the archive that serves this machine's own release:
# the first one that carries it as a plain suite (not -updates, not -security).
mirror_uri() {
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    {
        cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
            sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\) \([^ ]*\) .*/\2 \3/p'
        for file in /etc/apt/sources.list.d/*.sources; do
            [ -e "$file" ] || continue
            awk '/^URIs:/ { uri = $2 }
                 /^Suites:/ { for (i = 2; i <= NF; i++) suites[++n] = $i }
                 /^$/ { flush() } END { flush() }
                 function flush(   i) {
                     for (i = 1; i <= n; i++) print uri, suites[i]
                     n = 0
                 }' "$file"
        done
    } | awk -v release="$release" '$2 == release { print $1; exit }'
}

# A machine with fewer keyrings than the suite needs fails in apt with its text.
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keyring" ] || keyring=/usr/share/keyrings/debian-archive-keyring.pgp

uri=$(mirror_uri)
if [ -z "$uri" ]; then
    echo "fetch_deb: no archive for this release in /etc/apt" >&2
    exit 1
fi

state=$target/apt/$suite
mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
# apt drops to its own user for downloads: let it into the folders it needs.
chmod 755 "$target" "$target/apt" "$state" 2>/dev/null || :
echo "deb [signed-by=$keyring] $uri $suite main" > "$state/sources.list"

apt_in_suite() {
    apt-get -q -q \
        -o Dir::Etc::SourceList="$state/sources.list" \
        -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$state/lists" \
        -o Dir::Cache="$state/cache" \
        -o APT::Sandbox::User= \
        -o APT::Get::List-Cleanup=0 \
        -o Acquire::Languages=none \
        -o Acquire::Check-Valid-Until=false \
        "$@"
}

[ -e "$state/updated" ] || { apt_in_suite update; touch "$state/updated"; }
(cd "$state" && rm -f "$package"_*.deb && apt_in_suite download "$package")
dpkg -x "$state/$package"_*.deb "$target"
touch "$stamp"
