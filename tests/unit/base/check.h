/* What most unit tests want: cmocka, checks of a status with its message, scratch paths, allocation torture. */
#ifndef LS_TESTS_CHECK_H
#define LS_TESTS_CHECK_H
#include "base/alloc.h"
#include "lockstep/status.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* last: cmocka wants the headers above */
#include <cmocka.h>

#define check_ok(call)                                                                         \
    do {                                                                                       \
        const ls_status check_status_ = (call);                                                \
        if (check_status_ != LS_OK)                                                            \
            fail_msg("%s: %s: %s", #call, ls_status_words(check_status_), ls_error_message()); \
    } while (0)

/* The call fails with `code` and its message contains `part`. */
#define check_fails(call, code, part)                                                           \
    do {                                                                                        \
        ls_error_clear();                                                                       \
        const ls_status check_status_ = (call);                                                 \
        if (check_status_ != (code) || !strstr(ls_error_message(), (part)))                     \
            fail_msg("%s: got \"%s\" with \"%s\"; wanted \"%s\" with \"%s\"", #call,            \
                     ls_status_words(check_status_), ls_error_message(), ls_status_words(code), \
                     (part));                                                                   \
    } while (0)

/* A path in the scratch folder of the run, of this process alone. Valid until the fourth call after it. */
static inline const char *check_path(const char *name) {
    static char paths[4][512];
    static int next;
    const char *folder = getenv("LS_TEST_TMP");
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%ld-%s", folder ? folder : "/tmp", (long)getpid(), name);
    return path;
}

typedef ls_status (*check_scenario_fn)(void *user);

/* Runs the scenario with its 1st, 2nd, 3rd... allocation failing, until it no longer asks for that many. Each failure
 * must come out as LS_ERR_NO_MEMORY with a message, and leave nothing allocated. Returns the allocations of a good run. */
static inline int64_t check_torture(check_scenario_fn scenario, void *user) {
    for (int64_t n = 1; n < 100000; n++)
        for (int sticky = 0; sticky < 2; sticky++) {
            const ls_alloc_stats before = ls_alloc_get_stats();
            ls_error_clear();
            ls_alloc_fail_at(n, sticky);
            const ls_status status = scenario(user);
            ls_alloc_fail_at(0, 0);
            const ls_alloc_stats after = ls_alloc_get_stats();
            if (after.n_live != before.n_live)
                fail_msg("allocation %lld failing leaks %lld blocks", (long long)n,
                         (long long)(after.n_live - before.n_live));
            if (after.n_calls - before.n_calls < n) {
                check_ok(status);
                return n - 1;
            }
            if (status != LS_ERR_NO_MEMORY || ls_error_message()[0] == '\0')
                fail_msg("allocation %lld failing gives \"%s\" with \"%s\"", (long long)n,
                         ls_status_words(status), ls_error_message());
        }
    fail_msg("the scenario never ends");
    return -1;
}

#endif
