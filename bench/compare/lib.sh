# shellcheck shell=bash
# What the scripts of this folder share, sourced by them after `cd` to the root of the repository: where things are, the peers' Python, a
# training run of Lockstep, and the table at the end.
program=${LOCKSTEP:-build/lockstep}
out=${OUT:-out/compare}
cores=${CORES:-0,1}
threads=$(awk -F, '{ print NF }' <<<"$cores")
python=${PEER_PYTHON:-$out/venv-torch/bin/python}
mkdir -p "$out"

# ISA=avx2: both sides keep to AVX2, as on processors that have no more.
kept_to=
case ${ISA:-} in
'') ;;
avx2)
    export LOCKSTEP_ISA=avx2 ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2
    kept_to=', both sides kept to AVX2: LOCKSTEP_ISA=avx2 ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2'
    ;;
*) echo "$0: ISA is '$ISA'; leave it out, or avx2" >&2 && exit 2 ;;
esac

# The newest PyTorch of PyPI, in a folder of its own; for x86-64 it comes with the CUDA libraries.
need_torch() {
    [ -x "$python" ] && return
    python3 -m venv "$out/venv-torch"
    "$out/venv-torch/bin/python" -m pip install -q torch numpy
    python=$out/venv-torch/bin/python
}

# With what importing it alone makes resident.
torch_version() {
    "$python" -W ignore -c 'import re, resource, torch
built = re.search(r"MKL-DNN (v[0-9.]+)", torch.__config__.show())
resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
print("PyTorch", torch.__version__, "with oneDNN", built.group(1) if built else "?", f"({resident:.0f} MB resident after import)")'
}

# begin_table WORDS...: who runs what, where, under which load.
begin_table() {
    echo "# $*, $(date -u +%Y-%m-%dT%H:%MZ)"
    echo "# $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $(nproc) CPUs; pinned to $cores$kept_to; load before: $(cut -d' ' -f1-3 /proc/loadavg)"
    echo "# $("$program" version | head -1), working tree at $(git rev-parse --short HEAD 2>/dev/null || echo 'no git')"
    : >"$out/commands" && : >"$out/rows"
}

end_rounds() {
    echo "# load after: $(cut -d' ' -f1-3 /proc/loadavg)"
    sort -u "$out/commands" | sed 's/^/# /'
}

# shape_of MODEL: sets config, shape, batch, window (1 with images), unit.
shape_of() {
    config=configs/gpt2_124m.yaml shape='' batch=4 unit=tokens
    case $1 in
    gpt2_124m_64) window=64 ;;
    gpt2_124m_1024) window=1024 ;;
    demo)
        config=configs/demo.yaml batch=32 window=128
        shape='zero=0 eval_every=0 data.path=examples/data/tiny.txt data.tokenizer=byte data.split=false model.vocab=2048'
        ;;
    resnet | resnet18)
        config=configs/fashion.yaml batch=128 window=1 unit=images
        shape='data.flip=false'
        [ "$1" = resnet ] || shape="$shape model.layers=2 model.width=64 model.stages=4"
        ;;
    *) return 1 ;;
    esac
}

# ours NAME PRECISION STEPS [KEY=VALUE...]: trains the model of shape_of in one process; prints "NAME RATE RESIDENT_MB FIRST_STEP_MS", the
# rate that of the median step after the first two.
ours() {
    local name=$1 precision=$2 steps=$3 first
    shift 3
    # shellcheck disable=SC2086
    set -- train "$config" $shape "batch=$batch" lanes=1 "precision=$precision" "steps=$steps" optim.warmup=1 log_every=1 tensorboard=false \
        "threads=$threads" "data.cache=$out/data-$(basename "$config" .yaml)" "out=$out/run" -q "$@"
    [ "$unit" = images ] || set -- "$@" "window=$window"
    echo "\$ taskset -c $cores $program $*" >>"$out/commands"
    rm -rf "$out/run"
    first=$(python3 bench/compare/watch.py "$out/run/metrics.jsonl" '"kind":"step"' "$out/log" taskset -c "$cores" "$program" "$@") ||
        { cat "$out/log" >&2 && return 1; }
    sed -n 's/.*"kind":"step".*"seconds":\([0-9.]*\),.*/\1/p' "$out/run/metrics.jsonl" |
        awk 'NR > 2 { print $1 - last } { last = $1 }' | sort -n |
        awk -v items=$((batch * window)) -v name="$name" -v first="$first" '{ v[NR] = $1 } END {
            m = NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2
            printf "%s %.1f %s\n", name, items / m, first
        }'
    rm -rf "$out/run"
}

# Rows "ROUND NAME RATE RESIDENT_MB FIRST_MS" to medians and spreads of each name, and the ratios of each of ours to each peer.
summarize() {
    awk -v unit="$unit" '
        function median(a, n,    i, j, t) {
            for (i = 2; i <= n; i++)
                for (j = i; j > 1 && a[j] < a[j - 1]; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
            return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
        }
        {
            if (!($2 in n)) order[++names] = $2
            i = ++n[$2]
            rate[$2, i] = $3; resident[$2, i] = $4; first[$2, i] = $5
        }
        END {
            for (k = 1; k <= names; k++) {
                name = order[k]
                for (i = 1; i <= n[name]; i++) { r[i] = rate[name, i]; m[i] = resident[name, i]; f[i] = first[name, i] }
                speed[name] = median(r, n[name]); memory[name] = median(m, n[name])
                printf "%-16s median %10.1f %s/s (%.1f to %.1f, %d runs), %7.1f MB resident at most, first step after %.0f ms (%.0f to %.0f)\n",
                    name, speed[name], unit, r[1], r[n[name]], n[name], memory[name], median(f, n[name]), f[1], f[n[name]]
            }
            for (k = 1; k <= names; k++)
                for (l = 1; l <= names; l++)
                    if (order[k] ~ /^lockstep/ && order[l] !~ /^lockstep/)
                        printf "ratio %s / %s: speed %.2f, memory %.2f\n", order[k], order[l],
                            speed[order[k]] / speed[order[l]], memory[order[k]] / memory[order[l]]
        }' "$out/rows"
}
