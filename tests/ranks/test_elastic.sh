#!/bin/bash
# labels: slow timeout=600 cost=110
# `lockstep run --hosts` across network namespaces (tools/hosts.sh): hosts are killed, unplugged and brought back, keepers and mpirun
# are killed, and the weights at the end are those of one undisturbed process, bit for bit; no committed step is done twice; nothing
# is left behind. The controller has a host of its own, which is never harmed.
# usage: test_elastic.sh BUILD_DIR [PART...]   (sizes, losses, keepers, move, stop, words; default: a short choice)
#   LS_ELASTIC=long        every part with both MPIs and every zero: some 20 minutes
#   LS_ELASTIC_MPI=mpich   with that one alone;  LS_ELASTIC_ZEROS="1 3"   with those alone
set -eu
# shellcheck source=tests/ranks/elastic_hosts.sh
. "$(dirname "$0")/elastic_hosts.sh"

# --- a run and what is seen of it ---

# Rank 0 sleeps before each collective: a step takes as long on two ranks as on eight, and there is time to disturb.
slowly="kind=slow,rank=0,step=1,seconds=0.01,attempt=all"
steps=150

# start MPI HOSTS KEY=VALUE...: a run on host1 to hostN, two ranks each at most, from a host behind them.
start() {
    local mpi=$1 n=$2 k
    shift 2
    hosts_start $((n + 1))
    controller=host$((n + 1))
    for k in $(seq "$n"); do echo "host$k slots=2"; done >"$tmp/hosts"
    rm -rf "$tmp/run" "$tmp/pid" "$tmp/err" "$tmp/out"
    # shellcheck disable=SC2016
    hosts_on "$controller" env LOCKSTEP_FAULT="$slowly" FI_TCP_IFACE=eth0 FI_SOCKETS_IFACE=eth0 \
        sh -c 'echo $$ >"$0.new" && mv "$0.new" "$0" && exec "$@"' "$tmp/pid" \
        "$program" run --hosts "$tmp/hosts" --agent "$hosts_dir/agent${agent_words:-}" --launcher "$mpi" --launcher-args "$(interface_words "$mpi")" --wait 20 -t 1 ${most:+-n $most} -- \
        train configs/exact_gpt.yaml steps=$steps optim.warmup=2 log_every=1 "data.cache=$tmp/cache" "out=$tmp/run" -q "$@" \
        >"$tmp/out" 2>"$tmp/err" </dev/null &
    running=$!
    cut_off=
}

# wait_until COMMAND...: while the run goes on.
wait_until() {
    local tries=$((20 * patience))
    while ! "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        kill -0 $running 2>/dev/null || return 1
        sleep 0.05
    done
}

# Of the last line that is whole.
last_step() {
    local step
    step=$(sed -n 's/.*"step":\([0-9]*\).*}$/\1/p' "$tmp/run/metrics.jsonl" 2>/dev/null | tail -n 1)
    echo "${step:-0}"
}
has_step() {
    local step
    step=$(last_step)
    [ "$step" -ge "$1" ]
}
# Some steps further than now.
go_on() {
    local step
    step=$(last_step)
    wait_until has_step $((step + $1)) || fail "no $1 steps after $step"
}
has_said() { [ "$(cat "$tmp/err" 2>/dev/null | grep -c -e "$1")" -ge "$2" ]; }
# expect WORDS [N]: the controller says so (so often).
expect() { wait_until has_said "$1" "${2:-1}" || fail "not said${2:+ $2 times}: $1"; }

# The step that the newest attempt went on from is not before the one that was seen last.
expect_nothing_lost() {
    local seen=$1 from
    from=$(sed -n 's/.*; going on with .* from step \([0-9]*\)$/\1/p' "$tmp/err" | tail -n 1)
    [ -n "$from" ] || fail "not from memory: $(grep 'going on' "$tmp/err" | tail -n 1)"
    [ "$from" -ge "$seen" ] || fail "steps were lost: step $seen was seen, it goes on from $from"
}

