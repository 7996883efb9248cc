#!/bin/bash
# Matrix products of Lockstep and of oneDNN (its C API, gemm_onednn.c) on random data, on the same cores: the products of GPT-2 124M (forward,
# gradient of the input, gradient of the weight; 256 and 4,096 rows, the head's at 256), 1024^3, and the skinny ones of decoding. oneDNN runs
# with operands as they are stored and in layouts of its own choice (gemm_onednn.c says what is timed); the faster of both counts. Runs
# alternate; each is the median of launches for a tenth of a second (at least three). Prints commands, versions, load, a line for each product
# (medians of the runs in GFLOP/s and their spread), and geometric means of the ratios.
# usage: bench/compare/gemm.sh [ROUNDS [TYPES [ROWS]]]
#   ROUNDS     5
#   TYPES      which: "bf16 bf16-f32 f32 i8"; bf16-f32 has a result in f32, i8 is u8 times i8, to i32 there, with scales to f32 here; gradients of weights are f32
#   ROWS       "256 4096"
#   PEERS      (environment) "pypi debian": the newest oneDNN of PyPI and Debian's libdnnl, each installed under out/compare
#   CORES      cores and so the number of threads: default 0,1
#   ISA        avx2: both sides keep to AVX2
#   BENCH      Lockstep's side (build-bench/bench/bench_gemm); LOCKSTEP: the program, for its version
set -eu
cd "$(dirname "$0")/../.."
. bench/compare/lib.sh
bench=${BENCH:-build-bench/bench/bench_gemm}
rounds=${1:-5} types=${2:-bf16 bf16-f32 f32 i8} rows=${3:-256 4096} peers=${PEERS:-pypi debian}
case $rounds in *[!0-9]* | '') sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;; esac
[ -x "$bench" ] || { echo "$0: no $bench; make it with: cmake --build build-bench --target bench_gemm" >&2 && exit 1; }

# fetch_onednn NAME: unpacks into $out/onednn-NAME.
fetch_onednn() {
    local folder=$out/onednn-$1
    [ ! -f "$folder/done" ] || return 0
    rm -rf "$folder" && mkdir -p "$folder"
    if [ "$1" = pypi ]; then
        python3 -m venv "$folder"
        "$folder/bin/python" -m pip install -q onednn onednn-devel
    else
        (cd "$folder" && apt-get download -qq libdnnl-dev libdnnl2 ocl-icd-libopencl1 && for deb in *.deb; do dpkg -x "$deb" .; done)
    fi
    touch "$folder/done"
}

# build_onednn NAME: compiles gemm_onednn.c with its headers and library.
build_onednn() {
    local folder include library
    folder=$(realpath "$out/onednn-$1")
    include=$(dirname "$(find -L "$folder" -name dnnl.h -path '*/include/dnnl.h' | head -1)")
    library=$(dirname "$(find -L "$folder" -name 'libdnnl.so*' | head -1)")
    "${CC:-gcc}" -O2 -std=c11 -D_GNU_SOURCE -I"$include" bench/compare/gemm_onednn.c -o "$out/gemm_onednn-$1" \
        -L"$library" -Wl,-rpath,"$library" -Wl,--disable-new-dtags -Wl,--allow-shlib-undefined -ldnnl -lm
}

# PyPI's oneDNN runs on SYCL, which finds the CPU through OpenCL.
run_onednn() {
    local lib=
    [ "$1" != pypi ] || lib=$(realpath "$out/onednn-pypi/lib")
    env OMP_NUM_THREADS="$threads" ${lib:+OCL_ICD_FILENAMES="$lib/libintelocl.so" LD_LIBRARY_PATH="$lib"} \
        taskset -c "$cores" "$out/gemm_onednn-$1" "${@:2}"
}

# Lines "FORM M K N IN OUT GROUP": C[M,N] = A[M,K] B[K,N]; GPT-2 keeps weights as [in, out], its head as [out, in].
list_cases() {
    local in result m
    case $1 in bf16) in=bf16 result=bf16 ;; bf16-f32) in=bf16 result=f32 ;; f32) in=f32 result=f32 ;; i8) in=i8 result=i32 ;; esac
    for m in $rows; do
        while read -r k n; do
            echo "nn $m $k $n $in $result forward"
            [ "$1" = bf16 ] || [ "$1" = f32 ] || continue
            echo "nt $m $n $k $in $result input-gradient"
            echo "tn $k $m $n $in f32 weight-gradient"
        done <<<"768 2304
