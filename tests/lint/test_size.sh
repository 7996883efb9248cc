#!/bin/sh
# tools/size counts lines, branches and parameters, and its allow-list can only shrink.
. tests/lint/lint.sh
lint() { tools/size "$tree"; }

# A function of so many lines, each with a branch when asked.
function_of() { # NAME LINES STATEMENT
    echo "static int $1(int a,"
    echo "              int b) {"
    seq "$(($2 - 3))" | sed "s/.*/    $3/"
    echo "}"
}
{ function_of small 80 'a++;' && function_of other 20 'if (a) a++;'; } | put src/op/good.c
{ seq 20 | sed 's/.*/struct s { int x; };/' && function_of kernel 150 'a++;'; } | put src/op/mm/mm_cpu.c
passes "a clean tree" lint
output=$(lint)
case $output in *"2 files, 270 lines"*" 3 functions of 83.3 lines"*) ;; *) echo "FAILED: wrong counts: $output" && exit 1 ;; esac

function_of long 81 'a++;' | put src/op/bad.c
catches "a long function" "src/op/bad.c: long() has lines 81, look again past 80" lint
mkdir -p "$tree/tools"
echo "src/op/bad.c long lines 81" >"$tree/tools/size.allow"
passes "a long function that the list names" lint
function_of long 82 'a++;' | put src/op/bad.c
catches "a function that outgrows the list" "long() has lines 82" lint
function_of long 79 'a++;' | put src/op/bad.c
catches "a line of the list that is no longer needed" "no longer needed" lint
rm "$tree/tools/size.allow"
function_of twisted 30 'if (a \&\& b) a++;' | put src/op/bad.c
catches "a function with many branches" "twisted() has complexity 55" lint
printf 'int f(int a, int b, int c, int d,\n      int e, int (*f)(int, int), int g, int h, int i) {\n}\n' | put src/op/bad.c
catches "many parameters" "f() has parameters 9" lint
seq 601 | sed 's/.*/int x;/' | put src/op/bad.c
catches "a long file" "src/op/bad.c: the file has lines 601, look again past 600" lint
rm "$tree/src/op/bad.c"
passes "the tree is clean again" lint
done_well
