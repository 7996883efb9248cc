#!/bin/bash
# labels: slow timeout=1200 cost=300
# A sample of the campaign over hosts (`lockstep chaos --hosts`) on network namespaces: links go down, ranks and keepers are killed, and
# the verdict is looked at, also that it can be no. `make chaos-hosts` is the full one.
# usage: test_chaos_hosts.sh BUILD_DIR [PART...]   (blows, own, verdict, orphan; default: all)
#   KILLS=50 test_chaos_hosts.sh BUILD_DIR campaign   the full campaign, with each MPI; prints its report
set -eu
# shellcheck source=tests/ranks/elastic_hosts.sh
. "$(dirname "$0")/elastic_hosts.sh"
# shellcheck disable=SC2034
cut_off=all # any link may have been

# make_hosts N: host1 to hostN, one rank each, and the controller's behind them, which is never struck.
make_hosts() {
    local k
    hosts_start $(($1 + 1))
    controller=host$(($1 + 1))
    for k in $(seq "$1"); do echo "host$k"; done >"$tmp/hosts"
}

# chaos MPI OPTIONS... -- KEY=VALUE...: its report in $tmp/out; returns its status.
chaos() {
    local mpi=$1 options=()
    shift
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    shift
    # Rank 0 sleeps before each collective: there is time to disturb.
    hosts_on "$controller" env LOCKSTEP_FAULT="kind=slow,rank=0,step=1,seconds=0.005,attempt=all" FI_TCP_IFACE=eth0 \
        FI_SOCKETS_IFACE=eth0 "$program" chaos --hosts "$tmp/hosts" --agent "$hosts_dir/agent" --launcher "$mpi" \
        --launcher-args "$(interface_words "$mpi")" --wait 60 "${options[@]}" -- train configs/exact_gpt.yaml steps=400 optim.warmup=2 \
        save_every=40 threads=1 "data.cache=$tmp/cache" "out=$tmp/chaos" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
}

# Everything is as it was: no process, every link up.
check_nothing_left() {
    local k
    check_no_processes
    for k in $(seq "$hosts_n"); do
        link_is "$k" UP || fail "the link of host$k is down"
    done
}
# Either end of the cable may have been cut.
link_is() {
    hosts_on "host$1" ip link show eth0 | grep -q "state $2 "
}

report() {
    tail -n 3 "$tmp/out" | sed 's/^/    /'
}

# --- parts ---

# Every kind that the kernel allows, on two hosts and on four.
check_blows() {
    local mpi=$1 n=$2 kills=$3
    make_hosts "$n"
    chaos "$mpi" --kills "$kills" --seed "$n" --longest 4 -- zero=1 || fail "$mpi, $n hosts: status $?"
    grep -q "^chaos: [0-9]* blows to hosts, [0-9]* recovered, 0 steps lost, hash equal" "$tmp/out" || fail "no such verdict"
    grep -q "is lost (" "$tmp/err" || fail "no host was ever missed"
    check_nothing_left
    hosts_stop
    echo "$mpi: $kills blows to $n hosts"
    report
}

# Links cut by a command of one's own, here at the switch.
check_own() {
    local mpi=$1
    make_hosts 2
    # shellcheck disable=SC2016
    printf '#!/bin/sh\necho "$@" >>%s\nexec nsenter -t %s --net ip link set "port${1#host}" "$2"\n' \
        "$tmp/cut" "$(cat "$hosts_dir/switch")" >"$tmp/cable"
    chmod +x "$tmp/cable"
    chaos "$mpi" --kinds link --kills 2 --seed 3 --longest 6 --link-down "$tmp/cable %h down" --link-up "$tmp/cable %h up" \
        -- zero=0 recover.copies=1 || fail "own commands: status $?"
    grep -q "host[12] down" "$tmp/cut" || fail "the command was not run"
    [ "$(grep -c down "$tmp/cut")" -eq 2 ] || fail "$(grep -c down "$tmp/cut") links went down for 2 blows"
    check_nothing_left
    hosts_stop
    echo "$mpi: links by commands of one's own"
    report
}

# Where memory covers nothing, steps are done again and said; where it should have, the verdict is no.
check_verdict() {
    local mpi=$1 status=0
    make_hosts 2
    chaos "$mpi" --kinds keeper --kills 2 --seed 5 -- zero=1 recover.copies=1 || fail "one copy: status $?"
    grep -q "covered: [1-9][0-9]*; .*; steps done again for them: [1-9]" "$tmp/out" || fail "nothing was done again"
    grep -q " 0 steps lost, hash equal" "$tmp/out" || fail "one copy: no such verdict"
    report
    chaos "$mpi" --kinds ranks --kills 2 --seed 5 -- recover.copies=0 || status=$?
    [ $status -eq 8 ] || fail "nothing kept: status $status"
    grep -q "blows were not recovered, [1-9][0-9]* steps lost" "$tmp/err" || fail "nothing kept: no such words"
    status=0
    chaos "$mpi" --kinds link --device eth9 --kills 1 -- || status=$?
    [ $status -eq 2 ] || fail "no such device: status $status"
    grep -q "ip link set eth9 up. ends with status 1; --device names" "$tmp/err" || fail "no such device: no such words"
    check_nothing_left
    hosts_stop
    echo "$mpi: the verdict can be no"
}

# chaos that is killed while a link is down leaves none down.
check_orphan() {
    local mpi=$1 id k was_down=
    make_hosts 2
    chaos "$mpi" --kinds link --kills 40 --seed 2 --longest 4 -- zero=1 &
    running=$!
    for _ in $(seq $((20 * patience))); do
        for k in 1 2; do link_is $k DOWN && was_down=$k; done
        [ -z "$was_down" ] || break
        kill -0 $running 2>/dev/null || fail "it ended: $(cat "$tmp/err")"
        sleep 0.05
    done
    [ -n "$was_down" ] || fail "no link ever went down"
    for id in $(hosts_processes "$controller"); do
        tr '\0' ' ' <"/proc/$id/cmdline" 2>/dev/null | grep -q "lockstep chaos" && kill -KILL "$id"
    done
    wait $running 2>/dev/null || true
    for _ in $(seq 600); do
        link_is "$was_down" DOWN || break
        sleep 0.05
    done
    check_nothing_left
    hosts_stop
    echo "$mpi: a killed chaos leaves no link down"
}

part_blows() {
    check_blows "$first_mpi" 4 6
    [ "$first_mpi" = "$last_mpi" ] || check_blows "$last_mpi" 2 4
}
part_own() { check_own "$last_mpi"; }
part_verdict() { check_verdict "$first_mpi"; }
part_orphan() { check_orphan "$first_mpi"; }
part_campaign() {
    for mpi in $mpis; do
        check_blows_long "$mpi"
    done
}
check_blows_long() {
    local mpi=$1 status=0
    make_hosts 4
    chaos "$mpi" --kills "${KILLS:-50}" --seed "${SEED:-1}" -- zero=2 || status=$?
    echo "$mpi, 4 hosts, zero 2:"
    cat "$tmp/out"
    [ $status -eq 0 ] || fail "status $status"
    check_nothing_left
    hosts_stop
}

[ $# -gt 0 ] || set -- blows own verdict orphan
for part in "$@"; do "part_$part"; done
echo "test_chaos_hosts: passed"
