#!/bin/sh
# labels: slow timeout=600 cost=40
# The table of docs/clusters.md: every ZeRO stage with every optimizer, and with every wire format, precision and recomputation, on four
# ranks ends with the weights of one rank without any of it; what is not possible is refused with a sentence.
# usage: test_composition.sh BUILD_DIR
set -eu
program=$1/lockstep
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
n=0

train() {
    # shellcheck disable=SC2086 # keys are several words
    "$program" "$@" configs/exact_gpt.yaml steps=4 optim.warmup=1 threads=1 "data.cache=$tmp/cache" "out=$tmp/run" -q $keys >"$tmp/out" 2>&1
}

# hash RANKS KEY=VALUE...
hash() {
    ranks=$1
    shift
    keys=$*
    if [ "$ranks" = 1 ]; then train train; else train run -n "$ranks" -t 1 --transport threads -- train; fi || {
        echo "FAILED: $ranks ranks, $keys: $(cat "$tmp/out")" >&2
        exit 1
    }
    sed -n 's/^weights sha256://p' "$tmp/out"
}

# same WANTED KEY=VALUE...
same() {
    wanted=$1
    shift
    found=$(hash 4 "$@")
    if [ -z "$found" ] || [ "$found" != "$wanted" ]; then
        echo "FAILED: 4 ranks, $*: $found, one rank ends with $wanted"
        exit 1
    fi
    n=$((n + 1))
}

# refused WORDS KEY=VALUE...
refused() {
    words=$1
    shift
    if "$program" plan configs/exact_gpt.yaml "$@" >"$tmp/out" 2>&1 || ! grep -q -e "$words" "$tmp/out"; then
        echo "FAILED: $* is not refused with '$words': $(head -2 "$tmp/out")"
        exit 1
    fi
    n=$((n + 1))
}

for kind in sgd adam adamw nadam rmsprop adagrad adadelta lamb lion; do
    wanted=$(hash 1 optim.kind=$kind)
    for zero in 0 1 2 3; do
        if [ "$kind" = lamb ] && [ $zero -gt 0 ]; then
            refused "its trust ratio needs whole tensors on one rank" mesh.dp=4 zero=$zero optim.kind=lamb
        else
            same "$wanted" zero=$zero optim.kind=$kind
        fi
    done
done
for precision in f32 bf16 f16; do
    for wire in f32 bf16 int8; do
        wanted=$(hash 1 precision=$precision wire=$wire)
        for zero in 0 1 2 3; do
            for recompute in none cheap attention layer "bytes recompute_bytes=28000"; do
                # shellcheck disable=SC2086
                same "$wanted" precision=$precision wire=$wire zero=$zero recompute=$recompute
            done
        done
    done
done
refused "the transport's own sums serve zero = 0 only" mesh.dp=2 mode=fast zero=1
refused "the transport's own sums are in f32" mesh.dp=2 mode=fast wire=bf16
refused "shared out by a power of two" mesh.dp=3
refused "every rank computes at least one lane" mesh.dp=16
echo "test_composition: $n cells"
