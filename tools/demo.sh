#!/bin/sh
# `make demo`: trains a small GPT on the King James Bible on two ranks and says how well it compresses text it has not seen.
# Its last line is "demo: {JSON}". usage: tools/demo.sh [KEY=VALUE...]  (overrides of configs/demo.yaml)
set -eu
cd "$(dirname "$0")/.."
program=${LOCKSTEP:-build/lockstep}
out=out/demo
text=$out/kjv.txt

# Bits per byte that a compressor makes of the held-out part, the last 5 % of the text.
compressed_bits() {
    tail -c +$((held_begin + 1)) "$text" | "$@" | wc -c | awk -v bytes=$((bytes - held_begin)) '{ printf "%.4f", 8 * $1 / bytes }'
}

# A number or string of a flat JSON file.
field() {
    tr ',{}' '\n\n\n' <"$2" | sed -n "s/^[[:space:]]*\"$1\":[[:space:]]*\"\{0,1\}\([^\"]*\)\"\{0,1\}[[:space:]]*$/\1/p"
}

mkdir -p "$out"
[ -s "$text" ] || tools/kjv.sh "$text"
bytes=$(wc -c <"$text")
held_begin=$((bytes * 95 / 100))

echo "== tokenizer and token shards"
"$program" data prepare configs/demo.yaml "$@"
echo "== training on two ranks ($("$program" version | sed -n 's/^cpu *//p'))"
"$program" run -n 2 -- train configs/demo.yaml "$@" --json >"$out/report.json"
echo "== held out: the last $((bytes - held_begin)) bytes, never seen in training"
bits=$(field bits_per_byte "$out/report.json")
gzip_bits=$(compressed_bits gzip -9)
xz_bits=$(compressed_bits xz -9)
printf '  gzip -9    %.4f bits per byte\n  xz -9      %.4f bits per byte\n  this model %.4f bits per byte\n' "$gzip_bits" "$xz_bits" "$bits"
echo "== a sample"
"$program" generate "$out" --tokens 160 --temperature 0.7 --top-p 0.95 --seed 3
echo "== left behind"
echo "  checkpoint $(field checkpoint "$out/report.json")"
echo "  chart      $out/loss.svg"
echo "  metrics    $out/metrics.jsonl"
printf 'demo: {"bits_per_byte":%s,"gzip_bits_per_byte":%s,"xz_bits_per_byte":%s,"train_seconds":%s,"tokens_per_second":%s,"parameters":%s,"weights_sha256":"%s"}\n' \
    "$(printf '%.4f' "$bits")" "$gzip_bits" "$xz_bits" "$(printf '%.1f' "$(field train_seconds "$out/report.json")")" \
    "$(printf '%.0f' "$(field items_per_second "$out/report.json")")" "$(field parameters "$out/report.json")" "$(field weights_sha256 "$out/report.json")"
