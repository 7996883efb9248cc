/* A sentence instead of a hang: whatever one rank does wrong, all others fail and name that rank. labels: threads */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "comm/board.h"
#include "comm/shared.h"
#include "unit/comm/ranks.h"

enum { STEPS = 30, BAD_STEP = 12, CALLS_PER_STEP = 3 };
static const double late_seconds = 2.0; /* longer than a rank gets no time on a loaded machine */

typedef enum deed {
    DEED_OP,
    DEED_SHAPE,
    DEED_DTYPE,
    DEED_STEP,
    DEED_BYTES,
    DEED_SKIP,
    DEED_EXTRA,
    DEED_LEAVE,
    DEED_LEAVE_AFTER_START,
    DEED_ABORT,
    DEED_LATE,
    DEED_KILL,
    DEED_STOP,
    DEED_EXIT
} deed;

typedef struct plot {
    deed deed;
    int culprit;
    int n_calls;     /* started by the culprit before it does it, within the step */
    double *when;    /* shared: when it happened */
    const char *say; /* must be in the messages */
} plot;

/* Not by ls_comm_check, which would say that this rank is getting on. */
static void wait_for_blame(ls_comm *comm) {
    const ls_board *board = ls_shared_board(ls_shared_of(comm));
    const double until = ls_clock_seconds() + patience_seconds;
    while (ls_board_failure(board, NULL) < 0 && ls_clock_seconds() < until) usleep(1000);
}

static ls_status do_deed(ls_comm *comm, const plot *p, ls_comm_call *call, ls_comm_part *part,
                         int *goes_on) {
    ls_comm_call extra = *call;
    *p->when = ls_clock_seconds();
    switch (p->deed) {
    case DEED_OP:
        call->op = "all_to_all";
        break;
    case DEED_SHAPE:
        call->shape.dims[0]++;
        break;
    case DEED_DTYPE:
        call->dtype = LS_DTYPE_BF16;
        break;
    case DEED_STEP:
        call->step++;
        break;
    case DEED_BYTES:
        part->bytes -= 4;
        break;
    case DEED_SKIP:
        *goes_on = 0;
        break;
    case DEED_EXTRA:
        extra.id = 99;
        extra.ticket = 77;
        extra.n_parts = 0;
        return run_call(comm, &extra);
    case DEED_ABORT:
        return LS_FAIL(LS_ERR_IO, "the disk of this rank is full");
    case DEED_LATE:
        wait_for_blame(comm);
        return ls_comm_check(comm);
    case DEED_KILL:
        (void)kill(getpid(), SIGKILL);
        break;
    case DEED_STOP:
        (void)kill(getpid(), SIGSTOP);
        break;
    case DEED_EXIT:
        _exit(0);
    case DEED_LEAVE:
        break;
    case DEED_LEAVE_AFTER_START:
        (void)comm->ops->start(comm, call);
        break;
    }
    return LS_OK;
}

static ls_status behave(ls_comm *comm, void *user, outcome *out) {
    const plot *p = user;
    void *memory = NULL;
    (void)out;
    LS_TRY(ls_comm_memory_create(comm, 4096, &memory));
    for (uint64_t step = 0; step < STEPS; step++) {
        for (int c = 0; c < CALLS_PER_STEP; c++) {
            ls_comm_part part = {memory, 4096, 512};
            ls_comm_call call = {.op = c == 1 ? "all_gather" : "reduce_scatter",
                                 .scope = "h.3.attn",
                                 .step = step,
                                 .id = 40 + c,
                                 .dtype = LS_DTYPE_F32,
                                 .shape = {1, {1024}},
                                 .ticket = c,
                                 .scatter = c != 1,
                                 .from = -1,
                                 .to = -1,
                                 .n_parts = 1,
                                 .parts = &part};
            int goes_on = 1;
            if (p && comm->rank == p->culprit && step == BAD_STEP && c == p->n_calls) {
                LS_TRY(do_deed(comm, p, &call, &part, &goes_on));
                if (p->deed == DEED_LEAVE || p->deed == DEED_LEAVE_AFTER_START) return LS_OK;
            }
            if (goes_on) LS_TRY(run_call(comm, &call));
        }
    }
    return LS_OK;
}

