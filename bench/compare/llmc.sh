#!/bin/bash
# GPT-2 124M trained by llm.c's train_gpt2 (C, OpenMP, f32) and by Lockstep in f32 and bf16, on the same cores, with the same batch. Runs
# alternate; of a run the median step counts, without its first two. llm.c starts from random weights and reads random tokens, in files of its
# own formats that llmc_files.py writes. Three numbers of its program are changed: the window, the steps, the validation batches before the
# first step. Prints commands, versions, load, every run, medians, spread of the runs and ratios.
# usage: LLMC=FOLDER bench/compare/llmc.sh [WINDOW [ROUNDS [STEPS]]]
#   WINDOW     64 (the default) or 1024 tokens; a batch is 4 of them
#   ROUNDS     5; STEPS: 5 (1024: 3)
#   LLMC       llm.c's source: git clone https://github.com/karpathy/llm.c && git -C llm.c checkout f1e2ace651495b74ae22d45d1723443fd00ecd3a
#   CC         the compiler of llm.c: gcc
#   CORES      cores and so the number of threads: default 0,1
#   LOCKSTEP   the program (build/lockstep)
set -eu
cd "$(dirname "$0")/../.."
. bench/compare/lib.sh
window=${1:-64} rounds=${2:-5}
steps=${3:-$([ "$window" = 64 ] && echo 5 || echo 3)}
if ! shape_of "gpt2_124m_$window" || [ ! -f "${LLMC:-}/train_gpt2.c" ]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
CC=${CC:-gcc}
work=$out/llm.c
rm -rf "$work"
cp -r "$LLMC" "$work"
sed -i -e "s/int T = 64;/int T = $window;/" -e "s/step <= 40/step < $steps/" -e 's/val_num_batches = 5/val_num_batches = 1/' \
    "$work/train_gpt2.c"
make -C "$work" -s train_gpt2 CC="$CC" >"$out/log" 2>&1 || { cat "$out/log" >&2 && exit 1; }
python3 bench/compare/llmc_files.py "$work"

# Prints "llm.c RATE RESIDENT_MB FIRST_STEP_MS" (the first step after one batch of validation).
peer() {
    local first
    echo "\$ OMP_NUM_THREADS=$threads taskset -c $cores stdbuf -oL ./train_gpt2" >>"$out/commands"
    rm -f "$out/log"
    first=$(cd "$work" && python3 "$OLDPWD/bench/compare/watch.py" log 'step 0:' log \
        env OMP_NUM_THREADS="$threads" taskset -c "$cores" stdbuf -oL ./train_gpt2) || { cat "$work/log" >&2 && return 1; }
    sed -n 's/^step .* (took \([0-9.]*\) ms)/\1/p' "$work/log" | awk 'NR > 2' | sort -n |
        awk -v tokens=$((batch * window)) -v first="$first" '{ v[NR] = $1 } END {
            m = NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2
            printf "llm.c %.1f %s\n", tokens / m * 1e3, first
        }'
}

begin_table "bench/compare/llmc.sh $window $rounds $steps"
echo "# llm.c $(git -C "$LLMC" rev-parse --short HEAD 2>/dev/null || echo 'of unknown version'), built by its Makefile with $($CC --version | head -1)"
for round in $(seq "$rounds"); do
    for precision in bf16 f32; do
        ours "lockstep-$precision" "$precision" $((steps > 4 ? steps : 4)) | sed -u "s/^/$round /" | tee -a "$out/rows"
    done
    peer | sed -u "s/^/$round /" | tee -a "$out/rows"
done
end_rounds
summarize
