#!/bin/sh
# Pack the built modules with the Lua files:   package.sh BUILD_DIR
# A module loads only into the nginx that it was built for, so the archive is
# named after the release, and its INSTALL.md says what the module needs.
set -eu
build=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

version=$(sed -n 's/^project(zedcup VERSION \([^ ]*\).*/\1/p' CMakeLists.txt)
release=$(. /etc/os-release && echo "$ID${VERSION_ID:-}")
name=zedcup-$version-$release-$(uname -m)
module=$build/nginx/ngx_http_zedcup_module.so
stream=$build/nginx/ngx_stream_zedcup_module.so # not every nginx has it
nginx=$(PATH=$PATH:/usr/sbin nginx -v 2>&1 | sed 's|.*/||')

# The packages of the libraries that the module itself names.
libraries() {
    objdump -p "$module" | awk '$1 == "NEEDED" { print $2 }' |
        while read -r library; do
            ldd "$module" | awk -v name="$library" '$1 == name { print $3 }'
        done | xargs readlink -f |
        sed 's|^/usr||; s|^|*|' | xargs dpkg-query -S | cut -d: -f1 | sort -u
}

rm -rf "${build:?}/$name"
mkdir -p "$build/$name"
cp -r lua LICENSE "$build/$name/"
[ ! -e README.md ] || cp README.md "$build/$name/"
strip -g -o "$build/$name/ngx_http_zedcup_module.so" "$module"
[ ! -e "$stream" ] ||
    strip -g -o "$build/$name/ngx_stream_zedcup_module.so" "$stream"
cat > "$build/$name/INSTALL.md" <<END
# zedcup $version for nginx $nginx on $release

1. \`apt-get install nginx libnginx-mod-http-lua lua-resty-core lua-cjson \\
   $(libraries | tr '\n' ' ')\`
2. Put this folder where it shall stay, for example \`/opt/zedcup\`.
3. In nginx.conf, below the line that includes \`modules-enabled/*.conf\` (which
   loads ndk and ngx_http_lua):

       load_module /opt/zedcup/ngx_http_zedcup_module.so;

   For upstreams in \`stream {}\`, with \`libnginx-mod-stream\`, also

       load_module /opt/zedcup/ngx_stream_zedcup_module.so;

4. In its \`http\` block:

       lua_package_path "/opt/zedcup/lua/?.lua;;";
       lua_shared_dict zedcup_cache 1m;
       lua_shared_dict zedcup_locks 1m;
       lua_shared_dict zedcup_ipc 1m;

       init_by_lua_block { require("zedcup").init() }
       init_worker_by_lua_block { require("zedcup").run_workers() }

5. \`nginx -t\`, then restart nginx.
END
tar -C "$build" --owner=0 --group=0 -czf "$build/$name.tar.gz" "$name"
printf '%s\n' "dev: $build/$name.tar.gz" >&2