/* How long the slowest took, told at the end: the promise is two seconds. Here it decides nothing, for a loaded machine may keep any
 * thread from running so long; `make chaos` holds the promise to account. A wait that ends for another reason has another sentence. */
static double slowest;

static void note_time(double took) {
    if (took > slowest) slowest = took;
}

/* What the sentence lacks, or NULL. */
static const char *find_lack(const char *message, const char *const *parts, int n) {
    for (int i = 0; i < n; i++)
        if (!strstr(message, parts[i])) return parts[i];
    return strchr(message, '\n') ? "an end in the same line" : NULL;
}

/* Everybody but the culprit failed with its rank, the host and its own place, in one line. */
static void check_blame(const plot *p, const outcome *out, int size) {
    char rank[32], host[64], last[80];
    (void)gethostname(host, sizeof host);
    (void)snprintf(rank, sizeof rank, "rank %d (pid ", p->culprit);
    for (int r = 0; r < size; r++) {
        if (r == p->culprit) continue;
        const char *message = out[r].message;
        (void)snprintf(last, sizeof last, "this is rank %d (pid ", r);
        const char *const parts[] = {rank, p->say, host, last, "step 12 "};
        const char *lack = find_lack(message, parts, 5);
        if (strncmp(message, rank, strlen(rank)) != 0) lack = rank;
        if (out[r].status != LS_ERR_COMM || lack)
            fail_msg("deed %d, %d ranks, rank %d: status %d '%s', which lacks '%s'", p->deed, size,
                     r, out[r].status, message, lack ? lack : "");
        if (p->deed != DEED_LATE) note_time(out[r].ended - *p->when);
    }
}

static const plot plots[] = {
    {DEED_OP, 1, 0, NULL,
     "started step 12 all_to_all \"h.3.attn\" (node 40, f32 [1024], 4096 bytes)"},
    {DEED_SHAPE, 0, 1, NULL, "all_gather \"h.3.attn\" (node 41, f32 [1025], 4096 bytes)"},
    {DEED_DTYPE, 2, 2, NULL, "reduce_scatter \"h.3.attn\" (node 42, bf16 [1024], 4096 bytes)"},
    {DEED_STEP, 1, 0, NULL, "started step 13 reduce_scatter"},
    {DEED_BYTES, 2, 1, NULL, "f32 [1024], 4092 bytes)"},
    {DEED_SKIP, 1, 0, NULL, "started step 12 all_gather \"h.3.attn\" (node 41, "},
    {DEED_SKIP, 0, 2, NULL, "started step 13 reduce_scatter \"h.3.attn\" (node 40, "},
    {DEED_EXTRA, 2, 1, NULL, "started step 12 all_gather \"h.3.attn\" (node 99, "},
    {DEED_LEAVE, 0, 1, NULL, "left without another collective"},
    {DEED_LEAVE_AFTER_START, 1, 2, NULL, "left before the others were done with it"},
    {DEED_ABORT, 1, 1, NULL,
     "gave up: the disk of this rank is full; its last collective was step 12"},
    {DEED_LATE, 2, 1, NULL, "is alive but late by 2."},
};

static const plot process_plots[] = {
    {DEED_OP, 1, 0, NULL, "started step 12 all_to_all \"h.3.attn\""},
    {DEED_KILL, 2, 1, NULL,
     "is dead: its process ended or was killed without a word; its last collective was step 12"},
    {DEED_KILL, 0, 2, NULL, "is dead: "},
    {DEED_EXIT, 1, 1, NULL, "is dead: "},
    {DEED_STOP, 1, 1, NULL, "is stopped (SIGSTOP or a debugger); its last collective was step 12 "},
};

static void test_threads(void **state) {
    (void)state;
    static const int sizes[] = {3, 4, 8};
    for (size_t i = 0; i < sizeof plots / sizeof *plots; i++) {
        double when = 0;
        outcome out[MAX_RANKS];
        plot p = plots[i];
        p.when = &when;
        const int size = sizes[i % 3];
        const ls_comm_options options = {.late_seconds = p.deed == DEED_LATE ? late_seconds : 0,
                                         .quiet = 1};
        run_threads(size, &options, behave, &p, out);
        check_blame(&p, out, size);
    }
}

