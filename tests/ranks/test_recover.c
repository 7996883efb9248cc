/* `lockstep run` starts ranks again: whoever is killed, whenever, the weights of the end are those of an undisturbed run.
 *
 * labels: timeout=300 */
#include "train_run.h"

/* `overrides` after the words that every run here has. */
#define EXACT "configs/exact_gpt.yaml threads=1 data.cache='%s/cache' out='%s/%s' %s "

enum { MOST_RANKS = 8, STEPS = 400 };

static char clean_hash[65];

static const char *words_of(const char *name, const char *overrides) {
    return text_of("train " EXACT, run_folder(), run_folder(), name, overrides);
}

static int count_text(const char *text, const char *part) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at += strlen(part)) n++;
    return n;
}

static const char *hash_in(const char *text) {
    const char *at = strstr(text, "weights sha256:");
    if (!at) fail_msg("no hash in: %s", text);
    return text_of("%.64s", at + strlen("weights sha256:"));
}

/* Hash of 20 steps that nobody disturbs. */
static const char *short_hash(void) {
    static char hash[65];
    if (!*hash) {
        const run_result result = run_program(words_of("short", "steps=20 -q"));
        assert_int_equal(result.exit_code, 0);
        snprintf(hash, sizeof hash, "%s", hash_in(result.out));
    }
    return hash;
}

typedef struct fault_case {
    const char *options, *fault, *overrides, *told;
} fault_case;

