/* What a controller says to a keeper: every line is answered by one line of JSON; ranks are found by what they were started with. */
#include "base/json.h"
#include "cli/keep_pipe.h"
#include "unit/base/check.h"
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static ls_keeper *keeper;

static int start(void **state) {
    (void)state;
    return ls_keeper_start(NULL, &keeper) == LS_OK ? 0 : -1;
}

static int stop(void **state) {
    (void)state;
    ls_keeper_stop(keeper);
    return 0;
}

/* The answer to a line. */
static json_t *ask(const char *line) {
    char copy[256], *text = NULL;
    size_t bytes = 0;
    json_t *answer = NULL;
    snprintf(copy, sizeof copy, "%s", line);
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    check_ok(ls_keep_pipe_obey(keeper, copy, out));
    fclose(out);
    assert_int_equal(text[bytes - 1], '\n');
    assert_ptr_equal(strchr(text, '\n'), text + bytes - 1);
    check_ok(ls_json_parse(text, bytes, line, &answer));
    free(text);
    return answer;
}

/* line, part of the error; NULL = done */
static const struct {
    const char *line, *error;
} lines[] = {
    {"ping\n", NULL},
    {"job 0 4", NULL},
    {"job 3 4\r\n", NULL},
    {"job 2 4", "job 2 begins, but job 3 has begun before"},
    {"peers 0 1 127.0.0.1:1", NULL},
    {"peers 0 1", NULL},
    {"peers 1 2 127.0.0.1:1", "keeper 1 of the 1"},
    {"", "a keeper knows peers, job, signal and ping, not ''"},
    {"sing", "not 'sing'"},
    {"job", "job: '' is no number from 0 to"},
    {"job x 4", "job: 'x' is no number"},
    {"job 4x 4", "job: '4x' is no number"},
    {"job -1 4", "job: '-1' is no number"},
    {"job 4", "job: '' is no number"},
    {"peers 0 3 127.0.0.1:1", "peers: '3' is no number from 0 to 2"},
    {"signal", "signal: '' is no number"},
    {"signal a 65", "signal: '65' is no number from 0 to 64"},
    {"signal  9", "signal: '' is no number"},
};

static void test_lines(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        json_t *answer = ask(lines[i].line);
        const char *error = json_string_value(json_object_get(answer, "error"));
        if (lines[i].error ? !error || !strstr(error, lines[i].error) : error != NULL)
            fail_msg("'%s': %s", lines[i].line, error ? error : "done");
        if (!lines[i].error) assert_true(json_is_true(json_object_get(answer, "done")));
        json_decref(answer);
    }
}

static void test_nobody_listens(void **state) {
    (void)state;
    char line[] = "ping";
    FILE *full = fopen("/dev/full", "w");
    assert_non_null(full);
    check_fails(ls_keep_pipe_obey(keeper, line, full), LS_ERR_IO, "does not listen any more");
    fclose(full);
}

/* --- ranks --- */

/* A shell that waits, started as if by mpirun; with `trap` it catches SIGUSR1 and then ends with 5. */
static pid_t start_rank(const char *job, const char *rank, const char *trap) {
    int ready[2], never[2];
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(never), 0); /* the end to write to stays open until this test ends */
    const pid_t pid = fork();
    if (pid == 0) {
        char script[256], first[64], path[] = "PATH=/usr/bin:/bin";
        char shell[] = "sh", flag[] = "-c", name[64];
        snprintf(name, sizeof name, "LOCKSTEP_RUN_JOB=%s", job);
        snprintf(first, sizeof first, "%s", rank);
        snprintf(script, sizeof script, "%s echo; read word", trap);
        char *argv[] = {shell, flag, script, NULL}, *environment[] = {path, name, first, NULL};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(never[0], STDIN_FILENO);
        dup2(ready[1], STDOUT_FILENO);
        dup2(ready[1], STDERR_FILENO);
        close(ready[0]);
        close(ready[1]);
        execve("/bin/sh", argv, environment);
        _exit(127);
    }
    char byte;
    close(ready[1]);
    close(never[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void check_signal(const char *line, int ranks, int sent) {
    json_t *answer = ask(line);
    const json_int_t n = json_integer_value(json_object_get(answer, "ranks")),
                     m = json_integer_value(json_object_get(answer, "sent"));
    if (n != ranks || m != sent) fail_msg("%s: %d ranks, %d sent", line, (int)n, (int)m);
    json_decref(answer);
}

static void test_ranks_are_found(void **state) {
    (void)state;
    char job[32], line[64];
    int status;
    snprintf(job, sizeof job, "test-%d", (int)getpid());
    const char *trap = "trap 'exit 5' USR1;";
    const pid_t catching = start_rank(job, "OMPI_COMM_WORLD_RANK=0", trap);
    const pid_t plain = start_rank(job, "PMI_RANK=1", "");
    const pid_t daemon = start_rank(job, "OMPI_OTHER=1", ""); /* of mpirun: no rank */
    const pid_t other = start_rank("another", "PMIX_RANK=0", "");
    snprintf(line, sizeof line, "signal %s 0", job);
    check_signal(line, 2, 0);
    /* Only to whom it does no harm. */
    snprintf(line, sizeof line, "signal %s %d", job, SIGUSR1);
    check_signal(line, 2, 1);
    assert_int_equal(waitpid(catching, &status, 0), catching);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 5);
    check_signal(line, 1, 0);
    snprintf(line, sizeof line, "signal %s %d", job, SIGKILL);
    check_signal(line, 1, 1);
    assert_int_equal(waitpid(plain, &status, 0), plain);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    check_signal(line, 0, 0);
    assert_int_equal(waitpid(daemon, &status, WNOHANG), 0);
    assert_int_equal(waitpid(other, &status, WNOHANG), 0);
    kill(daemon, SIGKILL);
    kill(other, SIGKILL);
    waitpid(daemon, &status, 0);
    waitpid(other, &status, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_ranks_are_found),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