make_reference() {
    [ ! -e "$tmp/hash.$steps" ] || return 0
    "$program" train configs/exact_gpt.yaml steps=$steps optim.warmup=2 "data.cache=$tmp/cache" "out=$tmp/one" threads=1 -q >"$tmp/one.txt" 2>&1 ||
        fail "one rank: $(cat "$tmp/one.txt")"
    hash_of "$tmp/one.txt" >"$tmp/hash.$steps"
}

# finish NAME: to the end, with the weights of one rank.
finish() {
    local status=0 found
    wait $running || status=$?
    [ $status -eq 0 ] || fail "$1: status $status"
    check_no_processes
    hosts_stop
    found=$(hash_of "$tmp/out")
    [ "$found" = "$(cat "$tmp/hash.$steps")" ] || fail "$1: one rank ends with $(cat "$tmp/hash.$steps"), these with ${found:-nothing}"
    echo "$1: ${found:0:16}"
    grep 'going on' "$tmp/err" | sed 's/^/    /'
}

# --- parts ---

# World size 8, 4, 8, 2, by hosts that are killed and come back.
check_sizes() {
    local mpi=$1 zero=$2 seen steps=300
    make_reference
    start "$mpi" 4 zero="$zero"
    expect "starting 8 ranks on 4 hosts"
    go_on 10
    seen=$(last_step)
    hosts_kill host3
    cut_off="host3 "
    expect "host3 is lost (.*; going on with 4 ranks on 2 hosts from step"
    expect_nothing_lost "$seen"
    go_on 10
    hosts_plug host3
    touch "$tmp/hosts" # it is tried again at once
    expect "host3 is there; going on with 8 ranks on 4 hosts from step"
    go_on 10
    seen=$(last_step)
    for k in 1 2 4; do
        hosts_kill host$k
        cut_off="${cut_off}host$k "
        wait_until has_said "host$k is lost" 1 || fail "host$k is not missed"
        go_on 3
    done
    expect "going on with 2 ranks on 1 host from step"
    expect_nothing_lost "$seen"
    finish "$mpi: 8, 4, 8, 2 ranks, zero $zero"
}

# A host of two goes, by its power or its cable: with two copies nothing is missed, nor with one where every host has everything.
check_loss() {
    local mpi=$1 how=$2 zero=$3 copies=$4 seen
    start "$mpi" 2 zero="$zero" recover.copies="$copies"
    expect "starting 4 ranks on 2 hosts"
    go_on 10
    seen=$(last_step)
    "hosts_$how" host2
    cut_off="host2 "
    expect "host2 is lost (.*; going on with 2 ranks on 1 host from step"
    expect_nothing_lost "$seen"
    finish "$mpi: host2 lost ($how), zero $zero, copies $copies"
}

processes_of() {
    local id
    for id in $(hosts_processes "$1"); do
        tr '\0' ' ' <"/proc/$id/cmdline" 2>/dev/null | grep -q -e "$2" && echo "$id"
    done
    return 0
}

# A keeper killed is a host lost, that comes back; a rank killed, and mpirun itself.
check_keepers() {
    local mpi=$1 seen
    start "$mpi" 2 zero=2
    go_on 5
    seen=$(last_step)
    # shellcheck disable=SC2046
    kill -KILL $(processes_of host2 "lockstep keep")
    expect "host2 is lost (its keeper has ended.*; going on with [24] ranks"
    expect_nothing_lost "$seen"
    expect "going on with 4 ranks on 2 hosts from step"
    go_on 5
    seen=$(last_step)
    kill -KILL "$(processes_of host1 "lockstep train" | head -n 1)"
    expect "mpirun ended with status .*; going on with 4 ranks on 2 hosts from step"
    expect_nothing_lost "$seen"
    go_on 5
    seen=$(last_step)
    kill -KILL "$(processes_of "$controller" "mpirun.$mpi -n" | head -n 1)"
    expect "mpirun ended with status .*; going on with 4 ranks on 2 hosts from step" 2
    expect_nothing_lost "$seen"
    finish "$mpi: keeper, rank and mpirun killed"
}

