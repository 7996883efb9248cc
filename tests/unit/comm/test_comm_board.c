/* The board and the job around it: cells that are never torn, what /proc says, reports, and being found by other programs. labels: threads */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "comm/board.h"
#include "comm/shared_internal.h"
#include "comm/watch.h"
#include "unit/comm/ranks.h"

static ls_board *make_board(int size) {
    ls_board *board = ls_alloc(ls_board_bytes(size));
    assert_non_null(board);
    ls_board_init(board, size, "test");
    return board;
}

static void *write_stands(void *user) {
    ls_board *board = user;
    for (uint64_t i = 1; i <= 20000; i++) {
        const ls_board_stand stand = {.state = LS_RANK_RUNNING,
                                      .pid = (int32_t)i,
                                      .born = i,
                                      .number = i,
                                      .wait_seconds = (double)i};
        ls_board_set_stand(board, 1, &stand);
        const ls_board_call call = {.number = i - 1, .step = i, .bytes = i, .hash = i};
        ls_board_log_call(board, 1, &call);
    }
    return NULL;
}

static void test_cells_are_whole(void **state) {
    (void)state;
    ls_board *board = make_board(2);
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, write_stands, board), 0);
    for (uint64_t seen = 0; seen < 20000;) {
        ls_board_call call;
        const ls_board_stand stand = ls_board_get_stand(board, 1);
        assert_true(stand.number >= seen);
        assert_int_equal(stand.born, stand.number);
        assert_true((uint64_t)stand.wait_seconds == stand.number);
        seen = stand.number;
        if (ls_board_last_call(board, 1, &call)) {
            assert_int_equal(call.step, call.number + 1);
            assert_int_equal(call.hash, call.step);
        }
    }
    pthread_join(writer, NULL);
    ls_board_call call;
    assert_int_equal(ls_board_find_call(board, 1, 19999, &call), 1);
    assert_int_equal(ls_board_find_call(board, 1, 19999 - LS_BOARD_LOG, &call), 0);
    assert_int_equal(ls_board_find_call(board, 1, 20000, &call), 0);
    assert_int_equal(ls_board_last_call(board, 0, &call), 0);
    ls_free(board);
}

/* A writer that is kept from going on, or was killed, in the middle: what was there before stays whole. */
static void test_writer_stops_midway(void **state) {
    (void)state;
    enum { STAND_WORDS = sizeof(ls_board_stand) / 8, CALL_WORDS = sizeof(ls_board_call) / 8 };
    ls_board *board = make_board(1);
    ls_board_rank *r = &board->ranks[0];
    for (uint64_t i = 1; i <= 3 * LS_BOARD_LOG; i++) {
        const ls_board_stand stand = {.pid = (int32_t)i, .born = i, .number = i};
        const ls_board_call call = {.number = i - 1, .step = i, .hash = i};
        ls_board_call found;
        ls_board_set_stand(board, 0, &stand);
        ls_board_log_call(board, 0, &call);
        for (int w = 0; w < STAND_WORDS / 2; w++)
            atomic_store(&r->stand.words[(i + 1) % 2 * STAND_WORDS + (uint64_t)w], 0xbad);
        for (int w = 0; w < CALL_WORDS / 2; w++)
            atomic_store(&r->log[i % LS_BOARD_LOG].words[w], 0xbad);
        const ls_board_stand now = ls_board_get_stand(board, 0);
        assert_memory_equal(&now, &stand, sizeof now);
        assert_int_equal(ls_board_last_call(board, 0, &found), 1);
        assert_memory_equal(&found, &call, sizeof found);
        assert_int_equal(ls_board_find_call(board, 0, i, &found), 0);
        if (i >= LS_BOARD_LOG)
            assert_int_equal(ls_board_find_call(board, 0, i - LS_BOARD_LOG, &found), 0);
    }
    ls_free(board);
}

