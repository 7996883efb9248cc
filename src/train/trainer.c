/* The loop, and nothing else. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/config.h"
#include "train/check.h"
#include "train/profiler.h"
#include "train/recorder.h"
#include "train/saving.h"
#include "train/start.h"
#include "train/step_hash.h"
#include "train/update_check.h"

/* What a rank tells the others after each step. */
typedef struct vote {
    int signal; /* that asks it to end; 0 = none */
    int is_late, save_state;
} vote;

typedef struct trainer {
    ls_session session;
    ls_recorder *recorder;
    ls_saving saving;
    ls_step_hash *hash;    /* NULL: hash_every is 0 */
    ls_profiler *profiler; /* NULL: without --profile */
    const ls_train_options *options;
    ls_train_state state;
    int64_t first_step; /* steps done at the start */
    double start, seconds_before, eval_seconds;
    ls_train_progress progress;
    ls_train_result *result;
    vote *votes; /* one per rank */
    int *save_states;
} trainer;

static ls_status feed(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    trainer *t = user;
    if (lane >= 0) return ls_source_feed(t->session.source, t->state.step, name, lane, tensor);
    if (strcmp(name, "lr") != 0)
        return LS_FAIL(LS_ERR_INTERNAL,
                       "the graph asks for step input '%s', which the trainer does not know", name);
    ls_tensor_set(tensor, 0, t->state.lr);
    return LS_OK;
}

static ls_status before_update(void *user) {
    trainer *t = user;
    return ls_saving_before_update(&t->session);
}

static ls_run_options run_options(trainer *t) {
    const int f16 = t->session.config.precision ==
                    LS_PRECISION_F16; /* overflow there is answered by loss scaling */
    return (ls_run_options){.seed = (uint64_t)t->session.config.seed,
                            .step = (uint64_t)t->state.step,
                            .feed = feed,
                            .user = t,
                            .check_loss = !f16,
                            .before_update = before_update,
                            .trace = t->session.trace};
}

/* Runs step state.step; the hook counts what it allocates. */
static ls_status run_step(trainer *t) {
    const ls_run_options run = run_options(t);
    t->state.lr = (double)(float)ls_optim_lr(&t->session.config.optim, t->state.step,
                                             t->session.config.steps);
    LS_TRY(ls_step_hash_before(t->hash, t->state.step));
    const int64_t calls = ls_alloc_get_stats().n_calls;
    LS_TRY(ls_program_run(t->session.train, &run));
    t->result->run_allocations += ls_alloc_get_stats().n_calls - calls;
    float loss, count, norm;
    LS_TRY(ls_program_fetch_f32(t->session.train, "sum/loss", &loss));
    LS_TRY(ls_program_fetch_f32(t->session.train, "sum/count", &count));
    LS_TRY(ls_program_fetch_f32(t->session.train, "grad_norm", &norm));
    LS_TRY(ls_update_check(&t->session, &t->state, &run));
    t->state.loss = count > 0 ? (double)loss / (double)count : NAN;
    t->state.grad_norm = (double)norm;
    t->state.step++;
    return ls_step_hash_after(t->hash, t->state.step, t->recorder);
}

static void time_step(trainer *t) {
    const double now = ls_clock_seconds(), seconds = now - t->start - t->eval_seconds;
    const int64_t done = t->state.step - t->first_step;
    if (done == 1) {
        ls_start_mark(&t->session.start, &t->session.start.times.first_step);
        t->result->start = t->session.start.times;
        t->result->first_step_seconds = ls_start_seconds(&t->result->start);
    }
    t->state.seconds = t->seconds_before + seconds;
    t->progress.items_per_second =
        (double)done * ls_source_static_count(t->session.source, &t->session.config) / seconds;
    t->progress.flops_per_second = (double)done * t->session.train_plan->flops_per_step / seconds;
    t->progress.eta_seconds =
        (double)(t->session.config.steps - t->state.step) * seconds / (double)done;
}

/* What there is to tell of the last step, whether this process made it or the one before. */
static void fill_progress(trainer *t) {
    const ls_train_config *c = &t->session.config;
    const ls_train_state *s = &t->state;
    t->progress.step = s->step;
    t->progress.steps = c->steps;
    t->progress.loss = s->loss;
    t->progress.lr = s->lr;
    t->progress.grad_norm = s->grad_norm;
    t->progress.seconds = s->seconds;
    t->progress.n_skipped = s->n_skipped;
    t->progress.held_loss = s->held_loss;
    if (c->max_seconds > 0 && c->max_seconds - s->seconds < t->progress.eta_seconds)
        t->progress.eta_seconds = c->max_seconds > s->seconds ? c->max_seconds - s->seconds : 0;
    t->result->loss = s->loss;
    t->result->n_skipped = s->n_skipped;
    t->result->train_seconds = s->seconds;
    t->result->items_per_second = t->progress.items_per_second;
}

