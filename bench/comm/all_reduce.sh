#!/bin/sh
# All-reduce on one host: Lockstep's exact one (bench_comm, tree order, shared memory) beside MPI_Allreduce of each MPI that is here.
# Runs them in turn and prints, for each size, the median over the rounds of each one's median time, and how many times as fast
# Lockstep is.
# usage: bench/comm/all_reduce.sh BENCH_FOLDER [ROUNDS] [RANKS] [SECONDS]   (default 5 rounds, 2 ranks, 0.5 s for each size)
set -eu
folder=${1:?usage: bench/comm/all_reduce.sh BENCH_FOLDER [ROUNDS] [RANKS] [SECONDS]}
rounds=${2:-5} ranks=${3:-2} seconds=${4:-0.5}
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

# run NAME COMMAND...: adds "NAME BYTES MICROSECONDS" lines
run() {
    name=$1
    shift
    "$@" </dev/null | sed -n "s/.*\"bytes\":\([0-9]*\),\"median_us\":\([0-9.]*\).*/$name \1 \2/p" >>"$lines"
}
echo "load at the start: $(cut -d' ' -f1-3 /proc/loadavg)"
round=0
while [ "$round" -lt "$rounds" ]; do
    run lockstep "$folder/bench_comm" --json --ranks "$ranks" --seconds "$seconds"
    for mpi in openmpi mpich; do
        bench=$folder/bench_mpi_all_reduce_$mpi
        [ -x "$bench" ] && command -v mpirun.$mpi >/dev/null || continue
        options=
        [ $mpi = openmpi ] && options=--oversubscribe
        # shellcheck disable=SC2086
        run $mpi mpirun.$mpi $options -n "$ranks" "$bench" "$seconds"
    done
    round=$((round + 1))
done
echo "load at the end:   $(cut -d' ' -f1-3 /proc/loadavg)"
sort -k1,1 -k2,2n -k3,3n "$lines" | awk -v ranks="$ranks" -v rounds="$rounds" '
{ key = $1 " " $2; n[key]++; us[key, n[key]] = $3; who[$1] = 1; if (!(($2) in seen)) { seen[$2] = 1; sizes[++n_sizes] = $2 } }
function median(key) { return (key in n) ? us[key, int((n[key] + 1) / 2)] : 0 }
END {
    printf "all-reduce of f32, %d ranks, median of %d rounds, microseconds (x: times as long as Lockstep)\n", ranks, rounds
    printf "%12s %12s %12s %8s %12s %8s\n", "bytes", "lockstep", "Open MPI", "x", "MPICH", "x"
    for (i = 1; i <= n_sizes; i++) {
        size = sizes[i]; own = median("lockstep " size); o = median("openmpi " size); m = median("mpich " size)
        printf "%12d %12.2f %12.2f %8.2f %12.2f %8.2f\n", size, own, o, own ? o / own : 0, m, own ? m / own : 0
    }
}'
