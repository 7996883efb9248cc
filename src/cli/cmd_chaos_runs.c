/* The runs of a campaign, and what is said of them. */
#include "cli/cmd_chaos_runs.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include <string.h>
#include <unistd.h>

enum { MOST_ROUNDS_WITHOUT_A_BLOW = 3 };

ls_status ls_chaos_runs_open(ls_chaos_runs *self, int n_words) {
    self->rows = self->call->json ? json_array() : NULL;
    self->words = ls_alloc((size_t)n_words * sizeof *self->words);
    if (!self->words) return LS_ERR_NO_MEMORY;
    return ls_chaos_output_open(&self->output);
}

void ls_chaos_runs_close(ls_chaos_runs *self) {
    if (self->output >= 0) (void)close(self->output);
    json_decref(self->rows);
    ls_chaos_pauses_deinit(&self->pauses);
    ls_free(self->words);
}

/* --- one run --- */

ls_status ls_chaos_runs_begin_folder(ls_chaos_runs *self, const char *name) {
    (void)snprintf(self->out, sizeof self->out, "%s/%s", self->folder, name);
    (void)snprintf(self->out_word, sizeof self->out_word, "out=%s", self->out);
    return ls_path_exists(self->out) ? ls_dir_remove(self->out) : LS_OK;
}

ls_status ls_chaos_runs_end_clean(ls_chaos_runs *self) {
    return ls_chaos_output_hash(self->output, self->clean_hash);
}

static int is_equal(const ls_chaos_runs *self) {
    return strcmp(self->hash, self->clean_hash) == 0;
}

ls_status ls_chaos_runs_end_round(ls_chaos_runs *self) {
    LS_TRY(ls_chaos_output_hash(self->output, self->hash));
    self->n_equal += is_equal(self);
    if (is_equal(self)) self->n_recovered += self->n_pending;
    return LS_OK;
}

void ls_chaos_runs_add_row(ls_chaos_runs *self, json_t *row) {
    (void)json_array_append_new(self->rows, row);
}

/* --- telling --- */

typedef struct report {
    const ls_chaos_runs *runs;
    const ls_chaos_campaign *campaign;
    const void *user;
    ls_chaos_table table;
    double median, slowest;
} report;

static int all_equal(const ls_chaos_runs *self) {
    return self->n_equal == self->n_rounds;
}

static ls_status tell_json(const report *r) {
    const ls_chaos_runs *self = r->runs;
    json_t *more = r->campaign->make_more(r->user);
    json_t *all = json_pack("{s:I,s:I,s:I,s:b,s:I,s:f,s:f,s:s,s:o,s:O}", "kills",
                            (json_int_t)self->n_kills, "recovered", (json_int_t)self->n_recovered,
                            "steps_lost", (json_int_t)self->n_lost, "hash_equal", all_equal(self),
                            "runs", (json_int_t)self->n_rounds, "median_seconds", r->median,
                            "slowest_seconds", r->slowest, "weights_sha256", self->clean_hash,
                            "during", ls_chaos_table_json(&r->table), "rows", self->rows);
    if (json_object_update(all, more) != 0) {
        json_decref(all);
        all = NULL; /* out of memory, which the printer says */
    }
    json_decref(more);
    return ls_cli_print_json(self->call, all);
}

static void tell_text(const report *r) {
    const ls_chaos_runs *self = r->runs;
    FILE *out = self->call->out;
    ls_chaos_table_print(&r->table, out);
    (void)fprintf(out, "runs: %lld; from a %s to the next step: median %.*f s, slowest %.*f s\n",
                  (long long)self->n_rounds, r->campaign->one, r->campaign->digits, r->median,
                  r->campaign->digits, r->slowest);
    r->campaign->print_more(r->user, out);
    (void)fprintf(out, "chaos: %lld %s, %lld recovered, %lld steps lost, hash %s\n",
                  (long long)self->n_kills, r->campaign->struck, (long long)self->n_recovered,
                  (long long)self->n_lost, all_equal(self) ? "equal" : "not equal");
}

static ls_status judge(const report *r) {
    const ls_chaos_runs *self = r->runs;
    if (r->campaign->judge) LS_TRY(r->campaign->judge(r->user));
    if (self->n_recovered == self->n_kills && self->n_lost == 0 && all_equal(self)) return LS_OK;
    return LS_FAIL(LS_ERR_COMM, "chaos: %lld of %lld %s were not recovered, %lld steps lost",
                   (long long)(self->n_kills - self->n_recovered), (long long)self->n_kills,
                   r->campaign->many, (long long)self->n_lost);
}

static ls_status tell_all(report *r) {
    const ls_cmd_call *call = r->runs->call;
    if (call->json)
        LS_TRY(tell_json(r));
    else
        tell_text(r);
    const ls_status status = judge(r);
    if (status == LS_OK || !call->json) return status;
    /* The answer says it all; a second JSON value would not be read. */
    *call->exit_status = ls_status_exit_code(status);
    ls_error_clear();
    return LS_OK;
}

/* --- all of it --- */

static ls_status run_rounds(ls_chaos_runs *self, const ls_chaos_campaign *campaign, void *user) {
    const ls_cmd_call *call = self->call;
    while (self->n_kills < self->n_wanted) {
        const int64_t before = self->n_kills;
        const double began = ls_clock_seconds();
        self->n_rounds++;
        self->n_pending = 0;
        LS_TRY(campaign->run_round(user));
        if (self->n_kills == before && self->n_rounds > MOST_ROUNDS_WITHOUT_A_BLOW)
            return LS_FAIL(LS_ERR_INVALID,
                           "chaos: %lld runs and no %s met the last one: they are too short; more "
                           "steps are needed",
                           (long long)self->n_rounds, campaign->one);
        if (call->json || call->quiet) continue;
        (void)fprintf(call->out, "run %lld: %lld %s in %.1f s, hash %s\n",
                      (long long)self->n_rounds, (long long)(self->n_kills - before),
                      campaign->many, ls_clock_seconds() - began,
                      is_equal(self) ? "equal" : "not equal");
        (void)fflush(call->out);
    }
    return LS_OK;
}

ls_status ls_chaos_runs_campaign(ls_chaos_runs *self, const ls_chaos_campaign *campaign,
                                 const int64_t *counts, void *user) {
    report r = {.runs = self, .campaign = campaign, .user = user, .table = campaign->table};
    r.table.counts = counts;
    LS_TRY(campaign->run_clean(user));
    LS_TRY(run_rounds(self, campaign, user));
    ls_chaos_pauses_sum_up(&self->pauses, &r.median, &r.slowest);
    return tell_all(&r);
}
