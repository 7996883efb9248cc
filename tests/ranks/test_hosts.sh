#!/bin/bash
# labels: slow timeout=600 cost=70
# Ranks on two and four hosts (network namespaces, tools/hosts.sh) under Open MPI and MPICH: the weights of one rank, bit for bit,
# in every wire format, over plain cables and over 1 Gbit/s with 10 ms; the bytes on the cables are those of the plan; a host that
# dies or loses its cable is named by every survivor within two seconds.
# usage: test_hosts.sh BUILD_DIR [PART...]   (hashes, slow_link, bytes, faults; default: all)
set -eu
# shellcheck source=tests/ranks/elastic_hosts.sh
. "$(dirname "$0")/elastic_hosts.sh"
export LS_DELAY_LINE=$build/tests/delay_line
export LC_ALL=C # a point in EPOCHREALTIME

# train NAME KEY=VALUE...: the words of a short run that writes into a folder of that name.
train_words() {
    local name=$1
    shift
    echo "$program train configs/exact_gpt.yaml steps=6 optim.warmup=2 data.cache=$tmp/cache out=$tmp/$name threads=1 -q $*"
}

# run_ranks MPI RANKS WORDS...: what they say to $tmp/out.
run_ranks() {
    local status=0
    hosts_mpirun "$@" >"$tmp/out" 2>&1 </dev/null || status=$?
    # Hydra's own mpirun now and then dies of SIGPIPE while it takes leave of its daemons; the ranks have ended well by then.
    [ "$1 $status" = "mpich 141" ] || return $status
}

# check_hash MPI RANKS WIRE KEY=VALUE...: on the hosts that are up.
check_hash() {
    local mpi=$1 ranks=$2 wire=$3 found status=0
    shift 3
    # shellcheck disable=SC2046
    run_ranks "$mpi" "$ranks" $(train_words "many" "wire=$wire" "$@") || status=$?
    [ $status -eq 0 ] ||
        fail "$mpi, $hosts_n hosts, $ranks ranks, wire $wire $*: status $status, $(cat "$tmp/out")"
    found=$(hash_of "$tmp/out")
    echo "$mpi: $hosts_n hosts, $ranks ranks, wire $wire $*: ${found:0:16}"
    [ "$found" = "$(cat "$tmp/hash.$wire")" ] || fail "one rank ends with $(cat "$tmp/hash.$wire"), these with ${found:-nothing}"
}

make_references() {
    local wire
    for wire in f32 bf16 int8; do
        # shellcheck disable=SC2046
        env $(train_words one "wire=$wire") >"$tmp/out" 2>&1 || fail "one rank: $(cat "$tmp/out")"
        hash_of "$tmp/out" >"$tmp/hash.$wire"
    done
    ! cmp -s "$tmp/hash.f32" "$tmp/hash.bf16" || fail "wire bf16 rounds nothing"
    ! cmp -s "$tmp/hash.f32" "$tmp/hash.int8" || fail "wire int8 rounds nothing"
}

part_hashes() {
    local mpi n
    make_references
    for n in 2 4; do
        hosts_start $n
        for mpi in $mpis; do
            check_hash "$mpi" $n f32 zero=0
            check_hash "$mpi" $n bf16 zero=1
            check_hash "$mpi" $n int8 zero=2
            check_hash "$mpi" $n f32 zero=3
        done
        # Two ranks a host: shared memory within, messages between.
        check_hash "$mpi" $((2 * n)) bf16 zero=3
        hosts_stop
    done
}

part_slow_link() {
    local mpi wire
    [ -e "$tmp/hash.f32" ] || make_references
    if ! hosts_start 2 1gbit 10ms; then
        echo "test_hosts: no slow link"
        hosts_stop
        return
    fi
    echo "1gbit and 10ms by $hosts_shaped"
    for mpi in $mpis; do
        for wire in f32 bf16 int8; do check_hash "$mpi" 2 $wire zero=2; done
    done
    hosts_stop
}

# Received by both hosts in a run of so many steps.
bytes_of_run() {
    local mpi=$1 wire=$2 steps=$3 before
    before=$(hosts_bytes)
    run_ranks "$mpi" 2 "$program" train configs/tiny.yaml "steps=$steps" optim.warmup=2 eval_every=0 data.split=false log_every=1000 \
        tensorboard=false "wire=$wire" "data.cache=$tmp/cache" "out=$tmp/bytes" threads=1 -q ||
        fail "$mpi, wire $wire: status $?, $(cat "$tmp/out")"
    [ -n "$(hash_of "$tmp/out")" ] || fail "$mpi, wire $wire: $(cat "$tmp/out")"
    echo $(($(hosts_bytes) - before))
}

