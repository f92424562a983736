#!/bin/sh
# Checks of the sources:   lint.sh fast | tidy | fmt
#   fast  formatting, include arrows, luacheck
#   tidy  clang-tidy over the C++ sources; needs a configured build/
#   fmt   formats the C++ sources
set -eu
cd "$(dirname "$0")/.."

# formatters differ between major versions: this is the one we format with
format=14

say() { printf '%s\n' "dev: $*" >&2; }
die() { say "$*"; exit 1; }

cxx_sources() {
    find src actors nginx tests -name '*.cpp' -o -name '*.hpp'
}

# Prints the name of our version of clang-format, if it is there.
formatter() {
    for name in clang-format-$format clang-format; do
        if "$name" --version 2>/dev/null | grep -q "version $format\."; then
            echo "$name"
            return
        fi
    done
}

check_format() {
    name=$(formatter)
    if [ -n "$name" ]; then
        cxx_sources | xargs "$name" --dry-run --Werror
    else
        say "no clang-format $format here: formatting is not checked"
    fi
}

# Arrows point one way: lua -> nginx -> actors -> src.
check_arrows() {
    bad=$(
        grep -rnE '#include *[<"](caf|actors|nginx|ngx_)' src
        grep -rnE '#include *[<"](nginx|ngx_)' actors
        grep -rnE '#include *[<"]caf' nginx actors/system.hpp actors/log.hpp
        grep -rn 'require *(\{0,1\}"ffi"' lua |
            grep -vE '^lua/zedcup/(ffi|failures|client_cert|http/tls)\.lua:'
    ) || :
    [ -z "$bad" ] || die "an include against the arrows:
$bad"
}

case ${1:-} in
fast)
    check_format
    check_arrows
    luacheck -q --no-color lua t
    ;;
tidy)
    cxx_sources | grep '^[^t].*\.cpp$' |
        xargs -P "${JOBS:-$(nproc)}" -n 4 clang-tidy -quiet -p build
    ;;
fmt)
    name=$(formatter)
    [ -n "$name" ] || die "no clang-format $format here"
    cxx_sources | xargs "$name" -i
    ;;
*) die "lint.sh fast | tidy | fmt" ;;
esac