768 768
768 3072
3072 768"
        [ "$m" = 256 ] || continue
        echo "nt $m 768 50257 $in $result forward"
        [ "$1" = bf16 ] || [ "$1" = f32 ] || continue
        echo "nn $m 50257 768 $in $result input-gradient"
        echo "tn 50257 $m 768 $in f32 weight-gradient"
    done
    echo "nn 1024 1024 1024 $in $result cube"
    for m in 1 16; do echo "nn $m 768 3072 $in $result decode"; done
    echo "nt 1 768 50257 $in $result decode"
}

for peer in $peers; do fetch_onednn "$peer" && build_onednn "$peer"; done
begin_table "bench/compare/gemm.sh $rounds '$types' '$rows'"
for peer in $peers; do echo "# $peer: $(run_onednn "$peer" --version)"; done
for type in $types; do list_cases "$type" | sed "s/^/$type /"; done >"$out/cases"
{
    echo "\$ taskset -c $cores $bench $threads <cases"
    for peer in $peers; do echo "\$ OMP_NUM_THREADS=$threads taskset -c $cores gemm_onednn-$peer <cases"; done
} >"$out/commands"
for round in $(seq "$rounds"); do
    for type in $types; do
        awk -v type="$type" '$1 == type { print $2, $3, $4, $5, $6, $7 }' "$out/cases" >"$out/cases.now"
        taskset -c "$cores" "$bench" "$threads" <"$out/cases.now" | sed "s/^/lockstep /" >>"$out/rows"
        for peer in $peers; do
            run_onednn "$peer" <"$out/cases.now" | sed "s/^/$peer /" >>"$out/rows"
        done
        echo "# round $round of $rounds: $type done"
    done
done
end_rounds
awk -v peers="$peers" '
    function median(key,    i, j, n, t) {
        n = count[key]
        for (i = 1; i <= n; i++) v[i] = value[key, i]
        for (i = 2; i <= n; i++)
            for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
        least = n ? v[1] : 0; most = n ? v[n] : 0
        return n == 0 ? 0 : n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
    }
    function note(key, x) { if (x != "-") value[key, ++count[key]] = x }
    function add(group, ratio) { sum[group] += log(ratio); terms[group]++; if (!(group in seen)) { seen[group] = 1; groups[++n_groups] = group } }
    FILENAME == ARGV[1] { order[++n_cases] = $2 " " $3 " " $4 " " $5 " " $6 " " $7; type[n_cases] = $1; group[n_cases] = $8; next }
    {
        key = $2 " " $3 " " $4 " " $5 " " $6 " " $7
        note($1 " " key, $8)
        if ($1 != "lockstep") note($1 "+ " key, $9)
    }
    END {
        n_peers = split(peers, peer)
        print "FORM M K N IN OUT: GFLOP/s, medians of the runs (least to most); oneDNN: stored / its own layouts"
        for (c = 1; c <= n_cases; c++) {
            ours = median("lockstep " order[c])
            line = sprintf("%-34s ", order[c]) (ours > 0 ? sprintf("lockstep %7.1f (%.1f to %.1f)", ours, least, most) : "lockstep has none")
            best = 0
            for (p = 1; p <= n_peers; p++) {
                plain = median(peer[p] " " order[c]); packed = median(peer[p] "+ " order[c])
                top = plain > packed ? plain : packed
                line = line sprintf(", %s %7.1f / %7.1f (%.1f to %.1f)", peer[p], plain, packed, least, most)
                if (top > best) best = top
                if (top > 0 && ours > 0) add(type[c] " " group[c] " / " peer[p], ours / top)
                if (top > 0 && ours > 0 && group[c] ~ /forward|gradient/) add(type[c] " GPT-2 / " peer[p], ours / top)
            }
            if (best > 0 && ours > 0) {
                line = line sprintf(", ratio %.2f", ours / best)
                if (group[c] ~ /forward|gradient/) add(type[c] " GPT-2 / best", ours / best)
            }
            print line
        }
        for (g = 1; g <= n_groups; g++)
            printf "geometric mean of ratios, %-36s %.2f (%d products)\n", groups[g], exp(sum[groups[g]] / terms[groups[g]]), terms[groups[g]]
    }' "$out/cases" "$out/rows"