/* With two ranks there is no majority: both sides are in the sentence, and the one that did not go on as in the step before
 * is the culprit. */
static void test_two_ranks(void **state) {
    (void)state;
    static const deed deeds[] = {DEED_OP,    DEED_SHAPE, DEED_DTYPE, DEED_STEP,
                                 DEED_BYTES, DEED_SKIP,  DEED_EXTRA};
    for (size_t i = 0; i < 2 * sizeof deeds / sizeof *deeds; i++) {
        double when = 0;
        char other[32];
        outcome out[MAX_RANKS];
        plot p = {deeds[i / 2], (int)(i % 2), (int)(i % 3), &when, "started step 12 "};
        run_threads(2, NULL, behave, &p, out);
        check_blame(&p, out, 2);
        (void)snprintf(other, sizeof other, ", but rank %d (pid ", 1 - p.culprit);
        assert_non_null(strstr(out[1 - p.culprit].message, other));
        assert_int_equal(out[p.culprit].status, LS_ERR_COMM);
        assert_non_null(strstr(out[p.culprit].message, "this is that rank"));
    }
}

static ls_status come_late(ls_comm *comm, void *user, outcome *out) {
    (void)user;
    (void)out;
    const ls_board *board = ls_shared_board(ls_shared_of(comm));
    const double until = ls_clock_seconds() + patience_seconds / 2;
    while (comm->rank == 1 && atomic_load(&board->warned_ms) == 0 && ls_clock_seconds() < until)
        usleep(1000);
    return ls_comm_exchange(comm, "here", NULL, 0, NULL);
}

/* Late until somebody is warned, but not too late: one line for all ranks, and the run goes on. */
static void test_warning(void **state) {
    (void)state;
    outcome out[MAX_RANKS];
    char text[4096] = "";
    FILE *file = tmpfile();
    const int kept = dup(STDERR_FILENO);
    assert_non_null(file);
    (void)dup2(fileno(file), STDERR_FILENO);
    run_threads(3, NULL, come_late, NULL, out);
    (void)dup2(kept, STDERR_FILENO);
    close(kept);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    (void)fclose(file);
    for (int r = 0; r < 3; r++)
        if (out[r].status != LS_OK) fail_msg("rank %d: %s", r, out[r].message);
    const char *const parts[] = {"warning: rank 1 (pid ", "is late by 2.", "ranks 0, 2 wait at "};
    for (int i = 0; i < 3; i++)
        if (!strstr(text, parts[i])) fail_msg("'%s' lacks '%s'", text, parts[i]);
    if (strstr(strstr(text, parts[0]) + 1, "warning: ")) fail_msg("'%s'", text);
}

/* Processes; the one that is stopped is ended afterwards. */
static void run_plot(const plot *p, const ls_comm_options *options, int size, outcome *out) {
    ls_job *job = NULL;
    pid_t pids[MAX_RANKS];
    memset(out, 0, (size_t)size * sizeof *out);
    assert_int_equal(ls_job_create(size, "blame", &job), LS_OK);
    for (int r = 0; r < size; r++) pids[r] = fork_rank(job, r, options, behave, (void *)p, &out[r]);
    for (int r = 0; r < size; r++)
        if (r != p->culprit) (void)waitpid(pids[r], NULL, 0);
    ls_rank_report report;
    ls_job_report(job, p->culprit, &report);
    if (p->deed == DEED_KILL) assert_int_equal(report.state, LS_RANK_DEAD);
    if (p->deed == DEED_STOP) assert_int_equal(report.state, LS_RANK_STOPPED);
    char sentence[1024];
    assert_int_equal(ls_job_failure(job, sentence), p->culprit);
    (void)kill(pids[p->culprit], SIGKILL);
    (void)waitpid(pids[p->culprit], NULL, 0);
    ls_job_destroy(job);
}

