# For the lints' own tests: a small repository to plant violations in, and two checks. Source it from the repository root.
set -eu
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
n_checks=0

# put PATH: writes standard input to that file of the small repository.
put() {
    mkdir -p "$tree/$(dirname "$1")"
    cat >"$tree/$1"
}

# passes NAME COMMAND...: the command ends well.
passes() {
    name=$1
    shift
    n_checks=$((n_checks + 1))
    if ! output=$("$@" 2>&1); then
        echo "FAILED: $name: should pass, but said:"
        echo "$output"
        exit 1
    fi
}

# catches NAME WORDS COMMAND...: the command fails and its output holds the words.
catches() {
    name=$1 words=$2
    shift 2
    n_checks=$((n_checks + 1))
    if output=$("$@" 2>&1); then
        echo "FAILED: $name: passed, although it was planted:"
        echo "$output"
        exit 1
    fi
    case $output in
    *"$words"*) ;;
    *)
        echo "FAILED: $name: no \"$words\" in:"
        echo "$output"
        exit 1
        ;;
    esac
}

done_well() { echo "$n_checks checks passed"; }
