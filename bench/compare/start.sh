#!/bin/bash
# How long Lockstep takes from the start of its process to its first step, stage by stage, by its own record of kind "start" (docs/formats.md),
# on warm files. Two ways, alternating: as the machine is, and after another process has touched and given back as much memory. On a virtual
# machine the difference is what its host takes for pages that it took back; a step after the first is there to compare with.
# usage: bench/compare/start.sh MODEL [PRECISION [ROUNDS]]
#   MODEL      as in train.sh; PRECISION bf16; ROUNDS 5
#   CORES      (environment) cores and so the number of threads: default 0,1
#   LOCKSTEP   the program (build/lockstep)
set -eu
cd "$(dirname "$0")/../.."
. bench/compare/lib.sh
model=${1:-} precision=${2:-bf16} rounds=${3:-5}
if ! shape_of "$model"; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi

# shellcheck disable=SC2086
set -- train "$config" $shape "batch=$batch" lanes=1 "precision=$precision" steps=4 optim.warmup=1 log_every=1 tensorboard=false \
    "threads=$threads" "data.cache=$out/data-$(basename "$config" .yaml)" "out=$out/run" -q
[ "$unit" = images ] || set -- "$@" "window=$window"

# once WAY WORDS...: prints "WAY STAGE MS" for each stage, the seconds of a later step, and the time until the first step began.
once() {
    local way=$1
    shift
    rm -rf "$out/run"
    taskset -c "$cores" "$program" "$@" >"$out/log" 2>&1 || { cat "$out/log" >&2 && return 1; }
    python3 - "$way" "$out/run/metrics.jsonl" <<'PY'
import json, statistics, sys

way, path = sys.argv[1:]
records = [json.loads(line) for line in open(path)]
start = next(r for r in records if r["kind"] == "start")
seconds = [r["seconds"] for r in records if r["kind"] == "step"]
stages = {k[: -len("_seconds")]: v for k, v in start.items() if k.endswith("_seconds")}
stages["until_first_step"] = start["seconds"] - start["first_step_seconds"]
stages["whole"] = start["seconds"]
stages["later_step"] = statistics.median(b - a for a, b in zip(seconds[1:], seconds[2:]))
for name, value in stages.items():
    print(way, name, f"{1e3 * value:.1f}")
PY
}

begin_table "bench/compare/start.sh $model $precision $rounds"
echo "# \$ taskset -c $cores $program $*"
once first "$@" >/dev/null # makes the tokens, warms the files
bytes=$("$program" plan "$config" "${@:3}" | sed -n 's/^total: \([0-9]*\) bytes.*/\1/p')
for _ in $(seq "$rounds"); do
    once as_it_is "$@" >>"$out/rows"
    python3 -c "import sys; bytearray(int(sys.argv[1]))[::4096] = b'1' * ((int(sys.argv[1]) + 4095) // 4096)" $((bytes * 5 / 4))
    once touched "$@" >>"$out/rows"
done
echo "# load after: $(cut -d' ' -f1-3 /proc/loadavg)"
awk '
    { if (!(($2) in seen)) { seen[$2] = 1; order[++stages] = $2 } n[$1, $2]++; v[$1, $2, n[$1, $2]] = $3 }
    function median(way, name,    a, i, j, t, k) {
        k = n[way, name]
        for (i = 1; i <= k; i++) a[i] = v[way, name, i]
        for (i = 2; i <= k; i++) for (j = i; j > 1 && a[j] + 0 < a[j - 1] + 0; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
        return k % 2 ? a[(k + 1) / 2] : (a[k / 2] + a[k / 2 + 1]) / 2
    }
    END {
        printf "%-20s %12s %12s   (ms, medians)\n", "stage", "as it is", "touched"
        for (i = 1; i <= stages; i++) printf "%-20s %12.1f %12.1f\n", order[i], median("as_it_is", order[i]), median("touched", order[i])
    }' "$out/rows"
rm -rf "$out/run"
