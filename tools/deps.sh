#!/bin/sh
# Installs the Debian 12 packages Lockstep needs, only those that are missing; sudo is used only when not root.
# usage: tools/deps.sh [--list] [--all] [build] [test] [demo] [data] [lint] [fuzz] [dev]
set -eu

usage() {
    cat <<'END'
usage: tools/deps.sh [--list] [--all | GROUP...]
Installs the Debian packages of the groups that are missing (default: build test demo).
  build  compiler, CMake, Ninja, the libraries and their headers, both MPIs
  test   cmocka, and ip and tc for several hosts on one machine
  demo   the text that `make demo` trains on, and the compressors it is compared with
  data   Fashion-MNIST for configs/fashion.yaml
  lint   clang and clang-format 14
  fuzz   clang 14 with its run-time library (libFuzzer)
  dev    ccache, gdb, zsh
  --all  every group
  --list print the packages that are missing and install nothing
END
}

packages_of() {
    case $1 in
    build)
        echo gcc libc6-dev make cmake ninja-build pkg-config
        echo libjansson-dev libyaml-dev libzstd-dev libxxhash-dev libssl-dev libpcre2-dev libutf8proc-dev zlib1g-dev
        echo libopenmpi-dev openmpi-bin libmpich-dev mpich
        ;;
    test) echo libcmocka-dev iproute2 ;;
    demo) echo bible-kjv bible-kjv-text gzip xz-utils ;;
    data) echo dataset-fashion-mnist ;;
    lint) echo clang-14 clang-format-14 git ;;
    fuzz) echo clang-14 libclang-rt-14-dev ;;
    dev) echo ccache gdb zsh ;;
    esac
}

groups=
list=no
for arg in "$@"; do
    case $arg in
    build | test | demo | data | lint | fuzz | dev) groups="$groups $arg" ;;
    --all) groups="build test demo data lint fuzz dev" ;;
    --list) list=yes ;;
    -h | --help) usage && exit 0 ;;
    *)
        echo "$0: unknown group '$arg'" >&2
        usage >&2
        exit 2
        ;;
    esac
done

if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
    echo "$0: this is not a Debian system (no dpkg, no apt-get); install by hand what README.md lists" >&2
    exit 6
fi

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=
for group in ${groups:-build test demo}; do
    for package in $(packages_of "$group"); do
        case " $missing " in *" $package "*) continue ;; esac
        is_installed "$package" || missing="$missing $package"
    done
done
missing=${missing# }
if [ "$list" = yes ]; then
    [ -z "$missing" ] || echo "$missing"
    exit 0
fi
if [ -z "$missing" ]; then
    echo "deps: everything is installed"
    exit 0
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "$0: not root and no sudo; as root run: apt-get install $missing" >&2
        exit 6
    fi
    as_root=sudo
fi
echo "deps: installing $missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run_apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
        -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1 </dev/null
}
# The package lists may be old or absent: refresh them, and go on with the old ones where that fails.
run_apt update || echo "deps: apt-get update failed, trying with the package lists there are" >&2
# shellcheck disable=SC2086
if ! run_apt install --no-install-recommends $missing; then
    cat "$log" >&2
    echo "$0: apt-get install failed for: $missing" >&2
    exit 3
fi
echo "deps: done"