static ls_status evaluate(trainer *t) {
    const double start = ls_clock_seconds();
    const ls_train_config *c = &t->session.config;
    ls_eval_result eval;
    LS_TRY(ls_session_evaluate(&t->session, ls_data_watched_part(c), c->eval_windows, &eval));
    t->state.held_loss = eval.loss;
    t->progress.held_loss = eval.loss;
    ls_early_stop_update(&t->state.stop, eval.loss, t->state.step);
    if (t->recorder) LS_TRY(ls_recorder_evaluation(t->recorder, t->state.step, &eval));
    t->eval_seconds += ls_clock_seconds() - start;
    ls_bound_add_evaluation(&t->saving.bound, ls_clock_seconds() - start);
    return LS_OK;
}

static int is_due(int64_t every, int64_t step) {
    return every > 0 && step % every == 0;
}

/* Signals and clocks differ between ranks: a signal to any counts, the strongest first; the first rank's clock decides. */
static ls_status must_stop(trainer *t, int *out) {
    const ls_train_config *c = &t->session.config;
    const int size = ls_comm_size(t->session.comm);
    const vote mine = {t->options->interrupt ? *t->options->interrupt : 0,
                       c->max_seconds > 0 && t->state.seconds >= c->max_seconds,
                       ls_saving_vote(&t->saving)};
    LS_TRY(ls_comm_exchange(t->session.comm, "whether to stop", &mine, sizeof mine, t->votes));
    int signal = 0;
    for (int r = 0; r < size; r++) {
        if (t->votes[r].signal && (signal == 0 || signal == SIGUSR1)) signal = t->votes[r].signal;
        t->save_states[r] = t->votes[r].save_state;
    }
    t->result->interrupted = signal;
    t->result->stopped_early = c->optim.patience > 0 && ls_early_stop_due(&t->state.stop);
    *out = signal || t->result->stopped_early || t->votes[0].is_late;
    return ls_saving_advance(&t->saving, t->save_states, size);
}

/* All that follows a step. May be done again for a step whose process died in the middle of it. */
static ls_status follow_up(trainer *t, int *stop_out) {
    const ls_train_config *c = &t->session.config;
    const int64_t step = t->state.step;
    fill_progress(t);
    if (t->recorder && is_due(c->log_every, step))
        LS_TRY(ls_recorder_step(t->recorder, &t->progress));
    if (is_due(c->eval_every, step) && ls_data_has_part(c, ls_data_watched_part(c)))
        LS_TRY(evaluate(t));
    if (t->progress.peak_flops_per_second == 0 && t->options->progress && step - t->first_step == 2)
        LS_TRY(ls_peak_of_ranks(&t->session, &t->progress.peak_flops_per_second, &t->eval_seconds));
    if (t->options->progress) t->options->progress(t->options->user, &t->progress);
    LS_TRY(must_stop(t, stop_out));
    if (*stop_out || !is_due(c->save_every, step) || step >= c->steps) return LS_OK;
    const double before = ls_clock_seconds();
    LS_TRY(ls_saving_begin(&t->saving, &t->state));
    t->eval_seconds += ls_clock_seconds() - before;
    return LS_OK;
}

/* What a run says once, when its first step is behind it. */
static ls_status tell_start(trainer *t) {
    if (t->state.step - t->first_step != 1 || !t->recorder) return LS_OK;
    LS_TRY(ls_start_tell(&t->result->start, t->recorder, t->state.step));
    return ls_saving_tell(&t->saving, t->state.step, &t->eval_seconds);
}

static ls_status run_loop(trainer *t, ls_origin origin) {
    int stop = 0;
    t->start = ls_clock_seconds();
    t->seconds_before = t->state.seconds;
    if (origin == LS_FROM_MEMORY && t->state.step > 0) LS_TRY(follow_up(t, &stop));
    while (!stop && t->state.step < t->session.config.steps) {
        const double begun = ls_clock_seconds();
        ls_profiler_begin_step(t->profiler, t->state.step);
        LS_TRY(run_step(t));
        time_step(t);
        ls_saving_time_step(&t->saving, ls_clock_seconds() - begun);
        LS_TRY(ls_saving_commit(&t->saving, &t->state));
        LS_TRY(follow_up(t, &stop));
        LS_TRY(tell_start(t));
        LS_TRY(ls_profiler_end_step(t->profiler, stop || t->state.step >= t->session.config.steps,
                                    t->result, &t->eval_seconds));
    }
    /* SIGUSR1: go on elsewhere from memory. */
    return t->result->interrupted == SIGUSR1 && t->session.keep
               ? LS_OK
               : ls_saving_finish(&t->saving, &t->state);
}

