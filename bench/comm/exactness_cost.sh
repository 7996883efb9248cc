#!/bin/bash
# What exactness costs in a whole step: GPT-2 124M on 2 ranks of one thread, each on a core of its own, mode exact beside mode fast
# (MPI_Allreduce), and exact without MPI. Runs alternate; of each run the median time of its steps counts, the first two left out.
# usage: bench/comm/exactness_cost.sh PROGRAM [ROUNDS] [STEPS] [KEY=VALUE...]   (default 5 rounds of 6 steps)
set -eu
program=${1:?usage: bench/comm/exactness_cost.sh PROGRAM [ROUNDS] [STEPS] [KEY=VALUE...]}
rounds=${2:-5} steps=${3:-6}
shift $(($# < 3 ? $# : 3))
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=(train configs/gpt2_124m.yaml batch=4 window=64 lanes=2 "steps=$steps" optim.warmup=2 log_every=1 tensorboard=false threads=1 "out=$out/run"
    "data.cache=$out/data" -q "$@")

# run NAME COMMAND...: adds "NAME MEDIAN_MS"
run() {
    local name=$1
    shift
    echo "\$ $*" >>"$out/commands"
    "$@" >"$out/log" 2>&1 </dev/null || { cat "$out/log" >&2 && return 1; }
    sed -n 's/.*"kind":"step".*"seconds":\([0-9.e+-]*\).*/\1/p' "$out/run/metrics.jsonl" |
        awk 'NR > 2 { print 1000 * ($1 - last) } { last = $1 }' | sort -n |
        awk -v name="$name" '{ t[NR] = $1 } END { print name, t[int((NR + 1) / 2)] }' >>"$out/lines"
}

"$program" version | head -2
echo "load at the start: $(cut -d' ' -f1-3 /proc/loadavg)"
for _ in $(seq "$rounds"); do
    run exact-shm "$program" run -n 2 -t 1 -- "${work[@]}"
    run exact-mpi mpirun.openmpi -n 2 --bind-to core "$program" "${work[@]}"
    run fast-mpi mpirun.openmpi -n 2 --bind-to core "$program" "${work[@]}" mode=fast
done
echo "load at the end: $(cut -d' ' -f1-3 /proc/loadavg)"
cat "$out/lines"
sort -u "$out/commands"
for name in exact-shm exact-mpi fast-mpi; do
    grep "^$name " "$out/lines" | sort -k2 -n | awk '{ t[NR] = $2 } END { printf "%-10s median %.0f ms a step (%.0f to %.0f, %d runs)\n", $1, t[int((NR + 1) / 2)], t[1], t[NR], NR }'
done
