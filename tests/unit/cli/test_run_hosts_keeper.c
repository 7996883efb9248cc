/* A host as its controller sees it, with a shell script in the place of agent and keeper. */
#include "base/clock.h"
#include "base/fs.h"
#include "cli/cmd_run_hosts_keeper.h"
#include "unit/base/check.h"
#include <time.h>

/* Says that a keeper is there; refuses each line that begins with "job". */
static const char script[] =
    "#!/bin/sh\nread -r offer\necho '{\"port\": 1, \"pid\": 4711, \"cpus\": 3}'\n"
    "while read -r verb number; do\n"
    "    case $verb in\n"
    "    job) echo \"{\\\"error\\\": \\\"job $number is late\\\"}\" ;;\n"
    "    *) echo '{\"ranks\": 2, \"sent\": 1}' ;;\n"
    "    esac\ndone\n";

static const ls_run_keepers *keepers_of(char agent[600]) {
    static ls_run_keepers keepers;
    const char *path = check_path("keeper.sh");
    check_ok(ls_file_write_atomic(path, script, sizeof script - 1));
    snprintf(agent, 600, "sh %s", path);
    keepers = (ls_run_keepers){agent, "/bin/true", "name 00000000000000000000000000000000"};
    return &keepers;
}

/* Until the host has answered so many lines. */
static void await(ls_run_host *host, const ls_run_keepers *keepers, int n_answered) {
    const struct timespec moment = {.tv_nsec = 1000000};
    const double end = ls_clock_seconds() + 60;
    while ((!host->pulse || host->n_answered < n_answered) && ls_clock_seconds() < end) {
        ls_run_host_check(host, keepers);
        if (host->state == LS_HOST_DOWN) fail_msg("down: %s", host->reason);
        (void)nanosleep(&moment, NULL);
    }
    assert_int_equal(host->n_answered, n_answered);
}

static void test_a_refusal_that_is_overtaken(void **state) {
    (void)state;
    char agent[600];
    const ls_run_keepers *keepers = keepers_of(agent);
    const ls_host_line line = {.name = "127.0.0.1", .slots = 1};
    ls_run_host *host = NULL;
    check_ok(ls_run_host_create(&line, &host));
    ls_run_host_start(host, keepers);
    await(host, keepers, 0);
    assert_int_equal(host->keeper * 10 + host->cpus, 47113);
    ls_run_host_tell(host, "signal a 0");
    ls_run_host_tell(host, "job 1");
    await(host, keepers, 2);
    assert_int_equal(host->n_ranks * 10 + host->n_sent, 21);
    assert_string_equal(host->refusal, "job 1 is late");
    /* What was refused, and what is yet to be, is of an attempt that is over. */
    ls_run_host_tell(host, "job 2");
    ls_run_host_forget_told(host);
    assert_string_equal(host->refusal, "");
    await(host, keepers, 3);
    assert_string_equal(host->refusal, "");
    ls_run_host_tell(host, "job 3");
    await(host, keepers, 4);
    assert_string_equal(host->refusal, "job 3 is late");
    ls_run_host_destroy(host);
    unlink(strchr(agent, '/'));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_refusal_that_is_overtaken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
