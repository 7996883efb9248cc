/* A campaign over hosts: an undisturbed run first; then runs of the same words, their hosts struck until so many blows have fallen. */
#include "cli/cmd_chaos_hosts.h"
#include "base/clock.h"
#include "cli/cmd_chaos_hosts_strike.h"
#include "cli/cmd_chaos_runs.h"
#include "cli/cmd_chaos_strike.h"
#include "cli/cmd_run_hosts_control.h"
#include <math.h>
#include <signal.h>
#include <string.h>
#include <time.h>

enum { MORE_WORDS = 4, MOST_STUCK = 30, BOUND_STEPS = 2 };
static const double patience_seconds = 10, /* for a blow to show */
    settled_seconds = 3,                   /* after a link is up again, for a host to be missed */
    most_steps_waited = 50;                /* for a checkpoint to strike at */

typedef enum blow_state { BLOW_NONE, BLOW_WAITS, BLOW_FELL } blow_state;

typedef struct campaign {
    const ls_chaos_hosts_options *options;
    ls_chaos_runs runs;
    char metrics[LS_CHAOS_PATH + 16]; /* path; of the run at hand */
    int is_clean;                     /* the undisturbed run */
    ls_host_field field;
    ls_host_strike strike; /* the next, or the one that falls */
    ls_host_strike last;   /* that was counted */
    blow_state state;
    ls_chaos_command command;
    double links_up_at; /* when all links are as they were; 0 = they are */
    /* The attempt at hand. */
    ls_strike_watch folder;
    ls_host_progress before, now;
    double stepped_at, saved_at; /* ls_clock_seconds; -1 = not yet */
    /* The run at hand. */
    int64_t struck_attempt, struck_step; /* of the last blow; -1 = none */
    double struck_at;                    /* a blow whose attempt ended; 0 = the run went on since */
    int64_t committed;          /* the newest step that is known to be committed; -1 = none */
    int is_covered;             /* by memory, whatever has been struck since */
    int64_t missed_attempt;     /* a host's memory went in it; -1 = there are copies of all again */
    double missed_until;        /* without another attempt nothing had gone */
    char was_up[LS_HOSTS_MOST]; /* hosts, at the last look */
    /* All runs. */
    int64_t n_strikes, n_redone, n_uncovered;
    int64_t n_unstruck; /* hosts that were missed without a blow */
    int64_t counts[LS_HOST_INSTANT_COUNT][LS_HOST_STRIKE_COUNT];
} campaign;

/* All memory is on two hosts again, or was never gone. */
static void end_exposure(campaign *self) {
    self->missed_attempt = -1;
    self->is_covered = 1;
}

/* --- how far the run is --- */

/* Lines that this attempt wrote: after a restart the file is written anew, or goes on. */
static int has_written(const campaign *self) {
    return self->now.inode != self->before.inode || self->now.bytes != self->before.bytes ||
           self->now.step != self->before.step;
}

static void look(campaign *self, const ls_hosts_control *control) {
    const double now = ls_clock_seconds();
    ls_host_progress_read(self->metrics, &self->now);
    if (!has_written(self) || self->now.step <= control->base || self->now.step < 1) return;
    if (self->missed_attempt >= 0 && control->attempt > self->missed_attempt &&
        self->now.step >= control->base + BOUND_STEPS)
        end_exposure(self);
    if (self->stepped_at < 0) {
        self->stepped_at = now;
        if (self->is_clean) self->field.first_step = now - control->job.since;
        if (self->struck_at > 0 && control->attempt > self->struck_attempt)
            (void)ls_chaos_pauses_add(&self->runs.pauses, now - self->struck_at);
        self->struck_at = 0;
    }
    if (self->saved_at < 0 && ls_strike_watch_is_saving(&self->folder)) self->saved_at = now;
    if (self->is_clean && self->now.step > control->base + 1)
        self->field.step = (now - self->stepped_at) / (double)(self->now.step - control->base - 1);
}

static int count_up(const ls_hosts_control *control) {
    int n = 0;
    for (int i = 0; i < control->list.n; i++) n += control->list.hosts[i]->state == LS_HOST_UP;
    return n;
}

