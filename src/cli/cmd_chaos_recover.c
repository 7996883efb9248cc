/* A campaign: an undisturbed run first; then runs of the same words, struck until so many kills are done. */
#include "cli/cmd_chaos_recover.h"
#include "base/clock.h"
#include "base/fs.h"
#include "cli/cmd_chaos.h"
#include "cli/cmd_chaos_runs.h"
#include "cli/cmd_chaos_strike.h"
#include "lockstep/checkpoint.h"
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { STAMP_BYTES = 256, MORE_WORDS = 4 };
static const double grace_seconds = 2.5;

typedef struct campaign {
    const ls_chaos_recover_options *options;
    ls_chaos_runs runs;
    char stamp[STAMP_BYTES];
    ls_strike_field field;
    ls_strike_watch watch;
    ls_strike strike;
    ls_ranks_variable file_fault;
    ls_chaos_voice *voices; /* [size] */
    int is_clean;           /* the undisturbed run */
    int was_full;           /* a rank's disk, in this attempt */
    int64_t n_strikes;
    int64_t committed; /* the newest step that is known to be committed in this run; -1 = none */
    int64_t saved;     /* step of the checkpoint that is resumed; -1 = from the start */
    int64_t counts[LS_INSTANT_COUNT][LS_STRIKE_COUNT];
    int64_t n_verified, n_damaged; /* newest checkpoints, after blows against files */
    int64_t
        n_ended_by_full; /* attempts that ended because a disk was full, before their last save */
    double struck_at;    /* of the last kill; -1 = went on */
} campaign;

/* --- around each attempt --- */

static void note_loss(campaign *self, int64_t found) {
    if (found >= self->committed) return;
    self->runs.n_lost += self->committed - found;
    self->committed = found; /* each lost step is counted once */
}

static void draw(campaign *self, uint32_t kinds) {
    ls_strike_field field = self->field;
    field.kinds &= kinds;
    ls_strike_draw((uint64_t)self->options->seed, self->n_strikes++, &field, &self->strike);
}

static void begin_attempt(void *user, const ls_recover_attempt *attempt) {
    campaign *self = user;
    const ls_chaos_recover_options *o = self->options;
    const int strikes = !self->is_clean && self->runs.n_kills < o->n_kills;
    if (strikes)
        draw(self, UINT32_MAX);
    else
        self->strike = (ls_strike){0};
    self->was_full = 0;
    for (int rank = 0; rank < o->size; rank++) self->voices[rank] = (ls_chaos_voice){.named = -1};
    ls_strike_watch_begin(&self->watch, attempt, strikes ? &self->strike : NULL);
    self->file_fault.value = self->strike.file_fault[0] ? self->strike.file_fault : NULL;
    if (attempt->number > 0) note_loss(self, attempt->base);
}

/* A rank that began at an earlier step than it was told has lost what it was told to go on from. */
static void check_start(campaign *self) {
    const ls_strike_watch *watch = &self->watch;
    if (watch->least_step >= 0 && watch->least_step < watch->attempt.base)
        self->runs.n_lost += watch->attempt.base - watch->least_step;
    if (self->struck_at <= 0 || watch->stepped_at < 0) return;
    (void)ls_chaos_pauses_add(&self->runs.pauses,
                              watch->began + watch->stepped_at - self->struck_at);
    self->struck_at = 0;
}

static void add_row(campaign *self, const ls_strike *s, int64_t found) {
    if (!self->runs.rows) return;
    json_t *row = json_pack("{s:I,s:I,s:I,s:s,s:s,s:i,s:i,s:I,s:I,s:I}", "round",
                            (json_int_t)self->runs.n_rounds, "number", (json_int_t)s->index,
                            "attempt", (json_int_t)s->attempt, "kind", ls_strike_names[s->kind],
                            "instant", ls_instant_names[s->instant], "rank", s->first, "ranks",
                            s->n_victims, "from", (json_int_t)s->base, "committed",
                            (json_int_t)s->committed, "found", (json_int_t)found);
    ls_chaos_runs_add_row(&self->runs, row);
}

