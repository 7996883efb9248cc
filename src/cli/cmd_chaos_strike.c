/* Draws blows, waits for their instant, strikes, and says what the ranks were doing. */
#include "cli/cmd_chaos_strike.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/rng.h"
#include "lockstep/checkpoint.h"
#include <signal.h>
#include <string.h>
#include <unistd.h>

const char *const ls_strike_names[] = {"one",  "some", "all",  "call", "file", "torn",
                                       "full", "slow", "stop", "term", NULL};
const char *const ls_instant_names[] = {"start", "restart", "load", "step", "commit", "save", NULL};

/* Between two looks at the ranks. */
static const double look_seconds = 0.001;
/* A save is waited for so many steps; then the blow comes without one. */
static const double most_steps_waited = 30;
enum {
    MOST_FILE_OPERATION = 60,
    STEPS_OF_AIM = 3,
    MOST_WRITE = 12,
    MOST_FULL = 40,
    MOST_SLOW = 20
};
/* Before each of the calls that are late. */
static const double most_late_seconds = 0.1;

/* Kinds in turn, so that a short campaign meets each. One in twenty is a stop, which takes a second to be found, or a SIGTERM. */
static const ls_strike_kind turns[] = {
    LS_STRIKE_ONE,  LS_STRIKE_ALL, LS_STRIKE_CALL, LS_STRIKE_TORN, LS_STRIKE_SOME,
    LS_STRIKE_FILE, LS_STRIKE_ONE, LS_STRIKE_FULL, LS_STRIKE_CALL, LS_STRIKE_SOME,
    LS_STRIKE_ONE,  LS_STRIKE_ALL, LS_STRIKE_TERM, LS_STRIKE_ONE,  LS_STRIKE_SLOW,
    LS_STRIKE_CALL, LS_STRIKE_ONE, LS_STRIKE_FILE, LS_STRIKE_ONE,  LS_STRIKE_STOP};
enum { N_TURNS = sizeof turns / sizeof *turns };

/* --- drawing --- */

static int count_victims(ls_strike_kind kind, int size, ls_rng_key key) {
    if (kind == LS_STRIKE_ALL) return size;
    if (kind == LS_STRIKE_SOME && size > 2)
        return 2 + (int)ls_rng_below(key, 1, (uint64_t)size - 2);
    return 1;
}

/* The n-th turn of those kinds that are asked for. */
static ls_strike_kind find_turn(int64_t index, uint32_t kinds) {
    ls_strike_kind some[N_TURNS];
    int n = 0;
    for (int i = 0; i < N_TURNS; i++)
        if (kinds >> turns[i] & 1) some[n++] = turns[i];
    return n ? some[index % n] : turns[index % N_TURNS];
}

int ls_strike_kills(ls_strike_kind kind) {
    return kind != LS_STRIKE_STOP && kind != LS_STRIKE_TERM && !ls_strike_is_gentle(kind);
}

int ls_strike_is_gentle(ls_strike_kind kind) {
    return kind == LS_STRIKE_FULL || kind == LS_STRIKE_SLOW;
}

static int comes_by_itself(ls_strike_kind kind) {
    return !(LS_STRIKES_FROM_OUTSIDE >> kind & 1);
}

