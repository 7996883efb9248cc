#!/bin/bash
# What it costs that a killed rank loses nothing: GPT-2 124M on 2 ranks of one thread, each on a core of its own, with the state kept in memory
# that outlives the ranks (recover.copies=1) beside the same run without (--no-recover) and beside the same run under mpirun, without any
# supervisor. Runs alternate; of each run the median time of its steps counts, the first two left out.
# usage: bench/recovery/overhead.sh PROGRAM [ROUNDS] [STEPS] [KEY=VALUE...]   (default 5 rounds of 8 steps)
#   ROWS   (environment) which: default "kept not-kept mpirun"
set -eu
program=${1:?usage: bench/recovery/overhead.sh PROGRAM [ROUNDS] [STEPS] [KEY=VALUE...]}
rounds=${2:-5} steps=${3:-8}
shift $(($# < 3 ? $# : 3))
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=(train configs/gpt2_124m.yaml batch=4 window=64 lanes=2 "steps=$steps" optim.warmup=2 log_every=1 tensorboard=false threads=1 "out=$out/run"
    "data.cache=$out/data" -q "$@")

# run NAME COMMAND...: adds "NAME MEDIAN_MS", and says the hash
run() {
    local name=$1
    shift
    echo "\$ $*" >>"$out/commands"
    rm -rf "$out/run"
    "$@" >"$out/log" 2>&1 </dev/null || { cat "$out/log" >&2 && return 1; }
    sed -n 's/^weights //p' "$out/log" >>"$out/hashes"
    sed -n 's/.*"kind":"step".*"seconds":\([0-9.e+-]*\).*/\1/p' "$out/run/metrics.jsonl" |
        awk 'NR > 2 { print 1000 * ($1 - last) } { last = $1 }' | sort -n |
        awk -v name="$name" '{ t[NR] = $1 } END { print name, NR % 2 ? t[(NR + 1) / 2] : (t[NR / 2] + t[NR / 2 + 1]) / 2 }' >>"$out/lines"
}

"$program" version | head -2
echo "load at the start: $(cut -d' ' -f1-3 /proc/loadavg)"
for _ in $(seq "$rounds"); do
    for row in ${ROWS:-kept not-kept mpirun}; do
        case $row in
        kept) run kept "$program" run -n 2 -t 1 -- "${work[@]}" recover.copies=1 ;;
        not-kept) run not-kept "$program" run -n 2 -t 1 --no-recover -- "${work[@]}" ;;
        mpirun) run mpirun mpirun.openmpi -n 2 --bind-to core "$program" "${work[@]}" ;;
        *) echo "no row $row" >&2 && exit 2 ;;
        esac
    done
done
echo "load at the end: $(cut -d' ' -f1-3 /proc/loadavg)"
cat "$out/lines"
sort -u "$out/commands"
echo "hashes: $(sort -u "$out/hashes" | tr '\n' ' ')"
for name in ${ROWS:-kept not-kept mpirun}; do
    grep "^$name " "$out/lines" | sort -k2 -n | awk '{ t[NR] = $2 } END { printf "%-10s median %.0f ms a step (%.0f to %.0f, %d runs)\n", $1, t[int((NR + 1) / 2)], t[1], t[NR], NR }'
done
