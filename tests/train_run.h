/* Small training runs through the program: its JSON report, runs in the background, checkpoints. */
#ifndef LS_TESTS_TRAIN_RUN_H
#define LS_TESTS_TRAIN_RUN_H
#include "base/fs.h"
#include "base/json.h"
#include "unit/cli/run_program.h"
#include <fcntl.h>
#include <signal.h>
#include <time.h>

/* What every small run says; folders come from run_folder. A step takes a few milliseconds. */
#define SMALL_RUN                                                                              \
    "configs/tiny.yaml batch=8 lanes=2 threads=2 model.layers=2 model.width=32 model.heads=2 " \
    "model.context=32 data.tokenizer=byte tensorboard=false optim.warmup=2 eval_windows=8 "    \
    "eval_every=3 steps=6 "

typedef struct train_report {
    char hash[65], checkpoint[512];
    int64_t steps, planned_bytes, allocated_bytes, run_allocations, skipped_steps;
    int interrupted;
} train_report;

/* Formatted text; valid until the 256th call after it. */
LS_PRINTF(1, 2) static inline const char *text_of(const char *fmt, ...) {
    static char texts[256][2048];
    static int next;
    char *text = texts[next++ % 256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof texts[0], fmt, args);
    va_end(args);
    return text;
}

/* A folder of this test process; removed with its contents by remove_run_folder. */
static inline const char *run_folder(void) {
    static char path[512];
    if (!*path) snprintf(path, sizeof path, "%s", check_path("runs"));
    return path;
}

static inline int make_run_folder(void **state) {
    (void)state;
    check_ok(ls_dir_make(run_folder()));
    return 0;
}

static inline int remove_run_folder(void **state) {
    (void)state;
    return ls_dir_remove(run_folder()) == LS_OK ? 0 : 1;
}

static inline void read_report(const char *line, const run_result *result, train_report *out) {
    if (result->exit_code != 0)
        fail_msg("lockstep %s: exit %d: %s", line, result->exit_code, result->err);
    json_t *root;
    check_ok(ls_json_parse(result->out, strlen(result->out), line, &root));
    const char *text;
    check_ok(ls_json_get_string(root, line, "weights_sha256", &text));
    snprintf(out->hash, sizeof out->hash, "%s", text);
    assert_int_equal(strlen(out->hash), 64);
    check_ok(ls_json_get_string(root, line, "checkpoint", &text));
    snprintf(out->checkpoint, sizeof out->checkpoint, "%s", text);
    check_ok(ls_json_get_int(root, line, "steps", &out->steps));
    check_ok(ls_json_get_int(root, line, "planned_bytes", &out->planned_bytes));
    check_ok(ls_json_get_int(root, line, "allocated_bytes", &out->allocated_bytes));
    check_ok(ls_json_get_int(root, line, "run_allocations", &out->run_allocations));
    check_ok(ls_json_get_int(root, line, "skipped_steps", &out->skipped_steps));
    check_ok(ls_json_get_bool(root, line, "interrupted", &out->interrupted));
    json_decref(root);
}

/* `lockstep train SMALL_RUN overrides` into folder `name`; byte shards are shared by all runs. */
static inline train_report train_small(const char *name, const char *overrides) {
    const char *line = text_of("train " SMALL_RUN "out='%s/%s' data.cache='%s/cache' %s -q --json",
                               run_folder(), name, run_folder(), overrides);
    train_report report;
    const run_result result = run_program(line);
    read_report(line, &result, &report);
    return report;
}

static inline train_report resume_small(const char *dir, const char *overrides) {
    const char *line = text_of("resume '%s' %s -q --json", dir, overrides);
    train_report report;
    const run_result result = run_program(line);
    read_report(line, &result, &report);
    return report;
}

/* The program in the background, its output in `output`. */
static inline pid_t start_program(const char *arguments, const char *output) {
    const char *line =
        text_of("exec '%s' %s </dev/null >'%s' 2>&1", getenv("LS_TEST_PROGRAM"), arguments, output);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* Exit status, or 1000 + the signal that ended it. */
static inline int wait_program(pid_t pid) {
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static inline void check_says(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("'%s' is not in: %s", part, text);
}

static inline void sleep_us(long us) {
    const struct timespec time = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&time, NULL);
}

/* Lines of a file so far, 0 when it is not there. */
static inline int count_lines(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    int n = 0;
    for (int c; (c = fgetc(file)) != EOF;) n += c == '\n';
    fclose(file);
    return n;
}

#endif
