/* labels: slow timeout=240
 * Two keepers, as of two hosts, which copy each commit to each other by TCP: one goes, and the other has everything. */
#include "unit/keep/keep_run.h"
#include <arpa/inet.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { HOSTS = 2 };

typedef struct hosts {
    ls_keeper *keepers[HOSTS];
    char peers[128];
} hosts;

static void open_hosts(hosts *h, int copies) {
    size_t used = 0;
    for (int i = 0; i < HOSTS; i++) {
        const ls_keeper_options options = {.cookie = i ? ls_keeper_cookie(h->keepers[0]) : NULL,
                                           .listens = 1};
        check_ok(ls_keeper_start(&options, &h->keepers[i]));
        assert_true(ls_keeper_port(h->keepers[i]) > 0);
        used += (size_t)snprintf(h->peers + used, sizeof h->peers - used, "%s127.0.0.1:%d",
                                 i ? " " : "", ls_keeper_port(h->keepers[i]));
    }
    for (int i = 0; i < HOSTS; i++)
        check_ok(ls_keeper_set_peers(h->keepers[i], h->peers, i, copies));
    assert_int_equal(setenv("LOCKSTEP_KEEPERS", h->peers, 1), 0);
}

static void close_hosts(hosts *h) {
    for (int i = 0; i < HOSTS; i++) ls_keeper_stop(h->keepers[i]);
}

static void be_rank(ls_job *job, const attempt *a, ls_keeper *keeper, kept_rank *r) {
    assert_int_equal(setenv("LOCKSTEP_KEEPER", ls_keeper_offer(keeper), 1), 0);
    r->status = ls_job_enter(job, r->rank);
    if (r->status == LS_OK) r->status = ls_comm_open(NULL, &r->comm);
    r->a = a;
    if (r->status == LS_OK)
        run_kept_rank(r);
    else
        (void)snprintf(r->message, sizeof r->message, "%s", ls_error_message());
    if (r->status != LS_OK) ls_comm_abort(r->comm, r->message);
    ls_comm_close(r->comm);
    _exit(0);
}

typedef struct started {
    ls_job *job;
    kept_rank *ranks; /* in memory that they share with us */
    pid_t pids[MAX_RANKS];
    int size;
} started;

/* Ranks as processes, rank r on host host_of[r]. */
static started start_on_hosts(const hosts *h, const attempt *a, int64_t job_number,
                              const int *host_of) {
    started s = {.size = ls_mesh_size(&a->plan->mesh)};
    s.ranks = mmap(NULL, MAX_RANKS * sizeof *s.ranks, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(s.ranks, MAP_FAILED);
    set_number("LOCKSTEP_ATTEMPT", job_number);
    set_number("LOCKSTEP_RESTORE", a->restore);
    check_ok(ls_job_create(s.size, "test", &s.job));
    for (int r = 0; r < s.size; r++) {
        s.ranks[r] = (kept_rank){.rank = r, .status = LS_ERR_INTERNAL, .committed = -1};
        s.pids[r] = fork();
        if (s.pids[r] == 0) be_rank(s.job, a, h->keepers[host_of[r]], &s.ranks[r]);
    }
    return s;
}

static kept_rank *run_on_hosts(const hosts *h, const attempt *a, int64_t job_number,
                               const int *host_of) {
    const started s = start_on_hosts(h, a, job_number, host_of);
    for (int r = 0; r < s.size; r++) {
        int status = 0;
        (void)waitpid(s.pids[r], &status, 0);
        if (status != 0) fail_msg("rank %d ended with %d", r, status);
        if (s.ranks[r].status != LS_OK) fail_msg("rank %d: %s", r, s.ranks[r].message);
        if (s.ranks[r].wrong) fail_msg("rank %d: %lld wrong", r, (long long)s.ranks[r].wrong);
    }
    ls_job_destroy(s.job);
    return s.ranks;
}

static void forget(kept_rank *ranks) {
    (void)munmap(ranks, MAX_RANKS * sizeof *ranks);
}

/* ranks, zero, ranks of the next attempt, its zero; on which host each rank is; which host is lost */
typedef struct loss {
    int ranks, zero, next_ranks, next_zero, host_of[MAX_RANKS], lost;
} loss;
static const loss losses[] = {
    {2, 0, 1, 0, {0, 1}, 1},       {2, 1, 1, 1, {0, 1}, 0},
    {4, 3, 2, 3, {0, 0, 1, 1}, 1}, {4, 1, 4, 1, {0, 0, 1, 1}, 0},
    {4, 3, 1, 0, {0, 0, 0, 1}, 0}, {2, 3, 4, 2, {0, 0}, 0}, /* a spare host has it all */
};

static void check_loss(const loss *l) {
    hosts h = {0};
    const int left = 1 - l->lost;
    ls_plan *plan = make_plan(l->ranks, l->zero, 1),
            *next = make_plan(l->next_ranks, l->next_zero, 1);
    open_hosts(&h, 2);
    kept_rank *ranks = run_on_hosts(&h, &(attempt){plan, -1, .steps = 5}, 0, l->host_of);
    const int64_t copied = best_of(&h.keepers[left], 1);
    if (copied < 3) /* not more than one step is not copied yet */
        fail_msg("step %lld was copied when step 4 was committed", (long long)copied);
    await_best(h.keepers[left], 4);
    forget(ranks);
    ls_keeper_stop(h.keepers[l->lost]);
    h.keepers[l->lost] = NULL;

    const int there[MAX_RANKS] = {left, left, left, left, left, left, left, left};
    check_ok(ls_keeper_set_peers(h.keepers[left], h.peers, left, 1));
    ranks = run_on_hosts(&h, &(attempt){next, 4, .steps = 3}, 1, there);
    check_best(h.keepers[left], 7);
    forget(ranks);
    close_hosts(&h);
    ls_plan_destroy(plan);
    ls_plan_destroy(next);
}

static void test_host_is_lost(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++) check_loss(&losses[i]);
}

