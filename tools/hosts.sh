#!/bin/bash
# Several hosts on one machine: network namespaces with names, memory and addresses of their own, joined by virtual cables
# and a bridge, and an MPI program across them without ssh. Nothing of it outlives the script, however it ends: a namespace is
# held by one process, which dies with its parent. As a user who is not root it works in a user namespace where the kernel allows
# that.
# usage: tools/hosts.sh [-n HOSTS] [-r RANKS] [--mpi openmpi|mpich] [--rate 1gbit] [--delay 10ms] [--bytes] -- COMMAND...
#   -n HOSTS   1 to 99 (2): host1 is 10.77.0.1 and so on
#   -r RANKS   of the whole run, dealt to the hosts in equal blocks (one a host)
#   --rate     of each host's cable, as tc writes it, either way alone
#   --delay    of each frame that a host sends (a round trip takes two)
#   --bytes    print at the end what all hosts received together
# Or as a library: HOSTS_LIBRARY=yes . tools/hosts.sh; then the functions below.
hosts_tool=$(readlink -f "${BASH_SOURCE[0]}")

# Words on why this cannot work here, or nothing.
hosts_missing() {
    local word
    for word in ip tc unshare nsenter setpriv; do
        command -v $word >/dev/null || { echo "no $word (packages iproute2 and util-linux)" && return; }
    done
    if ! word=$(unshare --net --uts --mount --ipc ip link add lsprobe0 type veth peer name lsprobe1 2>&1); then
        echo "no network namespaces with virtual cables: ${word:-not allowed}"
    fi
}

# hosts_holder FILE: starts a process with namespaces of its own and writes its id to the file.
hosts_holder() {
    # shellcheck disable=SC2016 # the inner shell expands it
    setpriv --pdeathsig KILL unshare --net --uts --mount --ipc setpriv --pdeathsig KILL \
        sh -c 'trap "" INT TERM HUP; echo $$ >"$0.new" && mv "$0.new" "$0" && exec sleep 86400' "$hosts_dir/$1" </dev/null >/dev/null 2>&1 &
    disown # bash need not tell that it was killed
    local tries=0
    while [ ! -s "$hosts_dir/$1" ] && [ $tries -lt 6000 ]; do
        sleep 0.01
        tries=$((tries + 1))
    done
    [ -s "$hosts_dir/$1" ]
}

# hosts_on HOST COMMAND...: the command on that host ("switch" is what the cables lead to).
hosts_on() {
    local pid
    pid=$(cat "$hosts_dir/$1")
    shift
    nsenter -t "$pid" --net --uts --mount --ipc --wdns="$PWD" -- "$@"
}

# hosts_start N [RATE [DELAY]]
hosts_start() {
    local n=$1 rate=${2:-} delay=${3:-} k
    hosts_dir=$(mktemp -d)
    export hosts_dir
    # Open MPI's folders go with the hosts: in /tmp each host that is killed would leave one.
    export OMPI_MCA_orte_tmpdir_base=$hosts_dir
    hosts_n=$n
    printf '127.0.0.1 localhost\n' >"$hosts_dir/names"
    for k in $(seq "$n"); do echo "10.77.0.$k host$k" >>"$hosts_dir/names"; done
    printf '#!/bin/sh\nexec %s agent "$@"\n' "'$hosts_tool'" >"$hosts_dir/agent"
    chmod +x "$hosts_dir/agent"
    hosts_holder switch || { echo "hosts: no namespaces" >&2 && return 6; }
    hosts_on switch ip link add lsbridge type bridge
    hosts_on switch ip link set lsbridge up
    for k in $(seq "$n"); do
        hosts_holder "host$k" || return 6
        hosts_join "$k" || return 6
        hosts_shape "$k" "$rate" "$delay" || return 6
    done
}

# The cable of host K, its name, and its own /dev/shm: what one host writes there the others must not see.
hosts_join() {
    local k=$1 pid
    pid=$(cat "$hosts_dir/host$k")
    hosts_on switch ip link add "port$k" type veth peer name eth0 netns "$pid" &&
        hosts_on switch ip link set "port$k" master lsbridge up &&
        hosts_on "host$k" sh -c "
            hostname host$k && mount --make-rprivate / && mount -t tmpfs lsshm /dev/shm &&
            mount --bind '$hosts_dir/names' /etc/hosts && ip link set lo up &&
            ip addr add 10.77.0.$k/24 dev eth0 && ip link set eth0 up"
}

