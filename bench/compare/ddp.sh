#!/bin/bash
# The same work by PyTorch's DDP and FSDP (gloo) and by Lockstep: a GPT-2 trained by 2 ranks of one thread, each on a core of its own.
# Runs alternate; the median step of each run counts, its first steps do not. Prints commands, versions, load, every run, the median
# and spread of the runs, and the ratio.
# usage: bench/compare/ddp.sh host MODEL PRECISION [ROUNDS [STEPS]]   processes of this machine: shared memory here, loopback there
#        bench/compare/ddp.sh link MODEL PRECISION [ROUNDS [STEPS]]   two hosts (tools/hosts.sh) and a cable of 1 Gbit/s: Open MPI
#                                                                     here; bytes on the cable are counted
#   MODEL      gpt2_124m (batch 4 x 64 tokens) or demo (4 layers, width 256, 2,048 tokens; batch 32 x 128)
#   PRECISION  f32 or bf16 (DDP: autocast; FSDP: parameters of bf16, reduced in f32)
#   PEERS      (environment) which: default "ddp fsdp"
#   ZEROS      (environment) our stages over the link beside DDP: default "0 1"
#   PEER_PYTHON  a Python that has PyTorch; without it one is installed from PyPI under out/compare (several GB)
#   LOCKSTEP   the program (build/lockstep)
set -eu
cd "$(dirname "$0")/../.."
program=${LOCKSTEP:-build/lockstep}
out=${OUT:-out/compare}
where=${1:-} model=${2:-} precision=${3:-} rounds=${4:-5} steps=${5:-8} peers=${PEERS:-ddp fsdp}
case "$where $model $precision" in
host\ gpt2_124m\ f32 | host\ gpt2_124m\ bf16 | host\ demo\ f32 | host\ demo\ bf16) ;;
link\ gpt2_124m\ f32 | link\ gpt2_124m\ bf16 | link\ demo\ f32 | link\ demo\ bf16) ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
mkdir -p "$out"
python=${PEER_PYTHON:-$out/venv/bin/python}
if [ ! -x "$python" ]; then
    python3 -m venv "$out/venv"
    "$python" -m pip install -q torch==2.8.0 numpy
fi
case $model in
gpt2_124m) batch=4 window=64 shape='' ;;
demo) batch=32 window=128 shape='model.layers=4 model.width=256 model.heads=4 model.context=128 model.vocab=2048' ;;
esac

if [ "$where" = link ]; then
    HOSTS_LIBRARY=yes . tools/hosts.sh
    trap hosts_stop EXIT
    trap 'exit 130' INT TERM HUP
    hosts_start 2 1gbit
fi

# Waits for so many steps in metrics.jsonl, or for the end of the process.
wait_for_steps() {
    while [ "0$(grep -c '"kind":"step"' "$out/run/metrics.jsonl" 2>/dev/null)" -lt "$1" ] && kill -0 "$2" 2>/dev/null; do sleep 0.02; done
}

# ours ZERO WIRE: prints tokens a second, and with a link the bytes that a rank received a step, without first steps and checkpoint.
ours() {
    local before=0 after=0
    # shellcheck disable=SC2086
    set -- train configs/gpt2_124m.yaml $shape "batch=$batch" "window=$window" lanes=2 "precision=$precision" "zero=$1" "wire=$2" \
        "steps=$steps" optim.warmup=2 log_every=1 tensorboard=false threads=1 "data.cache=$out/data" "out=$out/run" -q
    rm -rf "$out/run"
    if [ "$where" = host ]; then
        echo "\$ $program run -n 2 -t 1 -- $*" >>"$out/commands"
        "$program" run -n 2 -t 1 -- "$@" >"$out/log" 2>&1 || { cat "$out/log" >&2 && return 1; }
    else
        echo "\$ mpirun -n 2 --host host1:1,host2:1 taskset -c RANK $program $* link.gbps=1" >>"$out/commands"
        # shellcheck disable=SC2016
        hosts_mpirun openmpi 2 sh -c 'exec taskset -c "$OMPI_COMM_WORLD_RANK" "$@"' sh "$program" "$@" link.gbps=1 \
            >"$out/log" 2>&1 </dev/null &
        wait_for_steps 2 $!
        before=$(hosts_bytes)
        wait_for_steps "$steps" $!
        after=$(hosts_bytes)
        wait $! || { cat "$out/log" >&2 && return 1; }
    fi
    sed -n 's/.*"kind":"step".*"seconds":\([0-9.]*\),.*/\1/p' "$out/run/metrics.jsonl" |
        awk -v tokens=$((batch * window)) 'NR > 2 { print tokens / ($1 - last) } { last = $1 }' | sort -n |
        awk -v bytes=$(((after - before) / (steps - 2) / 2)) '{ v[NR] = $1 }
            END { printf "%.1f %d\n", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2, bytes }'
    rm -rf "$out/run"
}