/* Both hosts live on, but every rank is on the other one: what it needs comes by TCP. */
static void test_read_from_other_host(void **state) {
    (void)state;
    hosts h = {0};
    ls_plan *plan = make_plan(2, 3, 1);
    open_hosts(&h, 1);
    forget(run_on_hosts(&h, &(attempt){plan, -1, .steps = 3}, 0, (const int[]){0, 1}));
    check_best(h.keepers[0], -1);
    assert_int_equal(best_of(h.keepers, 2), 2);
    kept_rank *ranks = run_on_hosts(&h, &(attempt){plan, 2, .steps = 2}, 1, (const int[]){1, 0});
    for (int r = 0; r < 2; r++) {
        assert_int_equal(ranks[r].stats.attached, 0);
        assert_true(ranks[r].stats.read_remote > 0);
        /* What all ranks hold is here too. */
        assert_true(ranks[r].stats.read_remote > ranks[r].stats.read_bytes * 9 / 10);
    }
    forget(ranks);
    json_t *all[HOSTS];
    int64_t step;
    const char *cookie = ls_keeper_cookie(h.keepers[0]);
    char address[64];
    for (int i = 0; i < HOSTS; i++) {
        (void)snprintf(address, sizeof address, "localhost:%d", ls_keeper_port(h.keepers[i]));
        check_ok(ls_keeper_ask(address, cookie, 5, &all[i]));
    }
    check_ok(ls_keeper_best_step(all, HOSTS, &step));
    assert_int_equal(step, 4);
    for (int i = 0; i < HOSTS; i++) json_decref(all[i]);
    close_hosts(&h);
    ls_plan_destroy(plan);
}

/* The neighbour takes connections and never says a word: the ranks wait for a few seconds, once. */
static void test_neighbour_is_silent(void **state) {
    (void)state;
    hosts h = {0};
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof any;
    char peers[128];
    const int silent = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(silent, (struct sockaddr *)&any, sizeof any), 0);
    assert_int_equal(listen(silent, 4), 0);
    assert_int_equal(getsockname(silent, (struct sockaddr *)&any, &bytes), 0);
    ls_plan *plan = make_plan(2, 3, 1);
    open_hosts(&h, 1);
    (void)snprintf(peers, sizeof peers, "127.0.0.1:%d 127.0.0.1:%d", ls_keeper_port(h.keepers[0]),
                   ntohs(any.sin_port));
    check_ok(ls_keeper_set_peers(h.keepers[0], peers, 0, 2));
    kept_rank *ranks = run_on_hosts(&h, &(attempt){plan, -1, .steps = 4}, 0, (const int[]){0, 0});
    assert_true(ranks[0].stats.wait_seconds > 1 || ranks[1].stats.wait_seconds > 1);
    /* It was the keeper that gave the neighbour up, not each rank by itself. */
    (void)pthread_mutex_lock(&h.keepers[0]->lock);
    assert_int_equal(h.keepers[0]->ring.was_lost, 1);
    (void)pthread_mutex_unlock(&h.keepers[0]->lock);
    check_best(h.keepers[0], 3);
    forget(ranks);
    close_hosts(&h);
    (void)close(silent);
    ls_plan_destroy(plan);
}

