#!/bin/sh
# `make check-exact`: trains a tiny GPT and a tiny Llama in every layout and compares the weights, bit for bit. One row a layout,
# then one line a group: "check-exact: N layouts, 1 hash (gpt f32 wire bf16)". Exits 0 only when every group has one hash and
# groups that differ in precision or wire format differ in it (otherwise the format was not in use).
# A layout is a number of ranks, a ZeRO stage and a transport; a group is a model, a precision and a wire format.
# usage: tools/check_exact.sh [--models "gpt llama"] [--precisions "f32 bf16"] [--wires "f32 bf16 int8"] [--ranks "1 2 4 8"]
#            [--zeros "0 1 2 3"] [--transports "threads shm openmpi mpich"] [--steps N] [--sample N [--seed S]] [--jobs N]
#   --sample N   N layouts of each group, drawn by the seed, and the plain run on one rank
#   --jobs N     layouts at a time (2)
# Without --transports the MPIs that are missing here are left out, and said to be.
set -eu
cd "$(dirname "$0")/.."
program=${LOCKSTEP:-build/lockstep}
out=${OUT:-out/exact}
models='gpt llama' precisions='f32 bf16' wires='f32 bf16 int8' ranks='1 2 4 8' zeros='0 1 2 3'
transports='' steps=200 sample=0 seed=1 jobs=2

usage() {
    echo "check-exact: option '$1' is not known; see the head of tools/check_exact.sh" >&2
    exit 2
}

# The mpirun of one MPI, with what it needs on a small machine and as root.
launcher() {
    case $1 in
    openmpi)
        command -v mpirun.openmpi >/dev/null || return 1
        root=
        [ "$(id -u)" -ne 0 ] || root=--allow-run-as-root
        echo "mpirun.openmpi $root --oversubscribe --bind-to none"
        ;;
    mpich)
        command -v mpirun.mpich >/dev/null || return 1
        echo mpirun.mpich
        ;;
    esac
}

# One layout; prints "MODEL PRECISION WIRE RANKS ZERO TRANSPORT HASH SECONDS".
run_layout() {
    model=$1 precision=$2 wire=$3 n=$4 zero=$5 transport=$6
    name=$model-$precision-$wire-$n-$zero-$transport
    set -- train "configs/exact_$model.yaml" "steps=$steps" "precision=$precision" "wire=$wire" "zero=$zero" \
        "data.cache=$out/cache" "out=$out/$name" threads=1 -q
    # shellcheck disable=SC2046 # the launcher is several words
    case $transport in
    self) set -- "$program" "$@" ;;
    threads | shm) set -- "$program" run -n "$n" --transport "$transport" -- "$@" ;;
    *) set -- $(launcher "$transport") -n "$n" "$program" "$@" ;;
    esac
    began=$(date +%s.%N)
    if "$@" >"$out/$name.txt" 2>&1 </dev/null; then
        hash=$(sed -n 's/^weights sha256://p' "$out/$name.txt")
        rm -rf "${out:?}/$name" "$out/$name.txt"
    else
        hash=failed:$out/$name.txt
    fi
    echo "$model $precision $wire $n $zero $transport ${hash:-nothing} $(date +%s.%N) $began" |
        awk '{ printf "%s %s %s %s %s %s %s %.2f\n", $1, $2, $3, $4, $5, $6, $7, $8 - $9 }'
}

if [ "${1:-}" = layout ]; then
    steps=$2
    shift 2
    run_layout "$@"
    exit
fi

while [ $# -gt 0 ]; do
    case $1 in
    --models) models=$2 ;;
    --precisions) precisions=$2 ;;
    --wires) wires=$2 ;;
    --ranks) ranks=$2 ;;
    --zeros) zeros=$2 ;;
    --transports) transports=$2 ;;
    --steps) steps=$2 ;;
    --sample) sample=$2 ;;
    --seed) seed=$2 ;;
    --jobs) jobs=$2 ;;
    *) usage "$1" ;;
    esac
    shift 2
done

if [ -z "$transports" ]; then
    transports='threads shm'
    for mpi in openmpi mpich; do
        if launcher $mpi >/dev/null; then
            transports="$transports $mpi"
        else
            echo "check-exact: no mpirun.$mpi here: that transport is left out"
        fi
    done
fi

rm -rf "$out"
mkdir -p "$out"
for model in $models; do
    "$program" data prepare "configs/exact_$model.yaml" "data.cache=$out/cache" -q >/dev/null
done

# The plain run on one rank of each group comes first; then the layouts, or a sample of them.
for model in $models; do
    for precision in $precisions; do
        for wire in $wires; do
            echo "$model $precision $wire 1 0 self"
            for n in $ranks; do
                for zero in $zeros; do
                    for transport in $transports; do
                        echo "$model $precision $wire $n $zero $transport"
                    done
                done
            done | awk -v seed="$seed" -v group="$model$precision$wire" -v sample="$sample" '
                BEGIN { for (i = 1; i <= length(group); i++) seed += i * index("abcdefghijklmnopqrstuvwxyz0123456789", substr(group, i, 1)); srand(seed) }
                { lines[NR] = $0 }
                END {
                    if (sample == 0 || sample > NR) sample = NR
                    # Selection sampling: keeps the order.
                    for (i = 1; i <= NR; i++)
                        if (rand() * (NR - i + 1) < sample) { print lines[i]; sample-- }
                }'
        done
    done
done >"$out/layouts"

printf '%-6s %-9s %-5s %5s %5s  %-9s %8s  %s\n' model precision wire ranks zero transport seconds hash
: >"$out/rows"
OUT=$out LOCKSTEP=$program xargs -P "$jobs" -L 1 "$0" layout "$steps" <"$out/layouts" | tee "$out/rows" |
    awk '{ printf "%-6s %-9s %-5s %5d %5d  %-9s %8.2f  %s\n", $1, $2, $3, $4, $5, $6, $8, $7; fflush() }'
awk -v wanted="$(wc -l <"$out/layouts")" '
    {
        group = $1 " " $2 " wire " $3
        if (!(group in n)) order[++n_groups] = group
        n[group]++
        if (!((group, $7) in seen)) { seen[group, $7] = 1; n_hashes[group]++; first[group] = $7 }
        if ($7 !~ /^[0-9a-f]+$/) bad = 1
    }
    END {
        for (i = 1; i <= n_groups; i++) {
            group = order[i]
            printf "check-exact: %d layouts, %d hash%s (%s)\n", n[group], n_hashes[group], n_hashes[group] == 1 ? "" : "es", group
            if (n_hashes[group] != 1) bad = 1
            for (j = 1; j < i; j++)
                if (first[order[j]] == first[group]) { printf "check-exact: %s and %s end with the same weights\n", order[j], group; bad = 1 }
        }
        if (NR != wanted) { printf "check-exact: %d rows, %d were wanted\n", NR, wanted; bad = 1 }
        exit bad
    }' "$out/rows"
