#!/bin/bash
# Make a configured nginx source tree out of Debian's nginx-dev, which ships the
# sources' headers and `configure` but not its results:
#   configure_nginx.sh NGINX_DEV_DIR TARGET_DIR
# The tree is a farm of links; only objs/ is real. With the same flags as the
# distribution's build the module signature equals the one nginx checks.
set -euo pipefail

source_dir=$1 target=$2

# Debian's stream is a package of its own, built so; conf_flags are silent on it.
stream_flags=()
[ ! -e "$source_dir/src/stream/ngx_stream.h" ] ||
    stream_flags=(--with-stream=dynamic --with-stream_ssl_module)

flags=$(cat "$source_dir/conf_flags"; echo "${stream_flags[@]}")
[ ! -e "$target/objs/ngx_auto_config.h" ] ||
    [ "$flags" != "$(cat "$target/flags" 2>/dev/null)" ] || exit 0

rm -rf "$target"
mkdir -p "$target"
for part in auto configure src; do
    ln -s "$source_dir/$part" "$target/$part"
done

# shellcheck disable=SC1091
source "$source_dir/conf_flags" # NGX_CONF_FLAGS, a bash array
cd "$target"
./configure "${NGX_CONF_FLAGS[@]}" "${stream_flags[@]}" > configure.log 2>&1 || {
    tail -n 20 configure.log >&2
    exit 1
}
printf '%s\n' "$flags" > flags