/* Nobody listens there. */
static void test_neighbour_is_not_there(void **state) {
    (void)state;
    hosts h = {0};
    char peers[128];
    ls_plan *plan = make_plan(2, 1, 1);
    open_hosts(&h, 1);
    (void)snprintf(peers, sizeof peers, "127.0.0.1:%d 127.0.0.1:1", ls_keeper_port(h.keepers[0]));
    check_ok(ls_keeper_set_peers(h.keepers[0], peers, 0, 2));
    forget(run_on_hosts(&h, &(attempt){plan, -1, .steps = 4}, 0, (const int[]){0, 0}));
    check_best(h.keepers[0], 3);
    check_fails(ls_keeper_set_peers(h.keepers[0], "nonsense also", 0, 2), LS_ERR_INVALID,
                "HOST:PORT");
    check_fails(ls_keeper_set_peers(h.keepers[0], peers, 2, 2), LS_ERR_INVALID,
                "keeper 2 of the 2");
    close_hosts(&h);
    ls_plan_destroy(plan);
}

enum { ROUNDS = 12, STEPS_AT_LEAST = 4, MOST_MICROSECONDS = 150000 };

/* Not all rounds end at any instant: in every other one the ranks make some steps first, however slow the machine. */
static void await_steps(const started *s, int64_t step) {
    const double until = ls_clock_seconds() + patience_seconds;
    int64_t committed = -1;
    while (committed < step && ls_clock_seconds() < until) {
        (void)usleep(100);
        for (int r = 0; r < s->size; r++)
            if (s->ranks[r].committed > committed) committed = s->ranks[r].committed;
    }
    if (committed < step)
        fail_msg("step %lld was committed, not %lld", (long long)committed, (long long)step);
}

/* A new keeper without memory takes the lost one's place. */
static void replace_host(hosts *h, int lost) {
    const ls_keeper_options options = {.cookie = ls_keeper_cookie(h->keepers[1 - lost]),
                                       .listens = 1};
    ls_keeper_stop(h->keepers[lost]);
    h->keepers[lost] = NULL;
    check_ok(ls_keeper_start(&options, &h->keepers[lost]));
    (void)snprintf(h->peers, sizeof h->peers, "127.0.0.1:%d 127.0.0.1:%d",
                   ls_keeper_port(h->keepers[0]), ls_keeper_port(h->keepers[1]));
    assert_int_equal(setenv("LOCKSTEP_KEEPERS", h->peers, 1), 0);
}

/* All ranks and one host's keeper are killed at any instant: what a rank committed, or at least the step before it, is complete on the
 * other host. */
static void test_kill_hosts(void **state) {
    (void)state;
    hosts h = {0};
    ls_plan *plan = make_plan(4, 3, 1);
    int64_t best = -1, first = -1;
    int fresh = 0;
    open_hosts(&h, 2);
    for (int i = 0; i < ROUNDS; i++) {
        const ls_rng_key key = {23, 0, (uint64_t)i};
        const attempt a = {plan, best, .steps = INT32_MAX};
        for (int k = 0; k < HOSTS; k++) {
            check_ok(ls_keeper_begin_job(h.keepers[k], i, 4));
            check_ok(ls_keeper_set_peers(h.keepers[k], h.peers, k, 2));
        }
        const started s = start_on_hosts(&h, &a, i, (const int[]){0, 0, 1, 1});
        if (i % 2 == 0) await_steps(&s, best + STEPS_AT_LEAST);
        (void)usleep((useconds_t)ls_rng_below(key, 0, MOST_MICROSECONDS));
        int64_t committed = best;
        for (int r = 0; r < 4; r++) (void)kill(s.pids[r], SIGKILL);
        for (int r = 0; r < 4; r++) {
            (void)waitpid(s.pids[r], NULL, 0);
            if (s.ranks[r].wrong)
                fail_msg("round %d, rank %d: %lld wrong at step %lld", i, r,
                         (long long)s.ranks[r].wrong, (long long)best);
            if (s.ranks[r].committed > committed) committed = s.ranks[r].committed;
        }
        ls_job_destroy(s.job);
        forget(s.ranks);
        /* Until there is a new step there are no two copies either: then the new host goes again. */
        const int lost = committed > best ? (int)ls_rng_below(key, 1, HOSTS) : fresh;
        const int64_t left = best_of(&h.keepers[1 - lost], 1);
        if (left < committed - 1 || left < best)
            fail_msg("round %d (host %d lost, %d fresh, from step %lld): step %lld is left of %lld",
                     i, lost, fresh, (long long)best, (long long)left, (long long)committed);
        best = left;
        if (i == 0) first = best;
        replace_host(&h, lost);
        fresh = lost;
    }
    if (best < first + (ROUNDS / 2 - 1) * (STEPS_AT_LEAST - 1))
        fail_msg("from step %lld to %lld only", (long long)first, (long long)best);
    close_hosts(&h);
    ls_plan_destroy(plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host_is_lost),           cmocka_unit_test(test_kill_hosts),
        cmocka_unit_test(test_read_from_other_host),   cmocka_unit_test(test_neighbour_is_silent),
        cmocka_unit_test(test_neighbour_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
