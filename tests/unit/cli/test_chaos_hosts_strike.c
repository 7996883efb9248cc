/* Blows against hosts: what the seed draws, which of them memory covers, how far a run is, and that what was taken away comes back. */
#include "base/clock.h"
#include "base/fs.h"
#include "cli/cmd_chaos_hosts_strike.h"
#include "unit/base/check.h"
#include <signal.h>
#include <time.h>

enum { N_DRAWN = 360 };

static const ls_host_field field = {
    .kinds = UINT32_MAX, .first_step = 2, .step = 0.1, .longest = 8};

static void test_the_seed_decides(void **state) {
    (void)state;
    int n_different = 0;
    for (int64_t i = 0; i < N_DRAWN; i++) {
        ls_host_strike a, b, c;
        ls_host_strike_draw(1, i, &field, &a);
        ls_host_strike_draw(1, i, &field, &b);
        ls_host_strike_draw(2, i, &field, &c);
        assert_memory_equal(&a, &b, sizeof a);
        n_different += a.pick != c.pick || a.aim != c.aim || a.delay != c.delay;
    }
    assert_true(n_different > N_DRAWN / 2);
}

static void test_draws_cover_everything(void **state) {
    (void)state;
    int kinds[LS_HOST_STRIKE_COUNT] = {0}, aims[LS_HOST_AIM_COUNT] = {0}, n_short = 0;
    for (int64_t i = 0; i < N_DRAWN; i++) {
        ls_host_strike s;
        ls_host_strike_draw(7, i, &field, &s);
        kinds[s.kind]++;
        aims[s.aim]++;
        assert_true(s.delay >= 0 && s.delay <= 2);
        if (ls_host_strike_is_of_link(s.kind)) {
            assert_true(s.seconds >= 0.2 && s.seconds <= 8);
            n_short += s.seconds < 2.5; /* what a run may outlast */
        } else {
            assert_true(s.seconds == 0);
        }
    }
    for (int k = 0; k < LS_HOST_STRIKE_COUNT; k++) assert_true(kinds[k] >= N_DRAWN / 12);
    for (int a = 0; a < LS_HOST_AIM_COUNT; a++) assert_true(aims[a] > N_DRAWN / 6);
    assert_true(n_short > 20 && n_short < kinds[LS_HOST_STRIKE_LINK]);
    assert_null(ls_host_strike_names[LS_HOST_STRIKE_COUNT]);
    assert_null(ls_host_instant_names[LS_HOST_INSTANT_COUNT]);
}

static void test_kinds_asked_for(void **state) {
    (void)state;
    ls_host_field some = field;
    some.kinds = 1u << LS_HOST_STRIKE_LINK | 1u << LS_HOST_STRIKE_KEEPER;
    int kinds[LS_HOST_STRIKE_COUNT] = {0};
    for (int64_t i = 0; i < 14; i++) {
        ls_host_strike s;
        ls_host_strike_draw(7, i, &some, &s);
        kinds[s.kind]++;
    }
    assert_int_equal(kinds[LS_HOST_STRIKE_LINK], 10);
    assert_int_equal(kinds[LS_HOST_STRIKE_KEEPER], 4);
}

