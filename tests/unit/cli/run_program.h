/* Runs a command line through the shell and keeps what it printed. */
#ifndef LS_TESTS_RUN_PROGRAM_H
#define LS_TESTS_RUN_PROGRAM_H
#include "unit/base/check.h"
#include <sys/wait.h>

typedef struct run_result {
    int exit_code; /* -1: ended by a signal */
    char out[16384], err[4096];
} run_result;

static inline void read_whole(const char *path, char *text, size_t bytes) {
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, bytes - 1, file)] = '\0';
    fclose(file);
    unlink(path);
}

/* The program under test (LS_TEST_PROGRAM) with `arguments` in the shell's words, redirections too. */
static inline run_result run_program(const char *arguments) {
    run_result result = {0};
    const char *program = getenv("LS_TEST_PROGRAM");
    if (!program) fail_msg("LS_TEST_PROGRAM is not set: run this test with ctest");
    const char *out = check_path("out"), *err = check_path("err");
    char line[2048];
    snprintf(line, sizeof line, "'%s' >'%s' 2>'%s' </dev/null %s", program, out, err, arguments);
    const int status = system(line);
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    read_whole(out, result.out, sizeof result.out);
    read_whole(err, result.err, sizeof result.err);
    return result;
}

#endif