/* LOCKSTEP_FAULT of a kind, up to the step, which follows when it is known where the attempt begins; "" = it needs none. */
static void draw_fault(ls_strike *strike, const ls_strike_field *field, ls_rng_key key) {
    const uint64_t n_calls =
        (uint64_t)(field->times.calls_per_step > 0 ? field->times.calls_per_step : 1);
    char words[LS_STRIKE_FAULT - 64] = "";
    switch (strike->kind) {
    case LS_STRIKE_CALL:
        (void)snprintf(words, sizeof words, "kind=die");
        break;
    case LS_STRIKE_TORN:
        (void)snprintf(words, sizeof words, "kind=torn,count=%d",
                       1 + (int)ls_rng_below(key, 2, MOST_WRITE));
        break;
    case LS_STRIKE_FULL:
        (void)snprintf(words, sizeof words, "kind=disk,count=%d,stamp=%s",
                       1 + (int)ls_rng_below(key, 2, MOST_FULL), field->stamp);
        break;
    case LS_STRIKE_SLOW:
        (void)snprintf(words, sizeof words, "kind=slow,count=%d,seconds=%.4f,stamp=%s",
                       1 + (int)ls_rng_below(key, 2, MOST_SLOW),
                       0.001 + most_late_seconds * ls_rng_uniform(key, 6), field->stamp);
        break;
    default:
        return;
    }
    (void)snprintf(strike->fault, sizeof strike->fault, "%s,attempt=all,rank=%d,call=%d", words,
                   strike->first, (int)ls_rng_below(key, 3, n_calls));
}

void ls_strike_draw(uint64_t seed, int64_t index, const ls_strike_field *field, ls_strike *out) {
    const ls_strike_times *times = &field->times;
    const ls_rng_key key = {seed, (uint64_t)index, ls_rng_stream("strike")};
    const double u = ls_rng_uniform(key, 4);
    *out = (ls_strike){.index = index, .kind = find_turn(index, field->kinds), .committed = -1};
    out->first = (int)ls_rng_below(key, 0, (uint64_t)field->size);
    out->n_victims = count_victims(out->kind, field->size, key);
    out->aim = (ls_strike_aim)ls_rng_below(key, 5, LS_AIM_COUNT);
    /* SIGTERM before there are handlers ends the ranks as it would end any program. */
    if (out->kind == LS_STRIKE_TERM) out->aim = LS_AIM_STEP;
    /* Later attempts come up sooner than the one that was timed: more of the early instants. */
    out->delay = u * (out->aim == LS_AIM_START  ? u * times->first_step
                      : out->aim == LS_AIM_SAVE ? 2 * times->step
                                                : STEPS_OF_AIM * times->step);
    draw_fault(out, field, key);
    if (out->kind == LS_STRIKE_FILE)
        (void)snprintf(out->file_fault, sizeof out->file_fault, "n=%d,kind=kill",
                       1 + (int)ls_rng_below(key, 2, MOST_FILE_OPERATION));
}

/* --- watching --- */

static void free_names(char **names, int n) {
    for (int i = 0; i < n; i++) ls_free(names[i]);
    ls_free(names);
}

void ls_strike_watch_begin(ls_strike_watch *watch, const ls_recover_attempt *attempt,
                           ls_strike *strike) {
    watch->attempt = *attempt;
    watch->strike = strike;
    watch->called_at = watch->stepped_at = watch->saved_at = watch->last_at = -1;
    watch->least_step = watch->newest_step = watch->all_made = -1;
    watch->old_names = NULL;
    watch->n_old_names = 0;
    if (ls_path_is_dir(watch->out))
        (void)ls_dir_list(watch->out, &watch->old_names, &watch->n_old_names);
    if (!strike) return;
    strike->attempt = attempt->number;
    strike->base = attempt->base;
    if (!strike->fault[0]) return;
    if (watch->stamp) (void)unlink(watch->stamp);
    const int64_t step = (attempt->base > 0 ? attempt->base : 0) + strike->index % STEPS_OF_AIM;
    const size_t used = strlen(strike->fault);
    (void)snprintf(strike->fault + used, sizeof strike->fault - used, ",step=%lld",
                   (long long)step);
}

void ls_strike_watch_end(ls_strike_watch *watch) {
    free_names(watch->old_names, watch->n_old_names);
    watch->old_names = NULL;
    watch->n_old_names = 0;
}

void ls_strike_watch_again(ls_strike_watch *watch, ls_strike *strike) {
    watch->strike = strike;
    strike->aim = LS_AIM_STEP;
    if (watch->stepped_at >= 0) strike->delay += watch->last_at - watch->stepped_at;
    strike->attempt = watch->attempt.number;
    strike->base = watch->attempt.base;
}