/* Ranks that end by themselves, each at a known place. The report appears once. */
static void test_faults_are_survived(void **state) {
    (void)state;
    static const fault_case cases[] = {
        {"-n 2", "kind=die,rank=1,step=7,call=1", "", "rank 1 was killed by signal 9 (SIGKILL)"},
        {"-n 2", "kind=die,rank=0,step=7", "zero=2", "rank 0 was killed by signal 9 (SIGKILL)"},
        {"-n 4", "kind=die,rank=2,step=0", "zero=1", "rank 2 was killed by signal 9 (SIGKILL)"},
        {"-n 2", "kind=stop,rank=1,step=9", "", "rank 1 stood still (was stopped)"},
        {"-n 4", "kind=extra,rank=2,step=5", "", "rank 2 ended with status 8"},
        {"-n 2", "kind=die,rank=1,step=13", "save_every=5 save_mode=wait recover.copies=0",
         "going on from step 10 (restart 1)"},
        {"-n 2", "kind=die,rank=1,step=3", "save_every=5 save_mode=wait recover.copies=0",
         "going on from the start (restart 1, in 0.1 s)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const fault_case *c = &cases[i];
        setenv("LOCKSTEP_FAULT", c->fault, 1);
        const run_result result =
            run_program(text_of("run %s -- %s", c->options,
                                words_of("fault", text_of("steps=20 -q %s", c->overrides))));
        unsetenv("LOCKSTEP_FAULT");
        if (result.exit_code != 0 || !strstr(result.err, c->told))
            fail_msg("%s: exit %d: %s", c->fault, result.exit_code, result.err);
        assert_int_equal(count_text(result.err, "; going on from "), 1);
        assert_int_equal(count_text(result.out, "weights sha256:"), 1);
        assert_string_equal(hash_in(result.out), short_hash());
        check_ok(ls_dir_remove(text_of("%s/fault", run_folder())));
    }
}

/* What would come again is not tried again. */
static void test_no_restart(void **state) {
    (void)state;
    static const struct {
        const char *options, *fault, *overrides;
        int exit_code;
        const char *told;
    } cases[] = {
        {"-n 2", "kind=nan,rank=1,step=5", "", 7, "not finite"},
        {"-n 2", "", "lanes=1", 2, "lanes"},
        {"-n 2", "", "recover.copies=2", 2, "a second copy needs another host (--hosts FILE)"},
        {"-n 2 --no-recover", "kind=die,rank=1,step=5", "", 128 + SIGKILL, "rank 1 was killed by"},
        {"-n 2 --restarts 0", "kind=die,rank=1,step=5", "", 128 + SIGKILL,
         "run: 0 restarts (--restarts 0): rank 1 was killed by"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setenv("LOCKSTEP_FAULT", cases[i].fault, 1);
        const run_result result =
            run_program(text_of("run %s -- %s", cases[i].options,
                                words_of("none", text_of("steps=20 -q %s", cases[i].overrides))));
        unsetenv("LOCKSTEP_FAULT");
        if (result.exit_code != cases[i].exit_code || !strstr(result.err, cases[i].told))
            fail_msg("%s %s: exit %d: %s", cases[i].options, cases[i].overrides, result.exit_code,
                     result.err);
        assert_null(strstr(result.err, "going on from"));
    }
}

static void test_a_crash_loop_ends_with_a_report(void **state) {
    (void)state;
    setenv("LOCKSTEP_FAULT", "kind=die,rank=1,step=6,attempt=all", 1);
    const run_result result =
        run_program(text_of("run -n 2 --stuck 3 -- %s", words_of("loop", "steps=20 -q")));
    unsetenv("LOCKSTEP_FAULT");
    assert_int_equal(result.exit_code, 128 + SIGKILL);
    assert_non_null(strstr(result.err, "run: 3 attempts in a row made no new step (--stuck 3): "
                                       "rank 1 was killed by signal 9 (SIGKILL) at step "));
    assert_non_null(strstr(result.err, "lockstep: attempt 1 from the start: after "));
    /* The first attempt made six steps. */
    assert_int_equal(count_text(result.err, "lockstep: attempt "), 4);
    assert_int_equal(count_text(result.err, "; going on from step 6 (restart "), 3);
    assert_non_null(strstr(result.err, "(restart 3, in 0.2 s)"));
    assert_null(strstr(result.out, "weights sha256:"));
}

/* --- from outside --- */

/* Pids of the ranks of a `lockstep run`. */
static int list_ranks(pid_t parent, pid_t pids_out[MOST_RANKS]) {
    char line[128];
    int n = 0, ppid, pid;
    FILE *list = popen("ps -eo ppid=,pid=,stat=", "r");
    assert_non_null(list);
    char stat[32];
    while (fgets(line, sizeof line, list))
        if (sscanf(line, "%d %d %31s", &ppid, &pid, stat) == 3 && ppid == parent &&
            stat[0] != 'Z' && n < MOST_RANKS)
            pids_out[n++] = pid;
    pclose(list);
    return n;
}

static int wait_for_ranks(pid_t parent, int n, pid_t pids_out[MOST_RANKS]) {
    int found = 0;
    for (int i = 0; i < 500 && (found = list_ranks(parent, pids_out)) < n; i++) sleep_us(10000);
    return found;
}

static const char *output_of(const char *name) {
    return text_of("%s/%s.txt", run_folder(), name);
}

static const char *read_output(const char *name) {
    char *text;
    size_t bytes;
    check_ok(ls_file_read(output_of(name), &text, &bytes));
    const char *copy = text_of("%s", text);
    ls_free(text);
    return copy;
}

static pid_t start_run(const char *options, const char *name, const char *overrides) {
    return start_program(text_of("run %s -- %s", options, words_of(name, overrides)),
                         output_of(name));
}

static void wait_for_lines(const char *name, int n) {
    const char *metrics = text_of("%s/%s/metrics.jsonl", run_folder(), name);
    for (int i = 0; i < 3000 && count_lines(metrics) < n; i++) sleep_us(10000);
    assert_true(count_lines(metrics) >= n);
}

static void wait_for_text(const char *name, const char *part) {
    for (int i = 0; i < 1000 && !strstr(read_output(name), part); i++) sleep_us(10000);
    if (!strstr(read_output(name), part)) fail_msg("no '%s': %s", part, read_output(name));
}

static void expect_clean_end(const char *name, pid_t pid) {
    const int exit_code = wait_program(pid);
    const char *text = read_output(name);
    if (exit_code != 0) fail_msg("%s: exit %d: %s", name, exit_code, text);
    assert_int_equal(count_text(text, "weights sha256:"), 1);
    if (!*clean_hash) {
        const run_result result =
            run_program(words_of("whole", text_of("steps=%d log_every=1 -q", STEPS)));
        assert_int_equal(result.exit_code, 0);
        snprintf(clean_hash, sizeof clean_hash, "%s", hash_in(result.out));
    }
    assert_string_equal(hash_in(text), clean_hash);
}

enum { KILL_ONE, KILL_FIRST, KILL_ALL, KILL_TWICE, KILL_START };

static void kill_some(pid_t parent, int how) {
    pid_t ranks[MOST_RANKS];
    const int n = wait_for_ranks(parent, 2, ranks);
    assert_int_equal(n, 2);
    if (how == KILL_ALL) kill(ranks[0], SIGKILL);
    kill(ranks[how == KILL_FIRST ? 0 : 1], SIGKILL);
    if (how != KILL_TWICE) return;
    /* The next ranks at once, before they can have done anything. */
    pid_t next[MOST_RANKS] = {0};
    for (int i = 0; i < 500 && (list_ranks(parent, next) < 1 || next[0] == ranks[0]); i++)
        sleep_us(1000);
    kill(next[0], SIGKILL);
}

static void test_kills_from_outside(void **state) {
    (void)state;
    static const char *const names[] = {"one", "first", "all", "twice", "start"};
    for (int how = KILL_ONE; how <= KILL_START; how++) {
        const pid_t pid = start_run("-n 2", names[how], text_of("steps=%d log_every=1 -q", STEPS));
        if (how != KILL_START) wait_for_lines(names[how], 20);
        kill_some(pid, how);
        expect_clean_end(names[how], pid);
        assert_non_null(strstr(read_output(names[how]), "(SIGKILL)"));
    }
}

/* Nobody is left to say that the only rank stands still. */
static void test_a_single_rank_that_stands_still(void **state) {
    (void)state;
    pid_t ranks[MOST_RANKS];
    const pid_t pid = start_run("-n 1", "still", text_of("steps=%d log_every=1 -q", STEPS));
    wait_for_lines("still", 20);
    assert_int_equal(wait_for_ranks(pid, 1, ranks), 1);
    kill(ranks[0], SIGSTOP);
    wait_for_text("still", "rank 0 stood still (was stopped) and was killed");
    expect_clean_end("still", pid);
}

/* Passed on and never followed by a restart, also while the ranks are being started again. */
static void test_signals_end_the_run(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int number, exit_code, kills_first;
    } cases[] = {{"term", SIGTERM, 75, 0},
                 {"int", SIGINT, 0, 0},
                 {"hangup", SIGHUP, 75, 0},
                 {"group", SIGTERM, 75, 0},
                 {"late", SIGTERM, 75, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *name = cases[i].name;
        const pid_t pid = start_run("-n 2", name, "steps=1000000 log_every=1 -q");
        wait_for_lines(name, 20);
        if (cases[i].kills_first) {
            kill_some(pid, KILL_ONE);
            wait_for_text(name, "(restart 1)");
        }
        /* As systemd does: the ranks get it too, before and after it is passed on. */
        const int to_all = strcmp(name, "group") == 0;
        pid_t ranks[MOST_RANKS];
        const int n = to_all ? wait_for_ranks(pid, 2, ranks) : 0;
        for (int rank = 0; rank < n; rank++) kill(ranks[rank], cases[i].number);
        kill(pid, cases[i].number);
        const int exit_code = wait_program(pid);
        if (exit_code != cases[i].exit_code)
            fail_msg("%s: exit %d: %s", name, exit_code, read_output(name));
        assert_int_equal(count_text(read_output(name), "going on from"), cases[i].kills_first);
        const run_result verified =
            run_program(text_of("checkpoint verify '%s/%s'", run_folder(), name));
        assert_int_equal(verified.exit_code, 0);
    }
}

/* nohup: the terminal's end is not the run's. */
static void test_an_ignored_hangup(void **state) {
    (void)state;
    void (*old)(int) = signal(SIGHUP, SIG_IGN);
    const pid_t pid = start_run("-n 2", "nohup", text_of("steps=%d log_every=1 -q", STEPS));
    signal(SIGHUP, old);
    wait_for_lines("nohup", 20);
    kill(pid, SIGHUP);
    expect_clean_end("nohup", pid);
}

/* The keeper lives in the supervisor: its memory and the ranks go with it. */
static void test_a_killed_supervisor_leaves_nothing(void **state) {
    (void)state;
    pid_t ranks[MOST_RANKS];
    const pid_t pid = start_run("-n 2", "gone", "steps=1000000 log_every=1 -q");
    wait_for_lines("gone", 20);
    assert_int_equal(wait_for_ranks(pid, 2, ranks), 2);
    kill(pid, SIGKILL);
    assert_int_equal(wait_program(pid), 1000 + SIGKILL);
    for (int rank = 0; rank < 2; rank++) {
        for (int i = 0; i < 300 && kill(ranks[rank], 0) == 0; i++) sleep_us(10000);
        assert_int_not_equal(kill(ranks[rank], 0), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults_are_survived),
        cmocka_unit_test(test_no_restart),
        cmocka_unit_test(test_a_crash_loop_ends_with_a_report),
        cmocka_unit_test(test_kills_from_outside),
        cmocka_unit_test(test_a_single_rank_that_stands_still),
        cmocka_unit_test(test_signals_end_the_run),
        cmocka_unit_test(test_an_ignored_hangup),
        cmocka_unit_test(test_a_killed_supervisor_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, make_run_folder, remove_run_folder);
}