static ls_host_instant find_instant(const campaign *self, const ls_hosts_control *control) {
    int n_wanted = 0;
    for (int i = 0; i < control->list.n; i++) n_wanted += control->list.hosts[i]->is_wanted;
    if (self->stepped_at < 0)
        return control->attempt > 0 ? LS_HOST_INSTANT_RESTART : LS_HOST_INSTANT_START;
    if (ls_strike_watch_is_saving(&self->folder)) return LS_HOST_INSTANT_SAVE;
    return count_up(control) < n_wanted ? LS_HOST_INSTANT_FEWER : LS_HOST_INSTANT_STEP;
}

/* --- what was lost --- */

static void note_loss(campaign *self, int64_t found) {
    const ls_host_strike *s = &self->last;
    if (found < 0) found = 0;
    if (found < self->committed) {
        *(self->is_covered ? &self->runs.n_lost : &self->n_redone) += self->committed - found;
        (void)fprintf(stderr,
                      "lockstep: chaos: %lld steps are %s: %lld were committed, it goes on from "
                      "%lld; the last blow was %s to %s during %s\n",
                      (long long)(self->committed - found),
                      self->is_covered ? "lost" : "done again", (long long)self->committed,
                      (long long)found, ls_host_strike_names[s->kind], s->host,
                      ls_host_instant_names[s->instant]);
    }
    self->committed = found;
}

/* At the instant of a blow: what those that are left have together; and, as ranks wait for copies before they go on, the step before the one
 * that was told last. */
static int64_t find_committed(const campaign *self, const ls_hosts_control *control,
                              const ls_run_host *victim) {
    int64_t step = -1;
    const ls_run_host *without = ls_host_strike_loses(self->strike.kind) ? victim : NULL;
    if (ls_hosts_list_best_step(&control->list, without, &step) != LS_OK) ls_error_clear();
    if (has_written(self) && self->now.step - 1 > step) step = self->now.step - 1;
    return step > self->committed ? step : self->committed;
}

static int64_t count_copies(const ls_hosts_control *control) {
    return control->recovery.adds_copies ? 2 : control->recovery.copies;
}

/* --- a blow --- */

static int can_be_struck(const campaign *self, const ls_hosts_control *control,
                         const ls_run_host *host) {
    if (host->state != LS_HOST_UP) return 0;
    if (ls_host_strike_is_of_link(self->strike.kind) && ls_host_is_here(host->line.name)) return 0;
    /* Somebody must be left. */
    return !ls_host_strike_loses(self->strike.kind) || control->world.n_hosts >= 2;
}

/* One of those that have ranks; NULL = not now. */
static ls_run_host *find_victim(const campaign *self, const ls_hosts_control *control) {
    uint64_t n = 0;
    for (int i = 0; i < control->world.n_hosts; i++)
        n += (uint64_t)can_be_struck(self, control, control->members[i]);
    if (n == 0) return NULL;
    uint64_t left = self->strike.pick % n;
    for (int i = 0; i < control->world.n_hosts; i++)
        if (can_be_struck(self, control, control->members[i]) && left-- == 0)
            return control->members[i];
    return NULL;
}

static ls_status kill_keeper(campaign *self, const ls_run_host *host) {
    char text[64];
    (void)snprintf(text, sizeof text, "kill -9 %lld", (long long)host->keeper);
    return ls_chaos_command_start(&self->command, self->options->link->agent, host->line.name,
                                  text);
}

static ls_status cut_link(campaign *self, const ls_run_host *host) {
    const ls_chaos_link *link = self->options->link;
    const int slow = self->strike.kind == LS_HOST_STRIKE_SLOW, own = link->down && !slow;
    char *text = NULL;
    LS_TRY(slow ? ls_chaos_link_slow_text(link, self->strike.seconds, &text)
                : ls_chaos_link_drop_text(link, host->line.name, self->strike.seconds, &text));
    const ls_status status =
        ls_chaos_command_start(&self->command, link->agent, own ? NULL : host->line.name, text);
    ls_free(text);
    return status;
}

static ls_status strike_host(campaign *self, ls_hosts_control *control, ls_run_host *host) {
    const ls_host_strike_kind kind = self->strike.kind;
    if (ls_host_strike_is_of_link(kind)) return cut_link(self, host);
    if (kind != LS_HOST_STRIKE_KEEPER)
        ls_run_host_tell(host, "signal %s %d", control->job.id, SIGKILL);
    return kind == LS_HOST_STRIKE_RANKS ? LS_OK : kill_keeper(self, host);
}