static int is_old(const ls_strike_watch *watch, const char *name) {
    for (int i = 0; i < watch->n_old_names; i++)
        if (strcmp(watch->old_names[i], name) == 0) return 1;
    return 0;
}

/* A temporary folder that was not there when the attempt began. */
int ls_strike_watch_is_saving(const ls_strike_watch *watch) {
    char **names = NULL;
    int n = 0, found = 0;
    if (!ls_path_is_dir(watch->out) || ls_dir_list(watch->out, &names, &n) != LS_OK) return 0;
    for (int i = 0; i < n; i++) found |= strstr(names[i], ".tmp") && !is_old(watch, names[i]);
    free_names(names, n);
    return found;
}

/* Exchanges without data of the model come before the first step too. */
static int is_of_a_step(const ls_rank_report *report) {
    return report->n_calls > 0 && report->step > 0 && strcmp(report->op, "exchange") != 0;
}

static void look(ls_strike_watch *watch, const ls_ranks_view *view) {
    int64_t all = INT64_MAX;
    for (int rank = 0; rank < watch->size; rank++) {
        ls_rank_report report;
        ls_job_report(view->job, rank, &report);
        /* Who is in step t has committed t steps. */
        if ((int64_t)report.step < all) all = (int64_t)report.step;
        if (report.n_calls > 0 && watch->called_at < 0) watch->called_at = view->seconds;
        const int is_step = is_of_a_step(&report);
        if (!is_step) continue;
        const int64_t step = (int64_t)report.step;
        if (watch->stepped_at < 0) watch->stepped_at = view->seconds;
        if (watch->least_step < 0 || step < watch->least_step) watch->least_step = step;
        if (step > watch->newest_step) watch->newest_step = step;
    }
    watch->last_at = view->seconds;
    if (all > 0 && all > watch->all_made) watch->all_made = all;
}

/* --- striking --- */

/* The newest step of a segment; *is_torn_out: its other buffer holds none. */
static int64_t newest_of(const json_t *segment, int *is_torn_out) {
    const json_t *steps = json_object_get(segment, "steps");
    int64_t newest = -1;
    *is_torn_out = 0;
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const int64_t step = json_integer_value(json_array_get(steps, i));
        if (step < 0) *is_torn_out = 1;
        if (step > newest) newest = step;
    }
    return newest;
}

int64_t ls_strike_committed(const ls_recover_attempt *attempt, int *torn_out) {
    json_t *inventory = NULL;
    int64_t step = -1, first = -1;
    *torn_out = 0;
    if (!attempt->keeper || ls_keeper_inventory((ls_keeper *)attempt->keeper, &inventory) != LS_OK)
        return -1;
    if (ls_keeper_best_step(&inventory, 1, &step) != LS_OK) step = -1;
    const json_t *segments = json_object_get(inventory, "segments");
    for (size_t i = 0; i < json_array_size(segments); i++) {
        int is_torn;
        const int64_t newest = newest_of(json_array_get(segments, i), &is_torn);
        if (i == 0) first = newest;
        /* Until its first commit an attempt has one buffer only. */
        if (newest != first || (is_torn && newest > attempt->base)) *torn_out = 1;
    }
    json_decref(inventory);
    return step;
}

/* The narrowest that holds. */
static ls_strike_instant find_instant(const ls_strike_watch *watch, int torn) {
    if (watch->called_at < 0)
        return watch->attempt.number > 0 ? LS_INSTANT_RESTART : LS_INSTANT_START;
    if (torn) return LS_INSTANT_COMMIT;
    if (ls_strike_watch_is_saving(watch)) return LS_INSTANT_SAVE;
    return watch->stepped_at < 0 ? LS_INSTANT_LOAD : LS_INSTANT_STEP;
}

