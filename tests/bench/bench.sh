#!/bin/sh
# Everything that zedcup claims about speed, measured side by side in one run.
# Called by ./dev bench.
set -eu
here=$(dirname "$0")
case ${1:-all} in
health | picker | propagation | request | stream) what=$1; shift; exec sh "$here/$what.sh" "$@" ;;
pick) exec "$here/../../build/tests/bench_pick" ;;
all)
    sh "$here/propagation.sh"
    sh "$here/request.sh"
    sh "$here/stream.sh"
    sh "$here/picker.sh"
    sh "$here/health.sh"
    "$here/../../build/tests/bench_pick"
    ;;
*)
    echo "bench: expected health, picker, propagation, request, stream or pick, got $1" >&2
    exit 2
    ;;
esac
