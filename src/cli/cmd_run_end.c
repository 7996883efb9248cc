/* How the ranks of a job ended: who failed first, and what the program says and returns for it. */
#include "cli/cmd_run_supervise.h"
#include <signal.h>
#include <string.h>

/* Whom the ranks blamed; else signal, own failure, standstill, then whoever left first: a rank that only heard of another's
 * failure ends with the status of LS_ERR_COMM. */
int ls_ranks_find_culprit(const ls_job *job, const ls_ranks_result *result) {
    const int heard = ls_status_exit_code(LS_ERR_COMM);
    char sentence[1024];
    int culprit = job ? ls_job_failure(job, sentence) : -1, best = 0;
    if (culprit >= 0 && result->ends[culprit].exit_status != 0) return culprit;
    culprit = -1;
    for (int rank = 0; rank < result->size; rank++) {
        const ls_ranks_end *end = &result->ends[rank];
        if (!end->has_ended || end->exit_status == 0) continue;
        const int weight = end->signal && !end->was_killed                     ? 5
                           : end->exit_status > 0 && end->exit_status != heard ? 4
                           : end->was_stopped                                  ? 3
                           : end->exit_status > 0                              ? 2
                                                                               : 1;
        if (weight > best || (weight == best && end->seconds < result->ends[culprit].seconds)) {
            best = weight;
            culprit = rank;
        }
    }
    return culprit;
}

int ls_ranks_exit_status(const ls_ranks_result *result) {
    if (result->culprit < 0) return 0;
    const ls_ranks_end *end = &result->ends[result->culprit];
    if (end->exit_status > 0) return end->exit_status;
    if (result->interrupted == SIGTERM && end->signal == SIGTERM) return LS_RANKS_AGAIN;
    /* A rank that stood still was killed here: the others' status tells of it. */
    for (int rank = 0; end->was_killed && rank < result->size; rank++)
        if (result->ends[rank].exit_status > 0) return result->ends[rank].exit_status;
    return 128 + end->signal;
}

void ls_ranks_describe(const ls_ranks_end *end, int rank, char *out, size_t out_bytes) {
    char where[192] = "before its first collective", how[96];
    const ls_rank_report *report = &end->report;
    const char *name = end->signal ? sigabbrev_np(end->signal) : NULL;
    if (report->n_calls)
        (void)snprintf(where, sizeof where, "at step %llu, op %s%s%s",
                       (unsigned long long)report->step, report->op, *report->scope ? " in " : "",
                       report->scope);
    if (end->was_killed && end->was_stopped)
        (void)snprintf(how, sizeof how, "stood still (was stopped) and was killed");
    else if (end->was_killed)
        (void)snprintf(how, sizeof how, "did not end by itself and was killed");
    else if (end->signal)
        (void)snprintf(how, sizeof how, "was killed by signal %d (SIG%s)", end->signal,
                       name ? name : "?");
    else
        (void)snprintf(how, sizeof how, "ended with status %d", end->exit_status);
    (void)snprintf(out, out_bytes, "rank %d %s %s", rank, how, where);
}