static void strike_ranks(const ls_strike_watch *watch, const ls_ranks_view *view) {
    const ls_strike *strike = watch->strike;
    const int number = strike->kind == LS_STRIKE_STOP ? SIGSTOP : SIGKILL;
    if (strike->kind == LS_STRIKE_TERM) {
        (void)kill(getpid(), SIGTERM);
        return;
    }
    for (int i = 0; i < strike->n_victims; i++) {
        const ls_ranks_end *end = &view->result->ends[(strike->first + i) % watch->size];
        if (!end->has_ended) (void)kill(end->pid, number);
    }
}

/* Since the attempt began; -1 = not known yet. */
static double find_due(const ls_strike_watch *watch) {
    const ls_strike *strike = watch->strike;
    if (strike->aim == LS_AIM_START) return strike->delay;
    if (watch->stepped_at < 0) return -1;
    if (strike->aim == LS_AIM_STEP) return watch->stepped_at + strike->delay;
    if (strike->aim == LS_AIM_SAVE && watch->saved_at >= 0) return watch->saved_at + strike->delay;
    return watch->stepped_at + most_steps_waited * watch->step_seconds;
}

static int is_time(ls_strike_watch *watch, double seconds, int *torn_out) {
    ls_strike *strike = watch->strike;
    const int steps = watch->stepped_at >= 0;
    if (strike->aim == LS_AIM_SAVE && steps && watch->saved_at < 0 &&
        ls_strike_watch_is_saving(watch))
        watch->saved_at = seconds;
    const int sees_commit =
        strike->aim == LS_AIM_COMMIT && steps && seconds >= watch->stepped_at + strike->delay;
    const double due = find_due(watch);
    const int is_due = due >= 0 && seconds >= due;
    if (!is_due && !sees_commit) return 0;
    strike->committed = ls_strike_committed(&watch->attempt, torn_out);
    return is_due || *torn_out;
}

/* What comes by itself and kills is seen when the attempt is over; what is gentle has left a stamp. */
static int has_come(ls_strike_watch *watch, double seconds, int *torn_out) {
    const ls_strike *strike = watch->strike;
    if (!comes_by_itself(strike->kind)) return is_time(watch, seconds, torn_out);
    if (!ls_strike_is_gentle(strike->kind) || !ls_path_exists(watch->stamp)) return 0;
    watch->strike->committed = ls_strike_committed(&watch->attempt, torn_out);
    return 1;
}

double ls_strike_tick(void *user, const ls_ranks_view *view) {
    ls_strike_watch *watch = user;
    ls_strike *strike = watch->strike;
    int torn = 0;
    look(watch, view);
    if (!strike || strike->has_struck || !has_come(watch, view->seconds, &torn))
        return look_seconds;
    if (watch->all_made > strike->committed) strike->committed = watch->all_made;
    strike->instant = find_instant(watch, torn);
    strike->has_struck = 1;
    strike->seconds = ls_clock_seconds();
    if (!comes_by_itself(strike->kind)) strike_ranks(watch, view);
    return look_seconds;
}

void ls_strike_judge(ls_strike_watch *watch, const ls_ranks_result *ended) {
    ls_strike *strike = watch->strike;
    int torn;
    if (!strike) return;
    (void)ls_strike_committed(&watch->attempt, &torn);
    const ls_ranks_end *culprit = ended->culprit >= 0 ? &ended->ends[ended->culprit] : NULL;
    const int kills_itself = comes_by_itself(strike->kind) && ls_strike_kills(strike->kind);
    if (kills_itself && !strike->has_struck && culprit && culprit->signal == SIGKILL &&
        !culprit->was_killed) {
        strike->has_struck = 1;
        strike->committed = watch->all_made;
        strike->seconds = culprit->seconds;
        strike->instant = find_instant(watch, torn);
    }
    /* Which buffers were being written shows best when nobody writes any more. */
    if (strike->has_struck && strike->instant >= LS_INSTANT_STEP && torn)
        strike->instant = LS_INSTANT_COMMIT;
}