static void strike(campaign *self, ls_hosts_control *control) {
    ls_host_strike *s = &self->strike;
    ls_run_host *host = find_victim(self, control);
    if (!host) return;
    s->instant = find_instant(self, control);
    s->attempt = control->attempt;
    s->committed = find_committed(self, control, host);
    s->is_covered = ls_host_strike_is_covered(s->kind, count_copies(control), self->options->zero,
                                              count_up(control), self->missed_attempt >= 0);
    (void)snprintf(s->host, sizeof s->host, "%s", host->line.name);
    s->at = ls_clock_seconds();
    self->state = BLOW_FELL;
    if (strike_host(self, control, host) == LS_OK) return;
    (void)fprintf(stderr, "lockstep: warning: %s\n", ls_error_message());
    ls_error_clear();
    self->state = BLOW_NONE;
}

static int is_time(const campaign *self, const ls_hosts_control *control) {
    const ls_host_strike *s = &self->strike;
    const double now = ls_clock_seconds();
    const int is_new = control->attempt > self->struck_attempt;
    if (s->aim == LS_HOST_AIM_START && is_new && self->stepped_at < 0)
        return control->job.mpirun > 0 && now >= control->job.since + s->delay;
    if (self->stepped_at < 0 || control->job.mpirun <= 0) return 0;
    /* In the attempt that was struck last the run must have gone on: a blow that fell into another one's pause met nothing. */
    if (!is_new && (self->now.step < self->struck_step + BOUND_STEPS || now < self->links_up_at))
        return 0;
    const double since = is_new ? self->stepped_at : self->links_up_at;
    if (s->aim != LS_HOST_AIM_SAVE) return now >= since + s->delay;
    if (self->saved_at >= 0 && ls_strike_watch_is_saving(&self->folder))
        return now >= self->saved_at + s->delay;
    return now >= since + most_steps_waited * self->field.step;
}

static void add_row(campaign *self) {
    const ls_host_strike *s = &self->strike;
    if (!self->runs.rows) return;
    json_t *row =
        json_pack("{s:I,s:I,s:I,s:s,s:s,s:s,s:f,s:I,s:b}", "round", (json_int_t)self->runs.n_rounds,
                  "number", (json_int_t)s->index, "attempt", (json_int_t)s->attempt, "kind",
                  ls_host_strike_names[s->kind], "instant", ls_host_instant_names[s->instant],
                  "host", s->host, "seconds", s->seconds, "committed", (json_int_t)s->committed,
                  "covered", s->is_covered);
    ls_chaos_runs_add_row(&self->runs, row);
}

/* It was seen to do what it was to do. */
static void count_blow(campaign *self) {
    const ls_host_strike *s = &self->strike;
    self->state = BLOW_NONE;
    self->last = *s;
    self->counts[s->instant][s->kind]++;
    self->runs.n_kills++;
    self->runs.n_pending++;
    self->n_uncovered += !s->is_covered;
    self->is_covered &= s->is_covered;
    if (s->committed > self->committed) self->committed = s->committed;
    if (ls_host_strike_loses(s->kind)) self->missed_attempt = s->attempt;
    /* The blow before it in the same attempt had no pause. */
    if ((self->struck_at <= 0 || s->attempt == self->struck_attempt) &&
        s->kind != LS_HOST_STRIKE_SLOW)
        self->struck_at = s->at;
    self->struck_attempt = s->attempt;
    self->struck_step = self->now.step;
    if (ls_host_strike_is_of_link(s->kind) && s->at + s->seconds + 1 > self->links_up_at)
        self->links_up_at = s->at + s->seconds + 1;
    if (ls_host_strike_loses(s->kind))
        self->missed_until =
            ls_host_strike_is_of_link(s->kind) ? self->links_up_at + settled_seconds : INFINITY;
    add_row(self);
}

static const ls_run_host *find_host(const ls_hosts_control *control, const char *name) {
    for (int i = 0; i < control->list.n; i++)
        if (strcmp(control->list.hosts[i]->line.name, name) == 0) return control->list.hosts[i];
    return NULL;
}

/* Commands for a link are seen to start; a keeper is seen to be gone; ranks take their job along. */
static void settle(campaign *self, const ls_hosts_control *control, int has_ended) {
    const ls_host_strike *s = &self->strike;
    const ls_run_host *host = find_host(control, s->host);
    int status = 0, fell = 0;
    const int is_over = ls_chaos_command_is_over(&self->command, &status);
    if (ls_host_strike_is_of_link(s->kind))
        fell = is_over && status == 0;
    else if (s->kind == LS_HOST_STRIKE_RANKS)
        fell = has_ended && control->job.exit_status != 0;
    else
        fell = !host || host->state != LS_HOST_UP || host->since > s->at;
    if (fell) {
        count_blow(self);
    } else if (status != 0 || ls_clock_seconds() - s->at > patience_seconds) {
        (void)fprintf(stderr, "lockstep: warning: chaos: a blow (%s) did nothing to %s\n",
                      ls_host_strike_names[s->kind], s->host);
        self->state = BLOW_NONE;
    }
}

