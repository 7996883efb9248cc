#!/bin/sh
# tools/check_globals sees variables in object files, and leaves constants alone.
. tests/lint/lint.sh
folder=$tree/CMakeFiles/ls_objects.dir/src
mkdir -p "$folder/op" "$folder/base"
compile() { printf '%s\n' "$2" | cc -fPIC -O1 -x c -c -o "$folder/$1" -; }
lint() { tools/check_globals "$tree"; }

catches "no objects at all" "no object files" lint
compile op/good.c.o 'static const char *const names[] = {"a", "b"}; static const int n = 3;
const char *f(int i) { return names[i % n]; }'
compile base/log.c.o 'static int level; int *g(void) { return &level; }'
passes "constants, and a variable in base" lint
for text in 'int counter; int f(void) { return counter++; }' 'static int once = 1; int *f(void) { return &once; }' \
    'int *f(void) { static int calls; return &calls; }' 'static _Thread_local int mine; int *f(void) { return &mine; }' \
    'static const char *names[] = {"a"}; const char **f(void) { return names; }'; do
    compile op/bad.c.o "$text"
    catches "$text" "src/op/bad.c: variable" lint
done
rm "$folder/op/bad.c.o"
passes "clean again" lint
done_well