/* `found`: what is committed now. */
static void count_blow(campaign *self, int64_t found) {
    const ls_strike *s = &self->strike;
    self->counts[s->instant][s->kind]++;
    self->runs.n_kills += ls_strike_kills(s->kind);
    self->runs.n_pending += ls_strike_kills(s->kind);
    if (self->struck_at <= 0 && !ls_strike_is_gentle(s->kind)) self->struck_at = s->seconds;
    add_row(self, s, found);
}

/* The attempt goes on and gets another blow. */
static double tick(void *user, const ls_ranks_view *view) {
    campaign *self = user;
    const double again = ls_strike_tick(&self->watch, view);
    const uint32_t more = self->field.kinds & LS_STRIKES_FROM_OUTSIDE;
    if (!self->watch.strike || !self->strike.has_struck || !ls_strike_is_gentle(self->strike.kind))
        return again;
    self->was_full |= self->strike.kind == LS_STRIKE_FULL;
    count_blow(self, self->strike.committed);
    self->watch.strike = NULL;
    if (!more) return again;
    draw(self, more);
    ls_strike_watch_again(&self->watch, &self->strike);
    return again;
}

/* Whatever a file operation was interrupted by: the newest checkpoint is whole, and so are its hashes. */
static void check_newest(campaign *self) {
    char *path = NULL;
    ls_ckpt *ckpt = NULL;
    if (!ls_path_is_dir(self->runs.out)) return;
    if (ls_ckpt_find_latest(self->runs.out, &path) == LS_OK) {
        self->n_verified++;
        if (ls_ckpt_open(path, &ckpt) != LS_OK || ls_ckpt_verify(ckpt) != LS_OK) self->n_damaged++;
    }
    ls_error_clear();
    ls_ckpt_close(ckpt);
    ls_free(path);
}

/* A disk that is full for a while must not end it; after the last step there is a checkpoint that must be written. */
static void check_full(campaign *self, const ls_ranks_result *ended) {
    if (!self->was_full || ended->culprit < 0) return;
    self->n_ended_by_full +=
        ended->ends[ended->culprit].exit_status == ls_status_exit_code(LS_ERR_NO_SPACE) &&
        self->watch.newest_step < self->options->n_steps - 1;
}

static void end_attempt(void *user, const ls_recover_attempt *attempt,
                        const ls_ranks_result *ended) {
    campaign *self = user;
    ls_strike *s = &self->strike;
    int torn;
    self->watch.began = ended->began;
    ls_strike_judge(&self->watch, ended);
    check_start(self);
    check_full(self, ended);
    if (s->kind == LS_STRIKE_FILE || s->kind == LS_STRIKE_TORN || self->was_full)
        check_newest(self);
    if (self->watch.strike && s->has_struck) {
        const int64_t found = ls_strike_committed(attempt, &torn);
        if (s->committed > self->committed) self->committed = s->committed;
        if (s->kind != LS_STRIKE_TERM && attempt->keeper && found >= 0) note_loss(self, found);
        if (found > self->committed) self->committed = found;
        count_blow(self, found);
    }
    ls_strike_watch_end(&self->watch);
}

/* --- one run --- */

static void keep_silent(const char *line) {
    (void)line;
}

static ls_status run_words(campaign *self, ls_recover_result **out) {
    const ls_chaos_recover_options *o = self->options;
    LS_TRY(ls_chaos_output_clear(self->runs.output));
    self->struck_at = 0;
    const ls_recover_options options = {.ranks = {.size = o->size,
                                                  .name = "chaos",
                                                  .words = self->runs.words,
                                                  .n_words = self->runs.n_words,
                                                  .fault = self->strike.fault,
                                                  .variables = &self->file_fault,
                                                  .n_variables = 1,
                                                  .grace_seconds = grace_seconds,
                                                  .output = self->runs.output,
                                                  .line = ls_chaos_listen,
                                                  .user = self->voices,
                                                  .tick = tick,
                                                  .tick_user = self},
                                        .has_keeper = 1,
                                        .out = self->runs.out,
                                        .first = self->saved,
                                        .most_restarts = INT64_MAX,
                                        .most_stuck = INT64_MAX,
                                        .tell = keep_silent,
                                        .hooks = {begin_attempt, end_attempt, self}};
    return ls_recover_run(&options, out);
}

static void add_copies(campaign *self) {
    const ls_ranks_words *words = self->options->words;
    for (int i = 0; i < words->n_words; i++)
        if (strncmp(words->words[i], "recover.copies=", 15) == 0) return;
    self->runs.words[self->runs.n_words++] = "recover.copies=1";
}

