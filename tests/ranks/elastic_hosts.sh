# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # what is set here is used by the tests, and the other way round
# What the tests of runs on several hosts begin with; to be sourced, with the test's own words: BUILD_DIR [PART...], of which the parts are
# left. Ends the test with status 0 where this machine cannot run it. Afterwards there are $build, $program, $mpis (those that can be
# used; LS_ELASTIC_MPI names them), $first_mpi, $last_mpi and the folder $tmp, and the functions of tools/hosts.sh.
test_name=$(basename "$0" .sh)
if [ "$(id -u)" -ne 0 ] && unshare --user --map-root-user --mount true 2>/dev/null; then
    exec unshare --user --map-root-user --mount "$0" "$@"
fi
build=$(readlink -f "$1")
shift
program=$build/lockstep
HOSTS_LIBRARY=yes . tools/hosts.sh

reason=$(hosts_missing)
if [ -n "$reason" ]; then
    echo "$test_name: skipped: $reason"
    exit 0
fi
mpis=
for mpi in ${LS_ELASTIC_MPI:-openmpi mpich}; do
    if ! command -v mpirun."$mpi" >/dev/null; then
        echo "$test_name: not with $mpi: no mpirun.$mpi (tools/deps.sh build)"
    elif [ ! -e "$build/liblockstep_mpi_$mpi.so" ]; then
        echo "$test_name: not with $mpi: this build has no plugin for it"
    else
        mpis="$mpis $mpi"
    fi
done
if [ -z "$mpis" ]; then
    echo "$test_name: skipped: no MPI"
    exit 0
fi
first_mpi=${mpis# }
first_mpi=${first_mpi%% *}
last_mpi=${mpis##* }

tmp=$(mktemp -d)
trap 'hosts_stop; rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM HUP

# Seconds after which what must come at last is taken for lost. It says nothing of how fast anything should be, and is there so that a
# test ends: a machine may be busy with anything else meanwhile.
patience=300

# fail WORDS...: what the program said stands in $tmp/err and $tmp/out.
fail() {
    {
        echo "FAILED: $*"
        [ ! -e "$tmp/err" ] || tail -n 60 "$tmp/err" | sed 's/^/    /'
        [ ! -e "$tmp/out" ] || tail -n 60 "$tmp/out" | sed 's/^/    /'
    } >&2
    exit 1
}

hash_of() { sed -n 's/^weights sha256://p' "$1"; }

# Words for an MPI's mpirun: the hosts' only network.
interface_words() {
    case $1 in
    openmpi) echo "--mca btl_tcp_if_include eth0 --mca oob_tcp_if_include eth0" ;;
    mpich) echo "-iface eth0" ;;
    esac
}

# Command lines of a host's processes; $cut_off names, each with a blank behind it, hosts whose links were cut. A daemon of MPI on such a
# host ends when its TCP gives up: after minutes.
left_on() {
    local id
    for id in $(hosts_processes "$1"); do
        tr '\0' ' ' <"/proc/$id/cmdline" 2>/dev/null | case ${cut_off:-} in
        *"$1 "* | all) grep -v -e orted -e hydra_pmi_proxy ;;
        *) cat ;;
        esac
    done
    return 0
}

# No process on any host, half a minute after the end.
check_no_processes() {
    local k left
    for k in $(seq "$hosts_n"); do
        for _ in $(seq 600); do
            left=$(left_on "host$k")
            [ -n "$left" ] || break
            sleep 0.05
        done
        [ -z "$left" ] || fail "left on host$k: $left"
    done
}
