#!/bin/sh
# Runs every libFuzzer target of a build (preset fuzz) for so many seconds, as many at a time as there are CPUs.
# Starts from tests/fuzz/corpus/<name>; what is found new stays in BUILD/fuzz/<name>/corpus, a crash in BUILD/fuzz/<name>.
# usage: tools/fuzz.sh [BUILD [SECONDS [NAME...]]]
set -eu
cd "$(dirname "$0")/.."
build=${1:-build-fuzz}
seconds=${2:-60}
[ $# -lt 2 ] || shift 2
if [ $# -eq 0 ]; then
    for source in tests/fuzz/fuzz_*.c; do
        [ -e "$source" ] || continue
        name=$(basename "$source" .c)
        set -- "$@" "${name#fuzz_}"
    done
fi
if [ $# -eq 0 ]; then
    echo "fuzz: there are no targets in tests/fuzz" >&2
    exit 3
fi

# A slow or greedy input is a finding too: 20 s and 1 GiB for one input of at most 64 KiB.
fuzz_one() {
    target=$build/tests/fuzz_$1
    work=$build/fuzz/$1
    mkdir -p "$work/corpus" "tests/fuzz/corpus/$1"
    if "$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="$work/" "$work/corpus" "tests/fuzz/corpus/$1" >"$work/log" 2>&1 </dev/null; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
        echo "fuzz: $1: $runs inputs in $seconds s, nothing found"
    else
        tail -60 "$work/log"
        echo "fuzz: $1: FAILED, see $work"
        echo "$1" >>"$build/fuzz/failed"
    fi
}

mkdir -p "$build/fuzz"
rm -f "$build/fuzz/failed"
slots=$(nproc)
running=0
for name in "$@"; do
    fuzz_one "$name" &
    running=$((running + 1))
    if [ "$running" -ge "$slots" ]; then
        wait
        running=0
    fi
done
wait
if [ -e "$build/fuzz/failed" ]; then
    echo "fuzz: failed: $(tr '\n' ' ' <"$build/fuzz/failed")"
    exit 1
fi
echo "fuzz: $# targets, nothing found"