static void take_train_words(campaign *self) {
    const ls_ranks_words *words = self->options->words;
    self->runs.n_words = words->n_words;
    for (int i = 0; i < words->n_words; i++) self->runs.words[i] = words->words[i];
    self->runs.words[self->runs.n_words++] = self->runs.out_word;
    add_copies(self);
}

static void take_resume_words(campaign *self) {
    self->runs.n_words = 0;
    self->runs.words[self->runs.n_words++] = "resume";
    self->runs.words[self->runs.n_words++] = self->runs.out;
    add_copies(self);
}

static ls_status begin_folder(campaign *self, const char *name) {
    LS_TRY(ls_chaos_runs_begin_folder(&self->runs, name));
    self->watch.out = self->runs.out;
    return LS_OK;
}

static ls_status fail_run(const campaign *self, const ls_recover_result *result) {
    const ls_ranks_result *last = result->last;
    char how[512];
    if (last->culprit < 0) return LS_FAIL(LS_ERR_INTERRUPTED, "chaos: interrupted");
    ls_ranks_describe(&last->ends[last->culprit], last->culprit, how, sizeof how);
    return LS_FAIL(LS_ERR_COMM, "chaos: run %lld was not recovered: %s: %s",
                   (long long)self->runs.n_rounds, how, self->voices[last->culprit].line);
}

/* How long things take: of the only attempt of the undisturbed run. */
static void read_times(campaign *self, const ls_ranks_result *ended) {
    const ls_strike_watch *watch = &self->watch;
    const int64_t n_steps = watch->newest_step > 1 ? watch->newest_step : 1;
    const double first = watch->stepped_at > 0 ? watch->stepped_at : 0;
    self->field.times = (ls_strike_times){.first_step = first,
                                          .step = (watch->last_at - first) / (double)n_steps,
                                          .calls_per_step = (int64_t)ended->ends[0].report.n_calls /
                                                            self->options->n_steps};
    self->watch.step_seconds = self->field.times.step;
}

static ls_status run_clean(void *user) {
    campaign *self = user;
    ls_recover_result *result = NULL;
    LS_TRY(begin_folder(self, "clean"));
    take_train_words(self);
    self->committed = self->saved = -1;
    self->is_clean = 1;
    LS_TRY(run_words(self, &result));
    self->is_clean = 0;
    ls_status status = LS_OK;
    if (result->why != LS_RECOVER_DONE || result->n_restarts > 0) {
        status = fail_run(self, result);
        (void)ls_error_prefix(status, "chaos: the run fails without a blow");
        *self->options->call->exit_status = ls_ranks_exit_status(result->last);
    }
    if (status == LS_OK) {
        read_times(self, result->last);
        status = ls_chaos_runs_end_clean(&self->runs);
    }
    ls_recover_result_destroy(result);
    return status;
}

/* After SIGTERM: everything that was committed must be on disk. *resumes_out 0: nothing had been. */
static ls_status check_saved(campaign *self, int *resumes_out) {
    char *path = NULL;
    ls_ckpt *ckpt = NULL;
    *resumes_out = 0;
    if (!ls_path_is_dir(self->runs.out) || ls_ckpt_find_latest(self->runs.out, &path) != LS_OK) {
        if (self->committed > 0) note_loss(self, 0);
        return LS_OK;
    }
    const ls_status status = ls_ckpt_open(path, &ckpt);
    if (status == LS_OK) note_loss(self, self->saved = ls_ckpt_step(ckpt));
    ls_ckpt_close(ckpt);
    ls_free(path);
    *resumes_out = 1;
    return status;
}