static ls_status begin(trainer *t, const ls_train_config *config, const struct ls_config *values,
                       ls_origin *origin_out) {
    const int parts = LS_SESSION_TRAIN | (ls_train_evaluates(config) ? LS_SESSION_EVAL : 0);
    LS_TRY(ls_train_check_run(config));
    LS_TRY(ls_session_open(&t->session, config, t->options->comm, parts));
    const int size = t->result->ranks = ls_comm_size(t->session.comm);
    t->votes = ls_alloc(sizeof *t->votes * (size_t)size);
    t->save_states = ls_alloc(sizeof *t->save_states * (size_t)size);
    if (!t->votes || !t->save_states) return LS_ERR_NO_MEMORY;
    LS_TRY(ls_saving_init(&t->saving, &t->session, values));
    t->result->parameters = t->session.train_plan->n_parameters;
    t->result->planned_bytes =
        ls_train_planned_bytes(t->session.train_plan, t->session.eval_plan) +
        ls_saving_bytes(config, t->session.train_plan, ls_comm_rank(t->session.comm));
    t->result->allocated_bytes = (int64_t)t->session.device->peak_bytes;
    ls_train_state_init(&t->state, &config->optim);
    LS_TRY(ls_saving_restore(&t->saving, t->options->resume, &t->state, origin_out));
    ls_start_mark(&t->session.start, &t->session.start.times.weights);
    t->first_step = t->state.step;
    LS_TRY(ls_step_hash_create(&t->session, &t->hash));
    LS_TRY(ls_profiler_create(&t->session, values, t->options, &t->profiler));
    ls_status status = LS_OK;
    if (ls_comm_rank(t->session.comm) == 0)
        status = ls_recorder_open(
            &t->session, *origin_out == LS_FROM_START ? -1 : t->state.step + 1, &t->recorder);
    t->saving.recorder = t->recorder;
    ls_start_mark(&t->session.start, &t->session.start.times.records);
    return ls_comm_agree(t->session.comm, "open the run's folder", status);
}

/* The report: held-out loss of the final weights, their hash, the chart. */
static ls_status finish(trainer *t) {
    ls_train_result *r = t->result;
    r->steps = t->state.step;
    r->allocated_bytes = (int64_t)t->session.device->peak_bytes;
    LS_TRY(ls_ckpt_hash_program(t->session.train, r->weights_sha256));
    if (ls_data_has_part(&t->session.config, LS_SPLIT_HELD) && !r->interrupted) {
        ls_eval_result eval;
        LS_TRY(ls_session_evaluate(&t->session, LS_SPLIT_HELD, 0, &eval));
        r->held_loss = eval.loss;
        r->held_bits_per_byte = eval.bits_per_byte;
        r->held_accuracy = eval.accuracy;
    }
    const ls_status status = t->recorder ? ls_recorder_finish(t->recorder, r) : LS_OK;
    return ls_comm_agree(t->session.comm, "write the run's end", status);
}

ls_status ls_train(const ls_train_config *config, const struct ls_config *values,
                   const ls_train_options *options, ls_train_result *out) {
    *out = (ls_train_result){
        .held_loss = NAN, .held_bits_per_byte = NAN, .held_accuracy = NAN, .loss = NAN};
    trainer *t = ls_alloc(sizeof *t);
    if (!t) return LS_ERR_NO_MEMORY;
    t->options = options;
    t->result = out;
    ls_origin origin = LS_FROM_START;
    ls_status status = begin(t, config, values, &origin);
    if (status == LS_OK) status = run_loop(t, origin);
    if (status == LS_OK) status = finish(t);
    if (status != LS_OK && status != LS_ERR_COMM) ls_comm_abort(options->comm, ls_error_message());
    snprintf(out->checkpoint, sizeof out->checkpoint, "%s", t->saving.path);
    ls_recorder_close(t->recorder);
    ls_step_hash_destroy(t->hash);
    ls_profiler_destroy(t->profiler);
    ls_saving_deinit(&t->saving);
    ls_session_close(&t->session);
    ls_free(t->votes);
    ls_free(t->save_states);
    ls_free(t);
    return status;
}