# The file alone: a host is added, another one taken out.
check_move() {
    local mpi=$1 seen
    start "$mpi" 2 zero=3
    go_on 5
    seen=$(last_step)
    echo "host1 slots=2" >"$tmp/hosts"
    expect "says that host2 is no longer to be used; going on with 2 ranks on 1 host from step"
    expect_nothing_lost "$seen"
    go_on 5
    seen=$(last_step)
    printf 'host1 slots=2\nhost2 slots=2 # again\n' >"$tmp/hosts"
    expect "host2 is there; going on with 4 ranks on 2 hosts from step"
    expect_nothing_lost "$seen"
    go_on 3
    echo "host1 slots=two" >"$tmp/hosts"
    expect "slots=two: the ranks that the host takes at most, 1 to 4096; the hosts stay as they are"
    finish "$mpi: hosts out and in by the file"
}

# SIGTERM saves and ends with 75; a run without hosts waits, and says so.
check_stop() {
    local mpi=$1 status=0 agent_words=" -x -y"
    start "$mpi" 2 zero=1
    go_on 5
    kill -TERM "$(cat "$tmp/pid")"
    wait $running || status=$?
    [ $status -eq 75 ] || fail "status $status after SIGTERM"
    grep -q "exit status 75 asks for" "$tmp/err" || fail "no word of 75"
    check_no_processes
    hosts_stop
    "$program" checkpoint verify "$tmp/run" >/dev/null || fail "no checkpoint after SIGTERM"
    "$program" resume "$tmp/run" threads=1 -q >"$tmp/out" 2>&1 || fail "resume: $(cat "$tmp/out")"
    [ "$(hash_of "$tmp/out")" = "$(cat "$tmp/hash.$steps")" ] || fail "another hash after SIGTERM"
    echo "$mpi: SIGTERM saves"
    # A controller that is killed takes everything along.
    start "$mpi" 2 zero=1
    go_on 3
    kill -KILL "$(cat "$tmp/pid")"
    wait $running || true
    check_no_processes
    hosts_stop
    echo "$mpi: a killed controller leaves nothing behind"
}

# A configuration that ranks refuse is not tried again; no host at all ends after --wait.
check_words() {
    local mpi=$1 status=0
    start "$mpi" 1 zero=1 data.path=/nowhere
    wait $running || status=$?
    [ $status -eq 3 ] || fail "status $status for data that is not there"
    grep -q "as they would again" "$tmp/err" || fail "tried again"
    hosts_stop
    echo "$mpi: hopeless is not tried again"
}

part_sizes() { for mpi in $mpis; do for zero in $zeros; do check_sizes "$mpi" "$zero"; done; done; }
part_losses() {
    for mpi in $mpis; do
        for zero in $zeros; do
            check_loss "$mpi" kill "$zero" 2
            check_loss "$mpi" unplug "$zero" 2
        done
        check_loss "$mpi" kill 0 1
    done
}
part_keepers() { for mpi in $mpis; do check_keepers "$mpi"; done; }
part_move() { for mpi in $mpis; do check_move "$mpi"; done; }
part_stop() { for mpi in $mpis; do check_stop "$mpi"; done; }
part_words() { for mpi in $mpis; do check_words "$mpi"; done; }

most=
make_reference
zeros=${LS_ELASTIC_ZEROS:-0 1 2 3}
if [ $# -eq 0 ] && [ "${LS_ELASTIC:-short}" = short ]; then
    check_sizes "$first_mpi" 1
    check_loss "$last_mpi" unplug 3 2
else
    [ $# -gt 0 ] || set -- sizes losses keepers move stop words
    for part in "$@"; do "part_$part"; done
fi
echo "test_elastic: passed"