/* From the start to the end of training, in as many parts as SIGTERM makes of it. */
static ls_status run_round(void *user) {
    campaign *self = user;
    LS_TRY(begin_folder(self, "run"));
    take_train_words(self);
    self->committed = self->saved = -1;
    for (int is_over = 0; !is_over;) {
        ls_recover_result *result = NULL;
        LS_TRY(run_words(self, &result));
        const int was_struck = self->strike.has_struck && self->strike.kind == LS_STRIKE_TERM;
        const int was_saved =
            was_struck && ls_ranks_exit_status(result->last) == (int)LS_RANKS_AGAIN;
        ls_status status = LS_OK;
        is_over = result->last->culprit < 0; /* SIGTERM may have come after the last step */
        if (result->last->interrupted && !was_struck)
            status = LS_FAIL(LS_ERR_INTERRUPTED, "chaos: interrupted");
        else if (!is_over && !was_saved)
            status = fail_run(self, result);
        ls_recover_result_destroy(result);
        LS_TRY(status);
        int resumes = 0;
        if (!is_over) LS_TRY(check_saved(self, &resumes));
        if (resumes) take_resume_words(self);
    }
    return ls_chaos_runs_end_round(&self->runs);
}

/* --- telling --- */

static uint32_t kill_kinds(void) {
    uint32_t bits = 0;
    for (int k = 0; k < LS_STRIKE_COUNT; k++)
        bits |= (uint32_t)ls_strike_kills((ls_strike_kind)k) << k;
    return bits;
}

static json_t *make_more(const void *user) {
    const campaign *self = user;
    return json_pack("{s:{s:I,s:I,s:I}}", "checkpoints", "verified", (json_int_t)self->n_verified,
                     "damaged", (json_int_t)self->n_damaged, "ended_by_full",
                     (json_int_t)self->n_ended_by_full);
}

static void print_more(const void *user, FILE *out) {
    const campaign *self = user;
    (void)fprintf(out,
                  "checkpoints after blows against files: %lld verified, %lld damaged; %lld "
                  "attempts ended by a full disk\n",
                  (long long)self->n_verified, (long long)self->n_damaged,
                  (long long)self->n_ended_by_full);
}

static ls_status judge_files(const void *user) {
    const campaign *self = user;
    if (self->n_damaged == 0 && self->n_ended_by_full == 0) return LS_OK;
    return LS_FAIL(LS_ERR_COMM,
                   "chaos: %lld damaged checkpoints, %lld attempts ended by a full disk",
                   (long long)self->n_damaged, (long long)self->n_ended_by_full);
}

/* --- all of it --- */

static ls_status prepare(campaign *self) {
    const ls_chaos_recover_options *o = self->options;
    LS_TRY(ls_chaos_kinds_parse(o->kinds, ls_strike_names, &self->field.kinds));
    if (!(self->field.kinds & kill_kinds()))
        return LS_FAIL(LS_ERR_INVALID,
                       "chaos: --kinds '%s': none of them kills a rank, and kills are counted: add "
                       "one, some, all, call, file or torn",
                       o->kinds);
    if (snprintf(self->stamp, sizeof self->stamp, "%s/stamp", o->out) >= (int)sizeof self->stamp)
        return LS_FAIL(LS_ERR_CONFIG, "chaos: out = '%s' is too long a path", o->out);
    self->watch.size = self->field.size = o->size;
    self->watch.stamp = self->field.stamp = self->stamp;
    self->file_fault.name = "LOCKSTEP_FS_FAULT";
    self->voices = ls_alloc((size_t)o->size * sizeof *self->voices);
    if (!self->voices) return LS_ERR_NO_MEMORY;
    self->runs.call = o->call;
    self->runs.folder = o->out;
    self->runs.n_wanted = o->n_kills;
    return ls_chaos_runs_open(&self->runs, o->words->n_words + MORE_WORDS);
}

ls_status ls_chaos_recover(const ls_chaos_recover_options *options) {
    const ls_chaos_campaign all = {.one = "kill",
                                   .many = "kills",
                                   .struck = "kills",
                                   .digits = 3,
                                   .run_clean = run_clean,
                                   .run_round = run_round,
                                   .make_more = make_more,
                                   .print_more = print_more,
                                   .judge = judge_files,
                                   .table = {.instants = ls_instant_names,
                                             .kinds = ls_strike_names,
                                             .counted = kill_kinds(),
                                             .sum = "kills"}};
    campaign *self = ls_alloc(sizeof *self);
    if (!self) return LS_ERR_NO_MEMORY;
    self->options = options;
    self->runs.output = -1;
    ls_status status = prepare(self);
    if (status == LS_OK) status = ls_chaos_runs_campaign(&self->runs, &all, self->counts[0], self);
    ls_chaos_runs_close(&self->runs);
    ls_free(self->voices);
    ls_free(self);
    return status;
}
