#!/bin/sh
# Every lint, one after another; goes on after a failure and ends with a non-zero status when there was one.
# usage: tools/lint.sh [NAME...]   (layers banned size format warnings globals docs; default: all)
set -eu
cd "$(dirname "$0")/.."

failed=
for name in "${@:-all}"; do
    case $name in
    all) set -- layers banned size format warnings globals docs ;;
    esac
done
for name in "$@"; do
    case $name in
    size) command=tools/size ;;
    globals) command="tools/check_globals build" ;;
    docs) command="tools/docs.sh --check build/lockstep" ;;
    *) command=tools/check_$name ;;
    esac
    $command || failed="$failed $name"
done
if [ -n "$failed" ]; then
    echo "lint: failed:$failed"
    exit 1
fi
echo "lint: all passed"
