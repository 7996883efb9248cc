#!/bin/sh
# tools/check_banned sees each banned call, and neither comments, strings, members nor longer names.
. tests/lint/lint.sh
lint() { tools/check_banned "$tree"; }

put include/lockstep/status.h </dev/null
put src/op/add.c <<'END'
/* printf(x), malloc(1) in a comment,
   exit(1) on its second line */
static void f(table *t) { // abort()
    log_printf("malloc(3) exit(1) \" free(p)");
    t->free(t);
    t.exit (2);
    snprintf(a, 3, "%c", '"'); g("printf(");
    ls_free(p);
}
END
printf 'int main(void) { printf("x"); exit(1); }\n' | put src/cli/main.c
printf 'x = getenv("A");\n' | put src/base/config.c
printf 'p = malloc(3); free(p);\n' | put src/base/alloc.c
printf 'pthread_mutex_lock(&m);\n' | put src/base/thread.c
passes "a clean tree" lint

plant() { # FILE LINE WORDS
    printf '/* one */\n%s\n' "$2" | put "$1"
    catches "$2 in $1" "$1:2: $3" lint
    rm "$tree/$1"
}
plant src/op/bad.c 'printf("x");' "printf() is not for this file"
plant src/op/bad.c 'fprintf(stderr, "x");' "fprintf() is not"
plant src/graph/bad.c 'if (x) exit(1);' "exit() is not"
plant src/graph/bad.c 'f(); /* a */ abort();' "abort() is not"
plant src/train/bad.c 'getenv ("HOME");' "getenv() is not for this file: a configuration key"
plant src/base/bad.c 'getenv("HOME");' "getenv() is not"
plant src/base/bad.c 'p = malloc(3);' "malloc() is not for this file: ls_alloc"
plant src/data/bad.c '(void)free(p);' "free() is not"
plant src/cli/bad.c 'strcpy(a, b);' "strcpy() is not"
plant src/cli/bad.c 'sprintf(a, "%s", b);' "sprintf() is not"
plant src/cli/bad.c 'n = atoi(b);' "atoi() is not"
plant src/op/bad.c 'pthread_create(&t, 0, f, 0);' "pthread_create() is not for this file: ls_pool"
plant src/data/bad.c 'assert(n > 0);' "assert() is not"
plant src/op/bad.c 'f("a\\"); abort();' "abort() is not"
plant src/op/bad.c '#if 0' "#if 0"
plant src/op/bad.c '#define __LS_X 1' "a name that begins with two underscores"
plant src/op/bad.c "/* TO""DO later */" "a note of unfinished work"
plant include/lockstep/bad.h 'static inline void f(void) { abort(); }' "abort() is not"
passes "the tree is clean again" lint
done_well