/* The first failure stays; everybody quotes it. */
static void test_first_failure(void **state) {
    (void)state;
    ls_board *board = make_board(3);
    char text[LS_BOARD_SENTENCE];
    assert_int_equal(ls_board_failure(board, text), -1);
    assert_int_equal(ls_board_fail(board, 2, "rank 2 was first"), 1);
    assert_int_equal(ls_board_fail(board, 1, "rank 1 came later"), 0);
    assert_int_equal(atomic_load(&board->n_sentences), 1);
    assert_int_equal(ls_board_failure(board, text), 2);
    assert_string_equal(text, "rank 2 was first");
    assert_int_equal(ls_board_report_failure(board, 0), LS_ERR_COMM);
    assert_string_equal(ls_error_message(),
                        "rank 2 was first; this is rank 0, before its first collective");
    assert_int_equal(ls_board_report_failure(board, 2), LS_ERR_COMM);
    assert_string_equal(ls_error_message(), "rank 2 was first; this is that rank");
    ls_free(board);
}

typedef struct accuser {
    ls_board *board;
    int rank, was_first;
} accuser;

static void *accuse(void *user) {
    accuser *a = user;
    char text[64];
    (void)snprintf(text, sizeof text, "rank %d is accused", a->rank);
    a->was_first = ls_board_fail(a->board, a->rank, text);
    return NULL;
}

/* Whoever sees that something failed reads all of it, while more ranks find it than there are sentences. */
static void test_failure_is_whole(void **state) {
    (void)state;
    enum { N = 2 * LS_BOARD_SENTENCES };
    for (int round = 0; round < 50; round++) {
        ls_board *board = make_board(N);
        pthread_t threads[N];
        accuser accusers[N];
        char text[LS_BOARD_SENTENCE] = "", wanted[64];
        int n_first = 0;
        for (int i = 0; i < N; i++) {
            accusers[i] = (accuser){board, i, 0};
            assert_int_equal(pthread_create(&threads[i], NULL, accuse, &accusers[i]), 0);
        }
        while (atomic_load(&board->failed) == 0) (void)sched_yield();
        const int culprit = ls_board_failure(board, text);
        for (int i = 0; i < N; i++) {
            (void)pthread_join(threads[i], NULL);
            n_first += accusers[i].was_first;
        }
        assert_int_equal(n_first, 1);
        assert_in_range(culprit, 0, N - 1);
        assert_int_equal(accusers[culprit].was_first, 1);
        (void)snprintf(wanted, sizeof wanted, "rank %d %s", culprit,
                       strstr(text, "no room") ? "failed; there was" : "is accused");
        if (strncmp(text, wanted, strlen(wanted)) != 0) fail_msg("'%s', not '%s'", text, wanted);
        ls_free(board);
    }
}

/* One that was killed while it wrote, or many of them: the next one's word counts. */
static void test_accuser_dies(void **state) {
    (void)state;
    ls_board *board = make_board(3);
    char text[LS_BOARD_SENTENCE];
    atomic_fetch_add(&board->n_sentences, 1);
    assert_int_equal(ls_board_failure(board, text), -1);
    assert_int_equal(ls_board_fail(board, 2, "rank 2 was second to write"), 1);
    assert_int_equal(ls_board_failure(board, text), 2);
    assert_string_equal(text, "rank 2 was second to write");
    ls_free(board);
    board = make_board(3);
    atomic_store(&board->n_sentences, LS_BOARD_SENTENCES);
    const ls_board_stand stand = {.pid = 12, .host = "far"};
    ls_board_set_stand(board, 1, &stand);
    assert_int_equal(ls_board_fail(board, 1, "rank 1 has no room"), 1);
    assert_int_equal(ls_board_failure(board, text), 1);
    assert_string_equal(text, "rank 1 (pid 12 on host far) failed; there was no room to say why "
                              "on the job's board");
    /* What lies behind the sentences. */
    const unsigned char *behind = (const unsigned char *)&board->ranks[0].stand;
    for (const unsigned char *at = behind; at < (const unsigned char *)&board->ranks[1]; at++)
        assert_int_equal(*at, 0);
    ls_free(board);
}

