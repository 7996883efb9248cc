/* labels: slow timeout=240
 * Two keepers, as of two hosts, which copy each commit to each other by TCP: one goes, and the other has everything. */
#include "unit/keep/keep_run.h"
#include <arpa/inet.h>
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

/* Ranks as processes, rank r on host host_of[r]. Their results are in memory that they share with us. */
static kept_rank *run_on_hosts(const hosts *h, const attempt *a, int64_t job_number,
                               const int *host_of) {
    const int size = ls_mesh_size(&a->plan->mesh);
    ls_job *job = NULL;
    pid_t pids[MAX_RANKS];
    kept_rank *ranks = mmap(NULL, MAX_RANKS * sizeof *ranks, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(ranks, MAP_FAILED);
    set_number("LOCKSTEP_ATTEMPT", job_number);
    set_number("LOCKSTEP_RESTORE", a->restore);
    check_ok(ls_job_create(size, "test", &job));
    for (int r = 0; r < size; r++) {
        ranks[r] = (kept_rank){.rank = r, .status = LS_ERR_INTERNAL};
        pids[r] = fork();
        if (pids[r] == 0) be_rank(job, a, h->keepers[host_of[r]], &ranks[r]);
    }
    for (int r = 0; r < size; r++) {
        int status = 0;
        (void)waitpid(pids[r], &status, 0);
        if (status != 0) fail_msg("rank %d ended with %d", r, status);
        if (ranks[r].status != LS_OK) fail_msg("rank %d: %s", r, ranks[r].message);
        if (ranks[r].wrong) fail_msg("rank %d: %lld wrong", r, (long long)ranks[r].wrong);
    }
    ls_job_destroy(job);
    return ranks;
}

static void forget(kept_rank *ranks) {
    (void)munmap(ranks, MAX_RANKS * sizeof *ranks);
}

/* The last step's copies may still be on their way. */
static void await_best(ls_keeper *keeper, int64_t step) {
    const double until = ls_clock_seconds() + 10;
    while (best_of(&keeper, 1) != step && ls_clock_seconds() < until) (void)usleep(1000);
    assert_int_equal(best_of(&keeper, 1), step);
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
    kept_rank *ranks = run_on_hosts(&h, &(attempt){plan, -1, 5, 0}, 0, l->host_of);
    assert_true(best_of(&h.keepers[left], 1) >= 3); /* not more than one step is not copied yet */
    await_best(h.keepers[left], 4);
    forget(ranks);
    ls_keeper_stop(h.keepers[l->lost]);
    h.keepers[l->lost] = NULL;

    const int there[MAX_RANKS] = {left, left, left, left, left, left, left, left};
    check_ok(ls_keeper_set_peers(h.keepers[left], h.peers, left, 1));
    ranks = run_on_hosts(&h, &(attempt){next, 4, 3, 0}, 1, there);
    assert_int_equal(best_of(&h.keepers[left], 1), 7);
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
    forget(run_on_hosts(&h, &(attempt){plan, -1, 3, 0}, 0, (const int[]){0, 1}));
    assert_int_equal(best_of(h.keepers, 1), -1);
    assert_int_equal(best_of(h.keepers, 2), 2);
    kept_rank *ranks = run_on_hosts(&h, &(attempt){plan, 2, 2, 0}, 1, (const int[]){1, 0});
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
    const double begun = ls_clock_seconds();
    kept_rank *ranks = run_on_hosts(&h, &(attempt){plan, -1, 4, 0}, 0, (const int[]){0, 0});
    assert_true(ls_clock_seconds() - begun < 30);
    assert_true(ranks[0].stats.wait_seconds > 1 || ranks[1].stats.wait_seconds > 1);
    assert_int_equal(best_of(h.keepers, 1), 3);
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
    forget(run_on_hosts(&h, &(attempt){plan, -1, 4, 0}, 0, (const int[]){0, 0}));
    assert_int_equal(best_of(h.keepers, 1), 3);
    check_fails(ls_keeper_set_peers(h.keepers[0], "nonsense also", 0, 2), LS_ERR_INVALID,
                "HOST:PORT");
    check_fails(ls_keeper_set_peers(h.keepers[0], peers, 2, 2), LS_ERR_INVALID,
                "keeper 2 of the 2");
    close_hosts(&h);
    ls_plan_destroy(plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host_is_lost),
        cmocka_unit_test(test_read_from_other_host),
        cmocka_unit_test(test_neighbour_is_silent),
        cmocka_unit_test(test_neighbour_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