# peer_rank RANK ARGS...
peer_rank() {
    local rank=$1 address=127.0.0.1 in=''
    shift
    [ "$where" = host ] || { address=10.77.0.1 && in="hosts_on host$((rank + 1)) env GLOO_SOCKET_IFNAME=eth0"; }
    # shellcheck disable=SC2086
    $in env RANK="$rank" WORLD_SIZE=2 MASTER_ADDR=$address MASTER_PORT=29611 OMP_NUM_THREADS=1 taskset -c "$rank" \
        "$python" bench/compare/ddp.py "$@"
}

# peer KIND [OPTION]: the same of DDP or FSDP.
peer() {
    set -- "$1" "$model" --precision "$precision" --batch "$batch" --window "$window" --steps "$steps" ${2:+"$2"}
    echo "\$ RANK=0,1 OMP_NUM_THREADS=1 taskset -c RANK python bench/compare/ddp.py $*" >>"$out/commands"
    peer_rank 1 "$@" >"$out/log1" 2>&1 </dev/null &
    peer_rank 0 "$@" >"$out/log" 2>&1 </dev/null || { cat "$out/log" >&2 && return 1; }
    wait $!
    awk -v counted="$([ "$where" = host ] || echo 1)" '/^tokens_per_second/ { print $2, counted ? $6 : 0 }' "$out/log"
}

run_all() {
    if [ "$where" = host ]; then
        for peer in $peers; do
            case $peer in ddp) zero=0 ;; fsdp) zero=3 ;; esac
            echo "lockstep-zero$zero $(ours "$zero" f32)"
            echo "$peer $(peer "$peer")"
        done
    else
        for zero in ${ZEROS:-0 1}; do
            for wire in f32 bf16 int8; do echo "lockstep-zero$zero-$wire $(ours "$zero" $wire)"; done
        done
        case " $peers " in *" ddp "*)
            echo "ddp $(peer ddp)"
            echo "ddp-bf16-hook $(peer ddp --compress)"
            ;;
        esac
        case " $peers " in *" fsdp "*)
            for wire in f32 bf16 int8; do echo "lockstep-zero3-$wire $(ours 3 $wire)"; done
            echo "fsdp $(peer fsdp)"
            ;;
        esac
    fi
}

echo "# bench/compare/ddp.sh $where $model $precision $rounds $steps, $(date -u +%Y-%m-%dT%H:%MZ)"
echo "# $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $(nproc) CPUs; load before: $(cut -d' ' -f1-3 /proc/loadavg)"
echo "# $("$program" version | head -1); $("$python" -c 'import torch; print("PyTorch", torch.__version__)')"
: >"$out/commands" && : >"$out/rows"
for round in $(seq "$rounds"); do
    run_all | sed -u "s/^/$round /" | tee -a "$out/rows"
done
echo "# load after: $(cut -d' ' -f1-3 /proc/loadavg)"
sort -u "$out/commands" | sed 's/^/# /'
sort -k2,2 -k3,3n "$out/rows" | awk '
    function close_group() {
        if (!n) return
        m = n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
        printf "%-22s median %9.1f tokens/s (%.1f to %.1f, %d runs)", name, m, v[1], v[n], n
        if (bytes) printf ", %d bytes a step received by a rank", bytes
        print ""
        median[name] = m
    }
    $2 != name { close_group(); name = $2; n = 0 }
    { v[++n] = $3; bytes = $4 }
    END {
        close_group()
        for (ours in median)
            for (theirs in median)
                if (ours ~ /^lockstep/ && theirs !~ /^lockstep/ && (ours ~ /zero3/) == (theirs ~ /fsdp/))
                    printf "ratio %s / %s: %.2f\n", ours, theirs, median[ours] / median[theirs]
    }'