static void test_verify(void **state) {
    (void)state;
    ls_board *board = make_board(2);
    assert_int_equal(ls_board_verify(board, ls_board_bytes(2)), LS_OK);
    assert_int_equal(ls_board_verify(board, ls_board_bytes(2) - 1), LS_ERR_COMM);
    board->magic++;
    assert_int_equal(ls_board_verify(board, ls_board_bytes(2)), LS_ERR_COMM);
    assert_non_null(strstr(ls_error_message(), "not one of this build"));
    ls_free(board);
}

/* Ranks of another host: their process is not looked for here, but they can be late. */
static void test_relayed_rank(void **state) {
    (void)state;
    ls_board *board = make_board(2);
    ls_board_call calls[3] = {{.number = 0, .step = 4, .op = "all_gather", .hash = 2},
                              {.number = 1, .step = 5, .op = "all_gather", .hash = 3},
                              {.number = 2, .step = 6, .op = "broadcast", .hash = 4}};
    ls_board_stand stand = {.state = LS_RANK_RUNNING, .pid = 1 << 28, .node = 1, .host = "far"};
    ls_board_relay(board, 1, &stand, calls, 2);
    ls_board_relay(board, 1, &stand, calls + 1, 2);
    ls_board_call last;
    assert_int_equal(ls_board_last_call(board, 1, &last), 1);
    assert_int_equal(last.step, 6);
    const ls_board_stand here = {.state = LS_RANK_WAITING, .pid = getpid(), .peer = 1};
    ls_board_set_stand(board, 0, &here);
    const ls_watch_options options = {.late_seconds = 0.3, .quiet = 1};
    ls_watch *watch = NULL;
    assert_int_equal(ls_watch_start(board, &options, &watch), LS_OK);
    char text[LS_BOARD_SENTENCE];
    const double until = ls_clock_seconds() + patience_seconds;
    while (ls_board_failure(board, text) < 0 && ls_clock_seconds() < until) usleep(10000);
    ls_watch_stop(watch);
    assert_int_equal(ls_board_failure(board, text), 1);
    assert_non_null(strstr(text, "rank 1 (pid 268435456 on host far) is alive but late"));
    assert_non_null(strstr(text, "its last collective was step 6 broadcast"));
    ls_free(board);
}

/* 1 unless a process is '?' to a nobody that may neither read nor signal it, and 0 once it is gone. */
static int look_as_nobody(void) {
    const struct rlimit none = {0};
    const pid_t child = fork();
    int status = 0;
    if (child == 0) {
        if (geteuid() == 0) (void)!setuid(65534);
        if (setrlimit(RLIMIT_NOFILE, &none) != 0) _exit(2);
        _exit(ls_process_state(1, 0) != '?' || ls_process_state(1 << 28, 0) != 0);
    }
    return waitpid(child, &status, 0) != child || status != 0;
}

