/* The hosts of an elastic run: the file as it changes, keepers that come and go, with a shell script in the place of the agent and keepers
 * of this host under several addresses. */
#include "base/clock.h"
#include "base/fs.h"
#include "cli/cmd_run_hosts_list.h"
#include "unit/base/check.h"
#include <errno.h>
#include <signal.h>
#include <time.h>

static char offer[96];
/* A keeper's name is one of its host's: those under other addresses get other ones. */
static const char agent_script[] = "#!/bin/sh\n"
                                   "case $1 in\n"
                                   "127.0.0.9) echo 'no route'; exit 1 ;;\n"
                                   "127.0.0.1) exec sh -c \"exec $2\" ;;\n"
                                   "*) sed -u \"1s/^/$1-/\" 2>/dev/null | sh -c \"exec $2\" ;;\n"
                                   "esac\n";

static char file[512], agent[600];

static void write_file(const char *text) {
    check_ok(ls_file_write_atomic(file, text, strlen(text)));
}

static ls_run_keepers make_keepers(void) {
    char script[512];
    (void)snprintf(script, sizeof script, "%s", check_path("agent.sh"));
    (void)snprintf(file, sizeof file, "%s", check_path("hosts"));
    check_ok(ls_file_write_atomic(script, agent_script, sizeof agent_script - 1));
    (void)snprintf(agent, sizeof agent, "sh %s", script);
    (void)snprintf(offer, sizeof offer, "list-%d 0123456789abcdef0123456789abcdef", (int)getpid());
    return (ls_run_keepers){agent, getenv("LS_TEST_PROGRAM"), offer};
}

static int remove_files(void **state) {
    (void)state;
    (void)unlink(check_path("agent.sh"));
    (void)unlink(check_path("hosts"));
    return 0;
}

/* "name:slots" of each, those that the file no longer names in brackets, those that are up with a plus. */
static const char *print_list(const ls_hosts_list *list) {
    static char text[512];
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < list->n; i++) {
        const ls_run_host *h = list->hosts[i];
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s%s:%d%s%s", i ? " " : "",
                                 h->is_wanted ? "" : "[", h->line.name, h->line.slots,
                                 h->state == LS_HOST_UP ? "+" : "", h->is_wanted ? "" : "]");
    }
    return text;
}

static void tend_until(ls_hosts_list *list, const char *wanted) {
    const struct timespec moment = {.tv_nsec = 5000000};
    const double end = ls_clock_seconds() + 60;
    while (strcmp(print_list(list), wanted) != 0) {
        if (ls_clock_seconds() > end) fail_msg("%s; wanted %s", print_list(list), wanted);
        ls_hosts_list_tend(list);
        (void)nanosleep(&moment, NULL);
    }
}

static int count_up(const ls_hosts_list *list, int wanted) {
    ls_run_host *up[8];
    assert_true(list->n <= 8);
    return ls_hosts_list_up(list, wanted, up);
}

