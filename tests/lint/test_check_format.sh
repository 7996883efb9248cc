#!/bin/sh
# tools/check_format sees a file that clang-format would change.
. tests/lint/lint.sh
if ! command -v clang-format-14 >/dev/null 2>&1; then
    catches "no clang-format" "tools/deps.sh lint" tools/check_format "$tree"
    exit 0
fi
put .clang-format <.clang-format
printf 'int f(int a) {\n    return a;\n}\n' | put src/op/good.c
passes "a clean tree" tools/check_format "$tree"
printf 'int f(int a)\n{\n  return a;\n}\n' | put src/op/bad.c
catches "a file in another style" "src/op/bad.c: not formatted" tools/check_format "$tree"
rm "$tree/src/op/bad.c"
printf 'int f( int a );\n' | put include/lockstep/bad.h
catches "a header in another style" "include/lockstep/bad.h: not formatted" tools/check_format "$tree"
done_well