/* --- around each attempt --- */

static void begin_attempt(void *user, ls_hosts_control *control) {
    campaign *self = user;
    const ls_recover_attempt attempt = {.number = control->attempt, .base = control->base};
    if (control->attempt > 0) note_loss(self, control->base);
    if (ls_chaos_output_clear(self->runs.output) != LS_OK) ls_error_clear();
    ls_strike_watch_end(&self->folder);
    ls_strike_watch_begin(&self->folder, &attempt, NULL);
    ls_host_progress_read(self->metrics, &self->before);
    self->now = self->before;
    self->stepped_at = self->saved_at = -1;
}

/* A link that was down so shortly that nobody missed the host. */
static void forget_missed(campaign *self, const ls_hosts_control *control) {
    if (self->missed_attempt == control->attempt && ls_clock_seconds() > self->missed_until)
        end_exposure(self);
}

/* A machine that is too busy answers too late, and its host is lost without a blow: of two at once no copies speak. */
static void note_unstruck(campaign *self, const ls_hosts_control *control) {
    for (int i = 0; i < control->list.n && i < LS_HOSTS_MOST; i++) {
        const ls_run_host *host = control->list.hosts[i];
        const int is_up = host->state == LS_HOST_UP, was_up = self->was_up[i];
        self->was_up[i] = (char)is_up;
        if (is_up || !was_up) continue;
        if (self->state == BLOW_FELL && strcmp(self->strike.host, host->line.name) == 0) continue;
        if (self->missed_attempt >= 0 && strcmp(self->last.host, host->line.name) == 0) continue;
        self->n_unstruck++;
        self->is_covered &= self->missed_attempt < 0;
        self->missed_attempt = control->attempt;
        self->missed_until = INFINITY;
    }
}

static void tick(void *user, ls_hosts_control *control) {
    campaign *self = user;
    note_unstruck(self, control);
    if (control->job.mpirun > 0) look(self, control);
    if (self->is_clean) return;
    if (self->state == BLOW_FELL) settle(self, control, 0);
    forget_missed(self, control);
    if (self->state == BLOW_NONE && self->runs.n_kills < self->options->n_kills) {
        ls_host_strike_draw((uint64_t)self->options->seed, self->n_strikes++, &self->field,
                            &self->strike);
        self->state = BLOW_WAITS;
    }
    if (self->state == BLOW_WAITS && is_time(self, control)) strike(self, control);
}

static void end_attempt(void *user, ls_hosts_control *control) {
    campaign *self = user;
    look(self, control);
    if (self->state == BLOW_FELL) settle(self, control, 1);
}

/* --- one run --- */

static void take_words(campaign *self) {
    const ls_ranks_words *words = self->options->words;
    int says_log = 0;
    self->runs.n_words = 0;
    for (int i = 0; i < words->n_words; i++) {
        says_log |= strncmp(words->words[i], "log_every=", 10) == 0;
        self->runs.words[self->runs.n_words++] = words->words[i];
    }
    self->runs.words[self->runs.n_words++] = self->runs.out_word;
    /* How far the run is stands in its metrics. */
    if (!says_log) self->runs.words[self->runs.n_words++] = "log_every=1";
    self->runs.words[self->runs.n_words++] = "-q";
}

static ls_status begin_folder(campaign *self, const char *name) {
    LS_TRY(ls_chaos_runs_begin_folder(&self->runs, name));
    (void)snprintf(self->metrics, sizeof self->metrics, "%s/metrics.jsonl", self->runs.out);
    self->folder.out = self->runs.out;
    return LS_OK;
}

/* The next run begins with all hosts. */
static void await_links(campaign *self) {
    const double left = self->links_up_at - ls_clock_seconds();
    (void)ls_chaos_command_await(&self->command);
    if (left > 0) {
        const struct timespec rest = {(time_t)left, (long)(1e9 * (left - (double)(time_t)left))};
        (void)nanosleep(&rest, NULL);
    }
    self->links_up_at = 0;
}