static void test_process_state(void **state) {
    (void)state;
    const uint64_t born = ls_process_born(getpid());
    assert_true(born > 0);
    assert_int_equal(ls_process_state(getpid(), born), 'R');
    assert_int_equal(ls_process_state(getpid(), born + 1), 0);
    assert_int_equal(ls_process_state(0, 0), 0);
    struct rlimit limit, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    const char unread = ls_process_state(getpid(), born), gone = ls_process_state(1 << 28, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(unread, '?');
    assert_int_equal(gone, 0);
    assert_int_equal(look_as_nobody(), 0);
    const pid_t child = fork();
    if (child == 0) {
        (void)pause();
        _exit(0);
    }
    (void)kill(child, SIGSTOP);
    (void)waitpid(child, NULL, WUNTRACED);
    assert_int_equal(ls_process_state(child, 0), 'T');
    (void)kill(child, SIGKILL);
    siginfo_t ended;
    assert_int_equal(waitid(P_PID, (id_t)child, &ended, WEXITED | WNOWAIT), 0);
    assert_int_equal(ls_process_state(child, 0), 'Z');
    (void)waitpid(child, NULL, 0);
    assert_int_equal(ls_process_state(child, 0), 0);
}

enum { LATE_CALLS = 8, LATE_MICROSECONDS = 30000 };

/* What a rank had waited and lagged when all had joined. In memory that the ranks share. */
typedef struct baseline {
    double wait, lag;
} baseline;

static int are_others_waiting(const ls_board *board, uint64_t number) {
    for (int r = 0; r < board->size; r++) {
        const ls_board_stand stand = ls_board_get_stand(board, r);
        if (r != 1 && (stand.state != LS_RANK_WAITING || stand.number != number)) return 0;
    }
    return 1;
}

/* Rank 1 comes late to every call, when all others wait: it has the lag, the others the waiting. */
static ls_status dawdle(ls_comm *comm, void *user, outcome *out) {
    const ls_shared *shared = ls_shared_of(comm);
    baseline *base = user;
    (void)out;
    base[comm->rank] = (baseline){shared->stand.wait_seconds, shared->stand.lag_seconds};
    for (int step = 0; step < LATE_CALLS; step++) {
        const ls_comm_call call = {
            .op = "all_reduce", .scope = "h.0.mlp", .step = (uint64_t)step, .from = -1, .to = -1};
        const double until = ls_clock_seconds() + patience_seconds;
        while (comm->rank == 1 && !are_others_waiting(shared->board, shared->n_calls) &&
               ls_clock_seconds() < until)
            usleep(1000);
        if (comm->rank == 1) usleep(LATE_MICROSECONDS);
        LS_TRY(run_call(comm, &call));
    }
    return LS_OK;
}

/* Times can only be longer than they must be; what is compared holds on the slowest machine. */
static void check_straggler(const ls_rank_report *report, const baseline *base,
                            const outcome *out) {
    const double late = 1e-6 * LATE_CALLS * LATE_MICROSECONDS;
    const double took = out[1].ended - out[1].begun;
    double wait[3], lag[3];
    for (int r = 0; r < 3; r++) {
        wait[r] = report[r].wait_seconds - base[r].wait;
        lag[r] = report[r].lag_seconds - base[r].lag;
    }
    const int has_lag = lag[1] > lag[0] + 0.9 * late && lag[1] > lag[2] + 0.9 * late;
    const int waited = wait[0] > 0.9 * late && wait[2] > 0.9 * late && wait[1] < took - 0.9 * late;
    if (!has_lag || !waited)
        fail_msg("late %.3f s of %.3f: lag %.3f %.3f %.3f, waited %.3f %.3f %.3f", late, took,
                 lag[0], lag[1], lag[2], wait[0], wait[1], wait[2]);
}

static void test_job_reports_the_straggler(void **state) {
    (void)state;
    ls_job *job = NULL, *seen = NULL;
    outcome *out = shared_outcomes();
    baseline *base = (baseline *)(out + 3);
    pid_t pids[3], *running = NULL;
    int n = 0, found = 0;
    memset(out, 0, 3 * sizeof *out);
    assert_int_equal(ls_job_create(3, "configs/tiny.yaml", &job), LS_OK);
    assert_int_equal(ls_job_list(&running, &n), LS_OK);
    for (int i = 0; i < n; i++) found += running[i] == getpid();
    ls_free(running);
    assert_int_equal(found, 1);
    assert_int_equal(ls_job_attach(getpid(), &seen), LS_OK);
    assert_int_equal(ls_job_size(seen), 3);
    assert_string_equal(ls_job_name(seen), "configs/tiny.yaml");
    ls_rank_report report[3];
    ls_job_report(seen, 2, &report[2]);
    assert_int_equal(report[2].state, LS_RANK_ABSENT);
    for (int r = 0; r < 3; r++) pids[r] = fork_rank(job, r, NULL, dawdle, base, &out[r]);
    for (int r = 0; r < 3; r++) (void)waitpid(pids[r], NULL, 0);
    for (int r = 0; r < 3; r++) {
        assert_int_equal(out[r].status, LS_OK);
        ls_job_report(seen, r, &report[r]);
        assert_int_equal(report[r].state, LS_RANK_LEFT);
        assert_int_equal(report[r].pid, pids[r]);
        assert_int_equal(report[r].step, 7);
        assert_string_equal(report[r].op, "all_reduce");
        assert_string_equal(report[r].scope, "h.0.mlp");
        assert_true(report[r].n_calls >= 8);
    }
    check_straggler(report, base, out);
    ls_job_destroy(seen);
    ls_job_destroy(job);
    assert_int_equal(ls_job_attach(getpid(), &seen), LS_ERR_NOT_FOUND);
}

/* Gives up with a reason: the board keeps it, the others quote it. */
static ls_status give_up(ls_comm *comm, void *user, outcome *out) {
    (void)user;
    (void)out;
    if (comm->rank == 0) return LS_FAIL(LS_ERR_DATA, "line 7 is torn");
    return ls_comm_exchange(comm, "counts", NULL, 0, NULL);
}

static void test_job_keeps_the_reason(void **state) {
    (void)state;
    ls_job *job = NULL;
    outcome *out = shared_outcomes();
    pid_t pids[2];
    memset(out, 0, 2 * sizeof *out);
    assert_int_equal(ls_job_create(2, "reasons", &job), LS_OK);
    for (int r = 0; r < 2; r++) pids[r] = fork_rank(job, r, NULL, give_up, NULL, &out[r]);
    for (int r = 0; r < 2; r++) (void)waitpid(pids[r], NULL, 0);
    ls_rank_report report;
    ls_job_report(job, 0, &report);
    assert_int_equal(report.state, LS_RANK_FAILED);
    assert_string_equal(report.message, "line 7 is torn");
    assert_int_equal(out[1].status, LS_ERR_COMM);
    assert_non_null(strstr(out[1].message, "rank 0 (pid "));
    assert_non_null(strstr(out[1].message, "gave up: line 7 is torn"));
    ls_job_destroy(job);
}

static void test_job_refusals(void **state) {
    (void)state;
    ls_job *job = NULL;
    ls_comm *comm = NULL;
    assert_int_equal(ls_job_create(0, "none", &job), LS_ERR_INVALID);
    assert_int_equal(ls_job_attach(1 << 28, &job), LS_ERR_NOT_FOUND);
    assert_int_equal(ls_job_create(1, "one", &job), LS_OK);
    assert_int_equal(ls_job_enter(job, 1), LS_ERR_INVALID);
    assert_int_equal(ls_job_enter(job, 0), LS_OK);
    assert_int_equal(ls_comm_open(NULL, &comm), LS_OK);
    assert_string_equal(ls_comm_transport(comm), "shm");
    assert_int_equal(ls_comm_size(comm), 1);
    ls_comm_close(comm);
    assert_int_equal(ls_comm_open(NULL, &comm), LS_ERR_COMM);
    assert_non_null(strstr(ls_error_message(), "joined once"));
    unsetenv("LOCKSTEP_RUN_FD");
    ls_job_destroy(job);
    ls_job_destroy(NULL);
}

static ls_status agree_on(ls_comm *comm, void *user, outcome *out) {
    const int failing = *(const int *)user;
    int64_t mine = 100 + comm->rank, all[MAX_RANKS] = {0};
    char text[64];
    LS_TRY(ls_comm_exchange(comm, "numbers", &mine, sizeof mine, all));
    for (int r = 0; r < comm->size; r++) out->n_wrong += all[r] != 100 + r;
    LS_TRY(ls_comm_agree(comm, "reading", LS_OK));
    (void)snprintf(text, sizeof text, "rank %d has no file", comm->rank);
    const int fails = comm->rank >= failing;
    return ls_comm_agree(comm, "loading", fails ? LS_FAIL(LS_ERR_NOT_FOUND, "%s", text) : LS_OK);
}

static void test_exchange_and_agree(void **state) {
    (void)state;
    outcome out[MAX_RANKS];
    for (int failing = 1; failing <= 4; failing++) {
        char say[128];
        (void)snprintf(say, sizeof say, "rank %d has no file", failing);
        run_threads(4, NULL, agree_on, &failing, out);
        for (int r = 0; r < 4; r++) {
            assert_int_equal(out[r].n_wrong, 0);
            assert_int_equal(out[r].status, failing < 4 ? LS_ERR_NOT_FOUND : LS_OK);
            if (failing == 4) continue;
            assert_non_null(strstr(out[r].message, say));
            assert_memory_equal(out[r].message, "loading: rank ", 14);
        }
    }
}

/* Every allocation may fail: then all is given back. */
static void test_hub_without_memory(void **state) {
    (void)state;
    const int64_t live = ls_alloc_get_stats().n_live;
    ls_status status = LS_ERR_NO_MEMORY;
    for (int n = 1; status != LS_OK; n++) {
        ls_comm_hub *hub = NULL;
        assert_true(n < 100);
        ls_alloc_fail_at(n, 0);
        status = ls_comm_hub_create(3, NULL, &hub);
        ls_alloc_fail_at(0, 0);
        assert_true(status == LS_OK || status == LS_ERR_NO_MEMORY);
        ls_comm_hub_destroy(hub);
        assert_int_equal(ls_alloc_get_stats().n_live, live);
    }
}

/* The n-th allocation of one rank fails while all make memory: nobody hangs, and nobody goes on alone. */
static ls_status make_memory_short(ls_comm *comm, void *user, outcome *out) {
    void *memory = NULL;
    const int64_t before = ls_alloc_n_refused();
    if (comm->rank == 1) ls_alloc_fail_at(*(const int *)user, 0);
    ls_status status = ls_comm_memory_create(comm, 1000, &memory);
    if (status == LS_OK) status = ls_comm_exchange(comm, "here", NULL, 0, NULL);
    out->n_wrong = ls_alloc_n_refused() - before;
    ls_alloc_fail_at(0, 0);
    return status;
}

static void test_memory_without_memory(void **state) {
    (void)state;
    outcome *out = shared_outcomes();
    int n_refused = 0;
    for (int n = 1; n == 1 || out[1].n_wrong; n++) {
        assert_true(n < 50);
        run_processes(2, NULL, make_memory_short, &n, out);
        n_refused += out[1].n_wrong != 0;
        assert_int_equal(out[1].status, out[1].n_wrong ? LS_ERR_NO_MEMORY : LS_OK);
        assert_int_equal(out[0].status != LS_OK, out[1].status != LS_OK);
        /* Told at once, not found late or dead. */
        if (out[0].status != LS_OK)
            assert_non_null(strstr(out[0].message, ") gave up: out of memory"));
    }
    assert_true(n_refused >= 2);
}

int main(void) {
    setenv("XDG_RUNTIME_DIR", getenv("LS_TEST_TMP") ? getenv("LS_TEST_TMP") : "/tmp", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cells_are_whole),
        cmocka_unit_test(test_writer_stops_midway),
        cmocka_unit_test(test_first_failure),
        cmocka_unit_test(test_failure_is_whole),
        cmocka_unit_test(test_accuser_dies),
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_relayed_rank),
        cmocka_unit_test(test_process_state),
        cmocka_unit_test(test_job_reports_the_straggler),
        cmocka_unit_test(test_job_keeps_the_reason),
        cmocka_unit_test(test_job_refusals),
        cmocka_unit_test(test_exchange_and_agree),
        cmocka_unit_test(test_hub_without_memory),
        cmocka_unit_test(test_memory_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