static void test_what_memory_covers(void **state) {
    (void)state;
    static const struct {
        ls_host_strike_kind kind;
        int64_t copies, zero;
        int n_up, others, covered;
    } cases[] = {
        {LS_HOST_STRIKE_RANKS, 1, 3, 1, 0, 1},  /* their memory stays */
        {LS_HOST_STRIKE_SLOW, 1, 3, 1, 1, 1},   /* nothing goes */
        {LS_HOST_STRIKE_KEEPER, 2, 3, 2, 0, 1}, /* on the neighbour */
        {LS_HOST_STRIKE_KEEPER, 2, 3, 4, 1, 0}, /* its neighbour's copies may not be there yet */
        {LS_HOST_STRIKE_BOTH, 2, 1, 1, 0, 0},   /* nobody is left */
        {LS_HOST_STRIKE_LINK, 1, 1, 4, 0, 0},   /* one copy of a part */
        {LS_HOST_STRIKE_LINK, 1, 0, 4, 0, 1},   /* everybody has everything */
        {LS_HOST_STRIKE_LINK, 0, 0, 4, 0, 0},   /* nothing is kept */
        {LS_HOST_STRIKE_LINK, 2, 2, 4, 0, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (ls_host_strike_is_covered(cases[i].kind, cases[i].copies, cases[i].zero, cases[i].n_up,
                                      cases[i].others) != cases[i].covered)
            fail_msg("case %zu", i);
}

static void test_progress(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t step;
    } cases[] = {
        {"", -1},
        {"{\"kind\":\"step\",\"step\":7", -1},
        {"{\"kind\":\"step\",\"step\":7}\n", 7},
        {"{\"step\":7}\n{\"step\":12,\"x\":1}\n", 12},
        {"{\"step\":7}\n{\"step\":12,\"x\":1}\n{\"step\":1", 12},
        {"{\"step\":7}\n{\"loss\":1}\n", -1},
    };
    const char *path = check_path("metrics.jsonl");
    ls_host_progress p;
    ls_host_progress_read(path, &p);
    assert_int_equal(p.step, -1);
    assert_int_equal(p.inode, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_ok(ls_file_write_atomic(path, cases[i].text, strlen(cases[i].text)));
        ls_host_progress_read(path, &p);
        assert_int_equal(p.step, cases[i].step);
        assert_int_equal(p.bytes, strlen(cases[i].text));
    }
    ls_text text = {0};
    for (int i = 0; i <= 1000; i++) ls_text_append(&text, "{\"kind\":\"step\",\"step\":%d}\n", i);
    check_ok(ls_file_write_atomic(path, text.data, text.size));
    ls_text_deinit(&text);
    ls_host_progress_read(path, &p);
    assert_int_equal(p.step, 1000);
    unlink(path);
}

/* --- commands --- */

static int run_here(const char *text) {
    ls_chaos_command command = {0};
    check_ok(ls_chaos_command_start(&command, NULL, NULL, text));
    return ls_chaos_command_await(&command);
}

static void test_commands(void **state) {
    (void)state;
    assert_int_equal(run_here("exit 7"), 7);
    assert_int_equal(run_here("kill -9 $$"), 128 + 9);
    assert_int_equal(run_here("read line; test -z \"$line\""), 0);
    /* An agent gets the host and one word. */
    ls_chaos_command command = {0};
    const char *path = check_path("agent");
    char text[700];
    snprintf(text, sizeof text,
             "#!/bin/sh\ntest $# = 3 || exit 1\n[ $1 = -x ] || exit 2\nshift\n"
             "test $1 = far || exit 3\nsh -c \"$2\"\n");
    check_ok(ls_file_write_atomic(path, text, strlen(text)));
    snprintf(text, sizeof text, "sh %s -x", path);
    check_ok(ls_chaos_command_start(&command, text, "far", "test 'a b' = \"a b\" && exit 9"));
    assert_int_equal(ls_chaos_command_await(&command), 9);
    unlink(path);
    check_fails(ls_chaos_command_start(&command, "/no/such/agent", "far", "true"), LS_ERR_IO,
                "no command for far can be started");
    int status = 5;
    assert_true(ls_chaos_command_is_over(&command, &status));
    assert_int_equal(status, 5);
}

static int await_file(const char *path, int wanted) {
    const struct timespec moment = {.tv_nsec = 10000000};
    for (int i = 0; i < 1000 && ls_path_exists(path) != wanted; i++) nanosleep(&moment, NULL);
    return ls_path_exists(path) == wanted;
}

/* A file is the link. The command is over at once; its group is killed; what it took comes back all the same. */
static void test_links_come_back(void **state) {
    (void)state;
    char down[1400], up[700], pids[600], *text = NULL;
    const char *link_path = check_path("link-a"), *pid_path = check_path("pid");
    const size_t n = strlen(link_path) - 1;
    snprintf(pids, sizeof pids, "%s", pid_path);
    snprintf(down, sizeof down, "rm %.*s%%h; echo $$ >%s", (int)n, link_path, pids);
    snprintf(up, sizeof up, "touch '%.*s%%h'", (int)n, link_path);
    const ls_chaos_link link = {.device = "eth0", .down = down, .up = up};
    assert_int_equal(run_here("true"), 0);
    check_ok(ls_chaos_link_check_drop_text(&link, "a", &text));
    assert_int_equal(run_here(text), 0);
    ls_free(text);
    assert_true(ls_path_exists(link_path));
    check_ok(ls_chaos_link_drop_text(&link, "a", 0.5, &text));
    const double begun = ls_clock_seconds();
    assert_int_equal(run_here(text), 0);
    ls_free(text);
    assert_true(await_file(pids, 1));
    assert_false(ls_path_exists(link_path));
    char *pid = NULL;
    size_t bytes;
    do check_ok((ls_free(pid), ls_file_read(pids, &pid, &bytes)));
    while (bytes == 0);
    /* Not of our session, and deaf to whoever ends sessions. */
    assert_true(getsid((pid_t)strtol(pid, NULL, 10)) != getsid(0));
    for (int i = 0; i < 3; i++)
        (void)kill((pid_t)strtol(pid, NULL, 10), (int[]){SIGHUP, SIGINT, SIGTERM}[i]);
    ls_free(pid);
    assert_true(await_file(link_path, 1));
    assert_true(ls_clock_seconds() - begun >= 0.5);
    unlink(link_path);
    unlink(pids);
}

static void test_texts(void **state) {
    (void)state;
    const ls_chaos_link link = {.device = "ib0"};
    char *text = NULL;
    check_ok(ls_chaos_link_drop_text(&link, "a", 1.25, &text));
    assert_non_null(strstr(text, "ip link set ib0 down; sleep 1.250;"));
    assert_non_null(strstr(text, "ip link set ib0 up"));
    assert_non_null(strstr(text, "setsid"));
    ls_free(text);
    check_ok(ls_chaos_link_slow_text(&link, 2, &text));
    assert_non_null(strstr(text, "tc qdisc add dev ib0 root"));
    assert_non_null(strstr(text, "tc qdisc del dev ib0 root"));
    ls_free(text);
    check_ok(ls_chaos_link_check_slow_text(&link, &text));
    assert_non_null(strstr(text, "&& tc qdisc del dev ib0 root"));
    ls_free(text);
    check_ok(ls_chaos_link_check_drop_text(&link, "a", &text));
    assert_string_equal(text, "ip link set ib0 up");
    ls_free(text);
}

static ls_status make_texts(void *user) {
    const ls_chaos_link *link = user;
    char *texts[4] = {0};
    ls_status status = ls_chaos_link_drop_text(link, "host", 1, &texts[0]);
    if (status == LS_OK) status = ls_chaos_link_slow_text(link, 1, &texts[1]);
    if (status == LS_OK) status = ls_chaos_link_check_drop_text(link, "host", &texts[2]);
    if (status == LS_OK) status = ls_chaos_link_check_slow_text(link, &texts[3]);
    for (int i = 0; i < 4; i++) ls_free(texts[i]);
    return status;
}

static void test_no_memory(void **state) {
    (void)state;
    ls_chaos_link link = {.device = "eth0"}, own = {.device = "eth0", .down = "d %h", .up = "u %h"};
    check_torture(make_texts, &link);
    check_torture(make_texts, &own);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_seed_decides), cmocka_unit_test(test_draws_cover_everything),
        cmocka_unit_test(test_kinds_asked_for),  cmocka_unit_test(test_what_memory_covers),
        cmocka_unit_test(test_progress),         cmocka_unit_test(test_commands),
        cmocka_unit_test(test_links_come_back),  cmocka_unit_test(test_texts),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