static void test_files_that_are_refused(void **state) {
    (void)state;
    const ls_run_keepers keepers = make_keepers();
    static const struct {
        const char *text;
        size_t bytes;
        ls_status status;
        const char *says;
    } cases[] = {
        {NULL, 0, LS_ERR_NOT_FOUND, "cannot open"},
        {"a\0b", 3, LS_ERR_FORMAT, "no text: it holds a NUL"},
        {"a\nb slots=0\n", 12, LS_ERR_FORMAT, ":2: slots=0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ls_hosts_list list = {0};
        (void)unlink(file);
        if (cases[i].text) check_ok(ls_file_write_atomic(file, cases[i].text, cases[i].bytes));
        check_fails(ls_hosts_list_open(&list, file, &keepers), cases[i].status, cases[i].says);
        assert_int_equal(list.n, 0);
        ls_hosts_list_close(&list);
    }
}

/* Old hosts stay the objects that they are, whatever the file does. */
static void test_the_file_changes(void **state) {
    (void)state;
    const ls_run_keepers keepers = make_keepers();
    ls_hosts_list list = {0};
    char *addresses = NULL;
    int64_t step = 5;
    write_file("127.0.0.1 slots=2\n127.0.0.2\n");
    check_ok(ls_hosts_list_open(&list, file, &keepers));
    assert_string_equal(print_list(&list), "127.0.0.1:2 127.0.0.2:1");
    assert_true(ls_hosts_list_is_settling(&list, 30));
    check_ok(ls_hosts_list_addresses(&list, &addresses));
    assert_string_equal(addresses, "");
    ls_free(addresses);
    tend_until(&list, "127.0.0.1:2+ 127.0.0.2:1+");
    assert_false(ls_hosts_list_is_settling(&list, 30));
    assert_int_equal(list.n_changes, 2);
    const ls_run_host *first = list.hosts[0], *second = list.hosts[1];

    write_file("127.0.0.2 slots=4\n127.0.0.3\n");
    tend_until(&list, "127.0.0.2:4+ 127.0.0.3:1+ [127.0.0.1:2+]");
    assert_ptr_equal(list.hosts[0], second);
    assert_ptr_equal(list.hosts[2], first);
    assert_int_equal(count_up(&list, 1), 2);
    assert_int_equal(count_up(&list, 0), 3);
    assert_int_equal(list.n_changes, 3);
    check_ok(ls_hosts_list_addresses(&list, &addresses));
    assert_ptr_equal(strstr(addresses, "127.0.0.2:"), addresses);
    assert_non_null(strstr(addresses, " 127.0.0.1:"));
    ls_free(addresses);
    check_ok(ls_hosts_list_best_step(&list, NULL, &step));
    assert_int_equal(step, -1);
    check_ok(ls_hosts_list_best_step(&list, first, &step));

    /* What cannot be read changes nothing; nor does a file that is not there for a moment. */
    write_file("127.0.0.2 slots=many\n");
    list.next_look = 0;
    ls_hosts_list_tend(&list);
    assert_string_equal(print_list(&list), "127.0.0.2:4+ 127.0.0.3:1+ [127.0.0.1:2+]");
    (void)unlink(file);
    list.next_look = 0;
    ls_hosts_list_tend(&list);
    assert_string_equal(print_list(&list), "127.0.0.2:4+ 127.0.0.3:1+ [127.0.0.1:2+]");

    /* One that comes back is the one that was held; the others are let go. */
    write_file("127.0.0.1\n");
    tend_until(&list, "127.0.0.1:1+ [127.0.0.2:4+] [127.0.0.3:1+]");
    assert_ptr_equal(list.hosts[0], first);
    ls_hosts_list_drop(&list);
    assert_string_equal(print_list(&list), "127.0.0.1:1+");
    assert_int_equal(list.n_changes, 5);
    ls_hosts_list_drop(&list);
    assert_int_equal(list.n_changes, 5);
    ls_hosts_list_close(&list);
    assert_int_equal(list.n, 0);
}

/* A keeper that is killed is started again at once; a host that cannot be reached does not hold the others up. */
static void test_hosts_come_and_go(void **state) {
    (void)state;
    const ls_run_keepers keepers = make_keepers();
    ls_hosts_list list = {0};
    write_file("127.0.0.9\n127.0.0.1\n");
    check_ok(ls_hosts_list_open(&list, file, &keepers));
    tend_until(&list, "127.0.0.9:1 127.0.0.1:1+");
    for (int i = 0;
         i < 1000 && (list.hosts[0]->n_tries < 2 || list.hosts[0]->state != LS_HOST_DOWN); i++) {
        ls_hosts_list_tend(&list);
        (void)usleep(10000);
    }
    assert_true(list.hosts[0]->n_tries >= 2);
    assert_string_equal(list.hosts[0]->said, "no keeper: no route");
    assert_true(list.hosts[0]->next_try > list.hosts[0]->since);
    assert_false(ls_hosts_list_is_settling(&list, 30));

    const int64_t killed = list.hosts[1]->keeper;
    assert_true(killed > 1);
    assert_int_equal(kill((pid_t)killed, SIGKILL), 0);
    tend_until(&list, "127.0.0.9:1 127.0.0.1:1");
    assert_true(list.hosts[1]->was_lost);
    assert_non_null(strstr(list.hosts[1]->lost, "its keeper has ended"));
    tend_until(&list, "127.0.0.9:1 127.0.0.1:1+");
    assert_true(list.hosts[1]->keeper != killed);
    assert_int_equal(list.n_changes, 3);
    ls_hosts_list_close(&list);
}

/* Without memory there is no list, and nothing of it. */
static ls_status open_alone(void *user) {
    ls_hosts_list list = {0};
    const ls_status status = ls_hosts_list_open(&list, file, user);
    assert_true(status == LS_OK ? list.n == 2 : list.n == 0);
    ls_hosts_list_close(&list);
    return status;
}

static void test_no_memory(void **state) {
    (void)state;
    ls_run_keepers keepers = make_keepers();
    write_file("a\nb slots=2\n");
    assert_true(check_torture(open_alone, &keepers) > 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_files_that_are_refused, remove_files),
        cmocka_unit_test_teardown(test_the_file_changes, remove_files),
        cmocka_unit_test_teardown(test_hosts_come_and_go, remove_files),
        cmocka_unit_test_teardown(test_no_memory, remove_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
