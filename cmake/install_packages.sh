#!/bin/sh
# Install those of the named Debian packages that are missing:
#   install_packages.sh PACKAGE...
# Does nothing, quickly and without root, when there are none. Otherwise goes
# on as root by sudo. Nothing that is installed is upgraded for its own sake,
# nothing is removed, and no service is started.
set -eu

say() { printf '%s\n' "dev: $*" >&2; }
die() { say "$*"; exit 1; }

# Prints the packages of the list that are not installed.
missing_of() {
    installed=" $(dpkg-query -W -f '${db:Status-Status}=${Package} ' "$@" \
        2>/dev/null) " || :
    for package in "$@"; do
        case $installed in
        *" installed=$package "*) ;;
        *) printf ' %s' "$package" ;;
        esac
    done
}

command -v apt-get >/dev/null 2>&1 ||
    die "packages are installed by apt-get, which this machine does not have;
what is needed, by Debian's names: $*"

missing=$(missing_of "$@")
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 ||
        die "packages are missing, and there is no sudo; as root, run
  apt-get update && apt-get install --no-install-recommends$missing"
    say "using sudo for apt-get"
    exec sudo sh "$0" "$@"
fi

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
mark="# made by zedcup's ./dev for the time of an installation"
own_policy=
finish() {
    status=$?
    trap - EXIT
    rm -f "$log"
    [ -z "$own_policy" ] || rm -f "$policy"
    exit "$status"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Debian starts a service as it installs it, and an nginx on port 80 is not
# what anybody asked for. The machine's own policy, if it has one, is left.
if [ ! -e "$policy" ] || grep -qxF "$mark" "$policy"; then
    own_policy=yes
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" > "$policy"
    chmod 755 "$policy"
fi

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 \
        -o DPkg::Lock::Timeout=300 -o Acquire::Retries=2 "$@" \
        >>"$log" 2>&1 </dev/null
}

say "installing:$missing"
# An archive that fails matters only if a package is then not to be had.
updated=yes
apt -o APT::Update::Error-Mode=any update || updated=
# shellcheck disable=SC2086
apt install --no-install-recommends --no-remove $missing || {
    tail -n 20 "$log" >&2
    [ -n "$updated" ] ||
        say "the package lists could not be updated: is the network there?"
    die "apt-get could not install:$missing"
}
