#!/bin/sh
# Fetch one Debian package from another suite of this machine's own mirror and
# unpack it, without installing it:   fetch_deb.sh SUITE PACKAGE TARGET_DIR
#
# The mirror's address comes from the machine's apt sources, as apt itself reads
# them. The package lists of the other suite live in TARGET_DIR/apt meanwhile, so
# that the machine's apt state stays as it is; signatures are checked with the
# distribution's keyring.
set -eu

suite=$1 package=$2
mkdir -p "$3"
target=$(cd "$3" && pwd) # apt takes a relative path as one below /etc/apt
stamp=$target/.fetched-$package
[ ! -e "$stamp" ] || exit 0

die() { printf '%s\n' "dev: $*" >&2; exit 1; }

# Prints the addresses of the archives that serve this machine's own release
# (not -updates, not -security), Debian's before others'. The origin is known
# only once `apt-get update` has run.
mirror_uris() {
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    apt-get indextargets --format \
        '$(RELEASE) $(COMPONENT) $(REPO_URI) $(ORIGIN)' 'Created-By: Packages' |
        awk -v release="$release" '
            $2 == "main" &&
            $1 ~ "^(" release "|stable|oldstable|oldoldstable|testing)$" {
                print ($4 == "Debian" ? 0 : 1), NR, $3
            }' | sort -n | awk '!seen[$3]++ { print $3 }'
}

# A machine with fewer keyrings than the suite needs fails in apt with its text.
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keyring" ] || keyring=/usr/share/keyrings/debian-archive-keyring.pgp

state=$target/apt/$suite
mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
# apt drops to its own user for downloads: let it into the folders it needs.
chmod 755 "$target" "$target/apt" "$state" 2>/dev/null || :

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

fetch() { # URI
    echo "deb [signed-by=$keyring] $1 $suite main" > "$state/sources.list"
    rm -f "$state/$package"_*.deb
    apt_in_suite -o APT::Update::Error-Mode=any update &&
        (cd "$state" && apt_in_suite download "$package")
}

printf '%s\n' "dev: fetching $package of Debian's $suite" >&2
uris=$(mirror_uris)
[ -n "$uris" ] || die "no archive of this release in /etc/apt"
log=$state/log
: > "$log"
for uri in $uris; do
    if fetch "$uri" >> "$log" 2>&1; then
        dpkg -x "$state/$package"_*.deb "$target"
        rm -rf "$state"
        touch "$stamp"
        exit 0
    fi
done
tail -n 20 "$log" >&2
die "$package of Debian's $suite could not be fetched"