# hosts_shape K RATE DELAY: netem where the kernel has it; otherwise a token bucket, and a delay line in user space.
hosts_shape() {
    local k=$1 rate=$2 delay=$3
    [ -n "$rate$delay" ] || return 0
    # shellcheck disable=SC2086
    if hosts_on "host$k" tc qdisc add dev eth0 root netem ${rate:+rate $rate} ${delay:+delay $delay} limit 100000 2>/dev/null; then
        hosts_shaped=netem
        return 0
    fi
    hosts_shaped="token bucket"
    [ -z "$rate" ] || hosts_on "host$k" tc qdisc add dev eth0 root tbf rate "$rate" burst 256k latency 200ms || return 6
    [ -z "$delay" ] || hosts_delay "$k" "$delay"
}

# The kernel has no netem: between the port and the bridge comes a program that holds each frame back for a while.
hosts_delay() {
    local k=$1 delay=$2 line=${LS_DELAY_LINE:-}
    if [ ! -x "$line" ]; then
        echo "hosts: this kernel has no netem (CONFIG_NET_SCH_NETEM): name the program delay_line in LS_DELAY_LINE" >&2
        return 6
    fi
    hosts_on switch ip link set "port$k" nomaster
    hosts_on switch ip link add "inner$k" type bridge
    nsenter -t "$(cat "$hosts_dir/switch")" --net -- setpriv --pdeathsig KILL \
        "$line" "near$k" "far$k" "${delay%ms}" </dev/null >"$hosts_dir/line$k" 2>&1 &
    disown
    local tries=0
    while [ ! -s "$hosts_dir/line$k" ] && [ $tries -lt 6000 ]; do
        sleep 0.01
        tries=$((tries + 1))
    done
    if ! grep -q ready "$hosts_dir/line$k"; then
        cat "$hosts_dir/line$k" >&2
        return 6
    fi
    hosts_shaped="token bucket and delay line"
    hosts_on switch ip link set "port$k" master "inner$k"
    hosts_on switch ip link set "near$k" master "inner$k"
    hosts_on switch ip link set "far$k" master lsbridge
    hosts_on switch ip link set "inner$k" up
}

# What all hosts together received from their cables.
hosts_bytes() {
    local k sum=0
    for k in $(seq "$hosts_n"); do
        sum=$((sum + $(hosts_on "host$k" ip -s -j link show eth0 | sed 's/.*"rx":{"bytes":\([0-9]*\).*/\1/')))
    done
    echo $sum
}

