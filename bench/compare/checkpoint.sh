#!/bin/bash
# The same checkpoint by torch.distributed.checkpoint and by Lockstep: weights in f32 and AdamW's moments of a GPT-2, cut between 2 ranks (FSDP
# there, zero 1 here), saved while the ranks wait, saved behind their backs (how long they are held up, how long until it is on disk), and
# loaded from disk. Beside them a memcpy and a plain write (with fsync) and read of as many bytes by the same 2 processes, in every run.
# Runs alternate; of a run the median of its saves counts, without the first. Prints commands, versions, load, every run, medians and
# spread of the runs, and ratios.
# usage: bench/compare/checkpoint.sh [MODEL [ROUNDS [SAVES]]]
#   MODEL      gpt2_124m (1.49 GB, the default) or small
#   ROUNDS     5; SAVES of a run: 4
#   PEER_PYTHON  a Python that has PyTorch; without it one is installed from PyPI under out/compare (several GB)
#   BENCH      the program (build/bench/bench_ckpt); DIR: where to save (out/compare/checkpoint): its disk is what is measured
set -eu
cd "$(dirname "$0")/../.."
bench=${BENCH:-build/bench/bench_ckpt}
out=${OUT:-out/compare}
dir=${DIR:-$out/checkpoint}
model=${1:-gpt2_124m} rounds=${2:-5} saves=${3:-4}
case $model in
gpt2_124m | small) ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
mkdir -p "$out" "$dir"
python=${PEER_PYTHON:-$out/venv/bin/python}
if [ ! -x "$python" ]; then
    python3 -m venv "$out/venv"
    "$python" -m pip install -q torch==2.8.0 numpy
fi

# Median of each kind of line but the first: "NAME WHAT SECONDS BYTES".
summarize() {
    awk -v name="$1" '
        /^[a-z_]+ [0-9.]+ [0-9]+$/ { if (n[$1]++) v[$1, n[$1] - 1] = $2; bytes[$1] = $3 }
        END {
            for (what in n) {
                k = n[what] - 1
                for (i = 2; i <= k; i++)
                    for (j = i; j > 1 && v[what, j] < v[what, j - 1]; j--) {
                        t = v[what, j]; v[what, j] = v[what, j - 1]; v[what, j - 1] = t
                    }
                m = k % 2 ? v[what, (k + 1) / 2] : (v[what, k / 2] + v[what, k / 2 + 1]) / 2
                printf "%s %s %.6f %d\n", name, what, m, bytes[what]
            }
        }' | sort
}

ours() {
    set -- --dir "$dir" --model "$model" --times "$saves"
    echo "\$ $bench $*" >>"$out/commands"
    "$bench" "$@" >"$out/log" || return 1
    summarize lockstep <"$out/log"
}

peer() {
    set -- --dir "$dir" --model "$model" --times "$saves"
    echo "\$ RANK=0,1 OMP_NUM_THREADS=1 python bench/compare/checkpoint.py $*" >>"$out/commands"
    local rank pids=''
    for rank in 1 0; do
        env RANK=$rank WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29617 OMP_NUM_THREADS=1 \
            "$python" -W ignore bench/compare/checkpoint.py "$@" >"$out/log$rank" 2>"$out/err$rank" </dev/null &
        pids="$pids $!"
    done
    for rank in $pids; do
        wait "$rank" || { cat "$out/err0" "$out/err1" >&2 && return 1; }
    done
    summarize dcp <"$out/log0"
}

echo "# bench/compare/checkpoint.sh $model $rounds $saves, $(date -u +%Y-%m-%dT%H:%MZ)"
echo "# $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $(nproc) CPUs; load before: $(cut -d' ' -f1-3 /proc/loadavg)"
echo "# $(findmnt -n -o FSTYPE,SOURCE -T "$dir" | tr -s ' '), page cache cold for loads (posix_fadvise)"
echo "# $(git rev-parse --short HEAD 2>/dev/null || echo 'no git'); $("$python" -W ignore -c 'import torch; print("PyTorch", torch.__version__)')"
: >"$out/commands" && : >"$out/rows"
for round in $(seq "$rounds"); do
    { ours && peer; } | sed -u "s/^/$round /" | tee -a "$out/rows"
done
echo "# load after: $(cut -d' ' -f1-3 /proc/loadavg)"
sort -u "$out/commands" | sed 's/^/# /'
sort -k2,2 -k3,3 -k4,4n "$out/rows" | awk '
    function close_group() {
        if (!n) return
        m = n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
        printf "%-24s median %9.4f s (%.4f to %.4f, %d runs), %8.1f MB/s\n", group, m, v[1], v[n], n, bytes / m / 1e6
        median[group] = m
    }
    function ratio(ours, theirs, words) {
        if (median[ours] > 0 && median[theirs] > 0) printf "ratio %-54s %.2f\n", words, median[theirs] / median[ours]
    }
    $2 " " $3 != group { close_group(); group = $2 " " $3; n = 0 }
    { v[++n] = $4; bytes = $5 }
    END {
        close_group()
        ratio("lockstep save", "dcp save", "speed of a save, Lockstep / DCP:")
        ratio("lockstep load", "dcp load", "speed of a load, Lockstep / DCP:")
        ratio("lockstep async_stall", "dcp async_stall", "stall of a save in the background, DCP / Lockstep:")
        ratio("lockstep async_total", "dcp async_total", "speed of a save in the background, Lockstep / DCP:")
        ratio("lockstep async_stall", "lockstep memcpy", "memcpy / stall of a save in the background:")
        ratio("lockstep save", "lockstep disk_write", "speed of a save / plain write with fsync:")
        ratio("lockstep load", "lockstep disk_read", "speed of a load / plain read:")
        ratio("dcp save", "lockstep disk_write", "the same of DCP: save")
        ratio("dcp load", "lockstep disk_read", "the same of DCP: load")
    }'
