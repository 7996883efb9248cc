#!/bin/sh
# Writes the parts of docs/ that the program prints from its tables: docs/configuration.md, and in docs/errors.md what stands
# between the lines "<!-- generated -->" and "<!-- end -->". With --check it writes nothing and fails where they differ.
# usage: tools/docs.sh [--check] PROGRAM [REPOSITORY]
set -eu
check=no
if [ "$1" = --check ]; then
    check=yes
    shift
fi
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
cd "${2:-$(dirname "$0")/..}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$program" help --errors >"$work/table"
awk -v table="$work/table" '
/^<!-- end -->$/ { inside = 0 }
!inside { print }
/^<!-- generated -->$/ { inside = 1; while ((getline line <table) > 0) print line }
' docs/errors.md >"$work/errors.md"
{
    echo "# Configuration"
    echo
    echo "Made by \`make docs\` from the tables in \`src/\`; \`lockstep config show CONFIG\` prints the values of a run and where"
    echo "each came from. Later wins: default, file, environment (\`LOCKSTEP_\` and the key in capitals, dots as \`_\`), command line."
    echo
    "$program" config docs
} >"$work/configuration.md"

stale=
for name in errors.md configuration.md; do
    cmp -s "$work/$name" "docs/$name" && continue
    stale="$stale docs/$name"
    if [ "$check" = yes ]; then
        diff -u "docs/$name" "$work/$name" | head -20 || true
    else
        cp "$work/$name" "docs/$name"
    fi
done
if [ "$check" = yes ] && [ -n "$stale" ]; then
    echo "docs: not what the program prints:$stale; run make docs"
    exit 1
fi
echo "docs: ${stale:-nothing} ${stale:+was written}"