# The ids of all processes of a host but its holder. The network namespace tells them.
hosts_processes() {
    local wanted link
    wanted=$(readlink "/proc/$(cat "$hosts_dir/$1")/ns/net")
    for link in /proc/[0-9]*/ns/net; do
        [ "$(readlink "$link" 2>/dev/null)" = "$wanted" ] || continue
        link=${link#/proc/}
        link=${link%%/*}
        [ "$link" = "$(cat "$hosts_dir/$1")" ] || echo "$link"
    done
}

# hosts_kill HOST: as if its power had gone: the cable first, so that nothing can say goodbye.
hosts_kill() {
    local ids
    hosts_unplug "$1"
    ids=$(hosts_processes "$1")
    # shellcheck disable=SC2086
    [ -z "$ids" ] || kill -KILL $ids 2>/dev/null || true # who has ended meanwhile is as dead
}

hosts_unplug() { hosts_on switch ip link set "port${1#host}" down; }
hosts_plug() { hosts_on switch ip link set "port${1#host}" up; }

hosts_stop() {
    local file ids
    [ -n "${hosts_dir:-}" ] && [ -d "$hosts_dir" ] || return 0
    for file in "$hosts_dir"/host* "$hosts_dir"/switch; do
        [ -s "$file" ] || continue
        ids=$(hosts_processes "$(basename "$file")")
        # shellcheck disable=SC2086
        [ -z "$ids" ] || kill -KILL $ids 2>/dev/null
        kill -KILL "$(cat "$file")" 2>/dev/null
    done
    rm -rf "$hosts_dir"
}

# hosts_mpirun MPI RANKS COMMAND...: from host1, its other hosts reached by this script in the place of ssh. With
# these options Open MPI soon sees that a host is gone, and MPICH lets the other ranks of a host say what they know.
hosts_mpirun() {
    local mpi=$1 ranks=$2 each list k
    shift 2
    each=$((ranks / hosts_n))
    list=
    case $mpi in
    openmpi)
        for k in $(seq "$hosts_n"); do list="$list${list:+,}host$k:$each"; done
        hosts_on host1 env OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun.openmpi -n "$ranks" --host "$list" \
            --mca plm_rsh_agent "$hosts_dir/agent" --mca plm_rsh_no_tree_spawn 1 --bind-to none \
            --mca btl_tcp_if_include eth0 --mca oob_tcp_if_include eth0 \
            --mca oob_tcp_keepalive_time 2 --mca oob_tcp_keepalive_intvl 1 --mca oob_tcp_keepalive_probes 3 "$@"
        ;;
    mpich)
        for k in $(seq "$hosts_n"); do list="$list${list:+,}host$k:$each"; done
        hosts_on host1 env FI_TCP_IFACE=eth0 FI_SOCKETS_IFACE=eth0 mpirun.mpich -n "$ranks" -hosts "$list" \
            -launcher rsh -launcher-exec "$hosts_dir/agent" -iface eth0 -disable-auto-cleanup "$@"
        ;;
    *)
        echo "hosts: no MPI '$mpi'; there are openmpi and mpich" >&2
        return 2
        ;;
    esac
}

# What mpirun calls in the place of ssh: [OPTIONS] HOST COMMAND...
hosts_agent() {
    while [ "${1#-}" != "$1" ]; do shift; done
    local host=$1
    shift
    hosts_on "$host" sh -c "$*"
}

hosts_main() {
    local n=2 ranks='' mpi=openmpi rate='' delay='' bytes=no reason before
    while [ $# -gt 0 ]; do
        case $1 in
        -n) n=$2 && shift ;;
        -r) ranks=$2 && shift ;;
        --mpi) mpi=$2 && shift ;;
        --rate) rate=$2 && shift ;;
        --delay) delay=$2 && shift ;;
        --bytes) bytes=yes ;;
        --)
            shift
            break
            ;;
        *)
            sed -n '2,/^# Or as/s/^# \{0,1\}//p' "$hosts_tool" >&2
            return 2
            ;;
        esac
        shift
    done
    ranks=${ranks:-$n}
    if [ $# -eq 0 ] || [ $((ranks % n)) -ne 0 ]; then
        echo "hosts: a command after --, and -r a multiple of -n, are needed" >&2
        return 2
    fi
    if [ "$(id -u)" -ne 0 ] && [ -z "${HOSTS_INSIDE:-}" ]; then
        HOSTS_INSIDE=yes exec unshare --user --map-root-user --mount "$hosts_tool" \
            -n "$n" -r "$ranks" --mpi "$mpi" ${rate:+--rate "$rate"} ${delay:+--delay "$delay"} -- "$@"
    fi
    reason=$(hosts_missing)
    [ -z "$reason" ] || { echo "hosts: $reason" >&2 && return 6; }
    trap hosts_stop EXIT
    trap 'exit 130' INT TERM HUP
    hosts_start "$n" "$rate" "$delay" || return
    [ -z "$rate$delay" ] || echo "hosts: cables of ${rate:-any rate}, ${delay:-no delay} by $hosts_shaped" >&2
    before=$(hosts_bytes)
    # In the background, so that a signal to this script is answered at once.
    hosts_mpirun "$mpi" "$ranks" "$@" &
    wait $!
    set -- $?
    [ $bytes = no ] || echo "hosts: $(($(hosts_bytes) - before)) bytes received by $n hosts"
    return "$1"
}

[ -z "${HOSTS_LIBRARY:-}" ] || return 0
if [ "${1:-}" = agent ]; then
    shift
    hosts_agent "$@"
else
    hosts_main "$@"
fi