# Two runs' difference leaves out joining, first values and saving. What TCP and the liveness add must stay within a twentieth
# and 16 KiB a step; less than the plan says must not arrive.
part_bytes() {
    local mpi wire planned few many
    hosts_start 2
    for mpi in $mpis; do
        for wire in f32 bf16 int8; do
            planned=$("$program" plan configs/tiny.yaml mesh.dp=2 mesh.hosts=2 "wire=$wire" | sed -n 's/^ *in all \([0-9]*\) bytes$/\1/p')
            few=$(bytes_of_run "$mpi" $wire 4)
            many=$(bytes_of_run "$mpi" $wire 44)
            awk -v name="$mpi: 2 hosts, wire $wire" -v planned="$planned" -v found=$(((many - few) / 40)) 'BEGIN {
                printf "%s: %d bytes a step on the cables, planned 2 x %d, ratio %.3f\n", name, found, planned, found / (2 * planned)
                exit !(planned > 0 && found >= 2 * planned && found <= 2.1 * planned + 16384)
            }' || fail "the plan's bytes are not those on the cables"
        done
    done
    hosts_stop
}

# wait_for_lines WORDS N FILE...: until so many lines of the files have the words.
wait_for_lines() {
    local words=$1 n=$2 tries=$((20 * patience))
    shift 2
    while [ "$(cat "$@" 2>/dev/null | grep -c -e "$words")" -lt "$n" ]; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.05
    done
}

# Runs a rank and notes in a file of its own when it said what, and how it ended: what mpirun passes on comes when mpirun likes. In a
# session of its own, because mpirun of MPICH kills the other ranks of a host when one has ended badly. What mpirun started stays until
# then (--wait: setsid would fork and leave): Open MPI takes a child that has ended, when another one of its host has reached MPI_Init
# already, for a rank that failed, and ends the job with no word but those of PMIx in ranks that find its locks gone.
# shellcheck disable=SC2016
noting='exec setsid --wait bash -c "{ \"\$@\" 2>&1; echo \"ended with \$?\"; } </dev/null |
    while read -r line; do echo \"\$EPOCHREALTIME \$line\"; done >$0.\$(hostname).\$\$" sh "$@"'

# strike MPI RANKS_A_HOST FAULT HOSTS: all survivors' words in $tmp/said.*, and when host2 was gone in $at: as soon as its cable was cut.
strike() {
    local mpi=$1 each=$2 fault=$3
    hosts_start "$4"
    rm -rf "$tmp/fault" "$tmp"/said.*
    # shellcheck disable=SC2046
    hosts_mpirun "$mpi" $((hosts_n * each)) sh -c "$noting" "$tmp/said" \
        $(train_words fault steps=1000000 log_every=1) </dev/null >"$tmp/out" 2>&1 &
    wait_for_lines step 20 "$tmp/fault/metrics.jsonl" || fail "$mpi did not start: $(cat "$tmp/out" "$tmp"/said.*)"
    hosts_unplug host2
    at=$EPOCHREALTIME
    "hosts_$fault" host2
    wait_for_lines "ended with" $(((hosts_n - 1) * each)) "$tmp"/said.host[134].* ||
        fail "$mpi, $fault: survivors hang: $(cat "$tmp"/said.*)"
    hosts_stop
    wait
}

# Each survivor must say within two seconds that a rank of host2 is dead or out of reach, and end with status 8. Two seconds are promised
# on a machine that lets the survivors run: where they come later, it is tried again, twice at most. Nothing else is tried again.
check_fault() {
    local mpi=$1 each=$2 fault=$3 status at survivors
    for _ in 1 2 3; do
        strike "$@"
        survivors=$(((hosts_n - 1) * each)) status=0
        cat "$tmp"/said.host[134].* | awk -v at="$at" -v survivors=$survivors -v name="$mpi: $hosts_n hosts, $((hosts_n * each)) ranks, $fault host2" '
            / error: rank [0-9]+ \(pid [0-9]+ on host host2\) / && / this is rank [0-9]+ \(pid [0-9]+ on host host[134]\)/ {
                told++
                if ($1 - at > last) last = $1 - at
            }
            / ended with 8$/ { ended++ }
            END {
                printf "%s: named by %d of %d survivors, the last after %.2f s\n", name, told, survivors, last
                exit told != survivors || ended != survivors ? 1 : last < 2 ? 0 : 9
            }' || status=$?
        [ $status -eq 9 ] || break
    done
    [ $status -eq 0 ] || fail "$(cat "$tmp"/said.*)"
}

part_faults() {
    local mpi
    for mpi in $mpis; do
        check_fault "$mpi" 2 kill 2
        check_fault "$mpi" 2 unplug 2
        check_fault "$mpi" 1 kill 4
    done
}

[ $# -gt 0 ] || set -- hashes slow_link bytes faults
for part in "$@"; do "part_$part"; done
echo "test_hosts: passed"