static ls_status run_words(campaign *self, const char *name) {
    const ls_chaos_hosts_options *o = self->options;
    const ls_hosts_hooks hooks = {begin_attempt, tick, end_attempt, self};
    ls_hosts_options hosts = *o->hosts;
    int exit_status = 0;
    LS_TRY(begin_folder(self, name));
    take_words(self);
    hosts.output = self->runs.output;
    hosts.hooks = &hooks;
    hosts.restarts = INT64_MAX;
    hosts.stuck = MOST_STUCK;
    const ls_cmd_call call = {.args = self->runs.words,
                              .n_args = self->runs.n_words,
                              .out = o->call->out,
                              .quiet = o->call->quiet,
                              .exit_status = &exit_status};
    self->committed = self->struck_attempt = self->struck_step = self->missed_attempt = -1;
    self->struck_at = 0;
    self->is_covered = 1;
    self->state = BLOW_NONE;
    self->last = (ls_host_strike){0};
    memset(self->was_up, 0, sizeof self->was_up);
    const ls_status status = ls_hosts_run(&call, &hosts);
    ls_strike_watch_end(&self->folder);
    await_links(self);
    if (status == LS_ERR_INTERRUPTED) *o->call->exit_status = exit_status;
    return status;
}

static ls_status run_clean(void *user) {
    campaign *self = user;
    self->is_clean = 1;
    const ls_status status = run_words(self, "clean");
    self->is_clean = 0;
    if (status != LS_OK) return ls_error_prefix(status, "chaos: the run fails without a blow");
    LS_TRY(ls_chaos_runs_end_clean(&self->runs));
    if (self->field.first_step > 0 && self->field.step > 0) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID,
                   "chaos: no steps were seen in %s: the run is too short, or this host does not "
                   "see the folder",
                   self->metrics);
}

static ls_status run_round(void *user) {
    campaign *self = user;
    const ls_status status = run_words(self, "run");
    if (status == LS_OK) return ls_chaos_runs_end_round(&self->runs);
    if (status == LS_ERR_INTERRUPTED) return status;
    return ls_error_prefix(status, "chaos: run %lld was not recovered",
                           (long long)self->runs.n_rounds);
}

/* --- telling --- */

static json_t *make_more(const void *user) {
    const campaign *self = user;
    return json_pack("{s:I,s:I,s:I}", "not_covered", (json_int_t)self->n_uncovered,
                     "missed_without_a_blow", (json_int_t)self->n_unstruck, "steps_done_again",
                     (json_int_t)self->n_redone);
}

static void print_more(const void *user, FILE *out) {
    const campaign *self = user;
    (void)fprintf(out,
                  "blows that no copy in memory covered: %lld; hosts missed without a blow: %lld; "
                  "steps done again for them: %lld\n",
                  (long long)self->n_uncovered, (long long)self->n_unstruck,
                  (long long)self->n_redone);
}

/* --- all of it --- */

static ls_status prepare(campaign *self) {
    const ls_chaos_hosts_options *o = self->options;
    LS_TRY(ls_chaos_kinds_parse(o->kinds, ls_host_strike_names, &self->field.kinds));
    self->field.longest = o->longest;
    self->runs.call = o->call;
    self->runs.folder = o->out;
    self->runs.n_wanted = o->n_kills;
    LS_TRY(ls_chaos_runs_open(&self->runs, o->words->n_words + MORE_WORDS));
    return ls_chaos_hosts_check(o, &self->field.kinds);
}

ls_status ls_chaos_hosts(const ls_chaos_hosts_options *options) {
    const ls_chaos_campaign all = {.one = "blow",
                                   .many = "blows",
                                   .struck = "blows to hosts",
                                   .digits = 1,
                                   .run_clean = run_clean,
                                   .run_round = run_round,
                                   .make_more = make_more,
                                   .print_more = print_more,
                                   .table = {.instants = ls_host_instant_names,
                                             .kinds = ls_host_strike_names,
                                             .counted = UINT32_MAX,
                                             .sum = "blows"}};
    campaign *self = ls_alloc(sizeof *self);
    if (!self) return LS_ERR_NO_MEMORY;
    self->options = options;
    self->runs.output = -1;
    ls_status status = prepare(self);
    if (status == LS_OK) status = ls_chaos_runs_campaign(&self->runs, &all, self->counts[0], self);
    ls_chaos_runs_close(&self->runs);
    ls_free(self);
    return status;
}
