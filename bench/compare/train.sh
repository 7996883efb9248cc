#!/bin/bash
# One process trains the same network with Lockstep and with PyTorch, as it is written (eager) and by torch.compile, on the same cores. Runs
# alternate; of a run the median step counts, without its first two. Beside the rate: the most memory that was resident in the process, and
# the time from its start to the end of its first step. Prints commands, versions, load, every run, medians, spread of the runs and ratios.
# usage: bench/compare/train.sh MODEL PRECISION [ROUNDS [STEPS]]
#   MODEL      gpt2_124m_64 (batch 4 x 64 tokens), gpt2_124m_1024 (4 x 1024), demo (configs/demo.yaml with a batch of 32 x 128),
#              resnet (configs/fashion.yaml, batch 128), resnet18 (the same with two blocks a stage, four stages, 64 channels)
#   PRECISION  f32 or bf16 (PyTorch: autocast)
#   ROUNDS     5; STEPS: 8 (gpt2_124m_1024: 4, demo and resnet: 30)
#   PEERS      (environment) which: default "eager compile"; images also know eager-nhwc and compile-nhwc (channels_last), default
#              "eager eager-nhwc compile-nhwc"
#   CORES      (environment) cores and so the number of threads: default 0,1
#   ISA           avx2: both sides keep to AVX2
#   PEER_PRELOAD  a library for the peer's LD_PRELOAD, such as another malloc
#   PEER_PYTHON   a Python that has PyTorch; without it the newest of PyPI is installed under out/compare (several GB)
#   LOCKSTEP   the program (build/lockstep)
set -eu
cd "$(dirname "$0")/../.."
. bench/compare/lib.sh
model=${1:-} precision=${2:-} rounds=${3:-5} default=8 peers='eager compile'
case "$model $precision" in
gpt2_124m_1024\ *) default=4 ;;
demo\ *) default=30 ;;
resnet*) default=30 peers='eager eager-nhwc compile-nhwc' ;;
esac
steps=${4:-$default} peers=${PEERS:-$peers}
case $precision in f32 | bf16) ;; *) model='' ;; esac
if ! shape_of "$model"; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
need_torch

# peer KIND: prints "KIND RATE RESIDENT_MB FIRST_STEP_MS".
peer() {
    local first
    set -- "$1" bench/compare/train.py "$model" "${1%-nhwc}" --precision "$precision" --batch "$batch" --window "$window" --steps "$steps" \
        --threads "$threads"
    case $1 in *-nhwc) set -- "$@" --channels-last ;; esac
    local name=$1
    shift
    echo "\$ ${PEER_PRELOAD:+LD_PRELOAD=$PEER_PRELOAD }OMP_NUM_THREADS=$threads taskset -c $cores python $*" >>"$out/commands"
    rm -f "$out/first"
    first=$(env TORCHINDUCTOR_CACHE_DIR="$out/inductor${ISA:-}" python3 bench/compare/watch.py "$out/first" 'first step' "$out/log" \
        taskset -c "$cores" env ${PEER_PRELOAD:+LD_PRELOAD="$PEER_PRELOAD"} OMP_NUM_THREADS="$threads" \
        "$python" -W ignore "$@" --first "$out/first") || { cat "$out/log" >&2 && return 1; }
    awk -v name="$name" -v first="$first" '/^rate/ { print name, $2, first }' "$out/log"
}

begin_table "bench/compare/train.sh $model $precision $rounds $steps"
echo "# $(torch_version); torch.compile's cache is kept between runs"
for round in $(seq "$rounds"); do
    ours lockstep "$precision" "$steps" | sed -u "s/^/$round /" | tee -a "$out/rows"
    for kind in $peers; do peer "$kind" | sed -u "s/^/$round /" | tee -a "$out/rows"; done
done
end_rounds
summarize