static void test_processes(void **state) {
    (void)state;
    outcome *out = shared_outcomes();
    double *when = (double *)(out + MAX_RANKS - 1);
    const ls_comm_options patient = {.quiet = 1};
    for (size_t i = 0; i < sizeof process_plots / sizeof *process_plots; i++) {
        plot p = process_plots[i];
        p.when = when;
        run_plot(&p, &patient, 4, out);
        check_blame(&p, out, 4);
    }
}

/* Found while the others compute: check() says it without any collective. */
static ls_status compute_on(ls_comm *comm, void *user, outcome *out) {
    const plot *p = user;
    (void)out;
    LS_TRY(ls_comm_exchange(comm, "here", NULL, 0, NULL));
    if (comm->rank == p->culprit) {
        *p->when = ls_clock_seconds();
        (void)kill(getpid(), SIGKILL);
    }
    const double until = ls_clock_seconds() + patience_seconds;
    while (ls_clock_seconds() < until) {
        LS_TRY(ls_comm_check(comm));
        usleep(1000);
    }
    return LS_OK;
}

static void test_death_during_compute(void **state) {
    (void)state;
    outcome *out = shared_outcomes();
    double *when = (double *)(out + MAX_RANKS - 1);
    const plot p = {DEED_KILL, 1, 0, when, ""};
    run_processes(3, NULL, compute_on, (void *)&p, out);
    static const char *const parts[] = {"rank 1 (pid ", "is dead: ", "exchange \"here\""};
    for (int r = 0; r < 3; r += 2) {
        const char *lack = find_lack(out[r].message, parts, 3);
        if (out[r].status != LS_ERR_COMM || lack)
            fail_msg("rank %d: status %d '%s', which lacks '%s'", r, out[r].status, out[r].message,
                     lack ? lack : "");
        note_time(out[r].ended - *when);
    }
}

/* A rank that ends before it opens its comm. */
static void test_death_before_joining(void **state) {
    (void)state;
    outcome *out = shared_outcomes();
    ls_job *job = NULL;
    memset(out, 0, MAX_RANKS * sizeof *out);
    assert_int_equal(ls_job_create(2, "blame", &job), LS_OK);
    const double begun = ls_clock_seconds();
    const pid_t survivor = fork_rank(job, 0, NULL, behave, NULL, &out[0]);
    const pid_t early = fork();
    if (early == 0) _exit(ls_job_enter(job, 1) != LS_OK);
    (void)waitpid(survivor, NULL, 0);
    static const char *const parts[] = {"rank 1 (pid ", "ended before it joined the run"};
    const char *lack = find_lack(out[0].message, parts, 2);
    if (out[0].status != LS_ERR_COMM || lack)
        fail_msg("status %d '%s', which lacks '%s'", out[0].status, out[0].message,
                 lack ? lack : "");
    note_time(ls_clock_seconds() - begun);
    (void)waitpid(early, NULL, 0);
    ls_job_destroy(job);
}

/* Two ranks end their calls in different orders: nobody is wrong, and all wait for each other. */
static ls_status wait_in_ring(ls_comm *comm, void *user, outcome *out) {
    (void)user;
    (void)out;
    ls_comm_call call = {.op = "barrier", .from = -1, .to = -1};
    LS_TRY(comm->ops->start(comm, &call));
    call.ticket = 1;
    LS_TRY(comm->ops->start(comm, &call));
    LS_TRY(comm->ops->finish(comm, comm->rank));
    return comm->ops->finish(comm, 1 - comm->rank);
}

static void test_ring(void **state) {
    (void)state;
    outcome out[MAX_RANKS];
    const ls_comm_options options = {.quiet = 1};
    run_threads(2, &options, wait_in_ring, NULL, out);
    for (int r = 0; r < 2; r++) {
        if (out[r].status != LS_ERR_COMM || !strstr(out[r].message, "in a ring of waiting ranks"))
            fail_msg("rank %d: status %d '%s'", r, out[r].status, out[r].message);
        note_time(out[r].ended - out[r].begun);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_two_ranks),
        cmocka_unit_test(test_warning),
        cmocka_unit_test(test_processes),
        cmocka_unit_test(test_death_during_compute),
        cmocka_unit_test(test_death_before_joining),
        cmocka_unit_test(test_ring),
    };
    const int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    print_message("the slowest was named after %.2f s\n", slowest);
    return n_failed;
}
