/* The loop, and nothing else. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/config.h"
#include "train/bound.h"
#include "train/recorder.h"
#include "train/session.h"
#include "train/step_hash.h"

typedef struct trainer {
    ls_session session;
    ls_recorder *recorder;
    ls_bound bound;
    ls_step_hash *hash; /* NULL: hash_every is 0 */
    const ls_train_options *options;
    const struct ls_config *values;
    ls_early_stop stop;
    int64_t step, first_step; /* steps done; at the start */
    float lr, loss_scale;     /* the scale after the last skipped step, 0 before the first */
    double start, eval_seconds, held_loss;
    ls_train_progress progress;
    ls_train_result *result;
    int *votes; /* two per rank */
} trainer;

static ls_status feed(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    trainer *t = user;
    if (lane >= 0) return ls_source_feed(t->session.source, t->step, name, lane, tensor);
    if (strcmp(name, "lr") != 0)
        return LS_FAIL(LS_ERR_INTERNAL,
                       "the graph asks for step input '%s', which the trainer does not know", name);
    ls_tensor_set(tensor, 0, (double)t->lr);
    return LS_OK;
}

static ls_run_options run_options(trainer *t) {
    const int f16 = t->session.config.precision ==
                    LS_PRECISION_F16; /* overflow there is answered by loss scaling */
    return (ls_run_options){.seed = (uint64_t)t->session.config.seed,
                            .step = (uint64_t)t->step,
                            .feed = feed,
                            .user = t,
                            .check_loss = !f16};
}

/* Which rank, and where in it? Decided together: every rank looks at its own lanes; what they do not show again was seen when it
 * was added. */
static ls_status diagnose(trainer *t, const ls_run_options *run) {
    LS_TRY(ls_comm_agree(t->session.comm, "look for the first value that is not finite",
                         ls_program_diagnose(t->session.train, run)));
    return ls_comm_suspect_report(t->session.comm, run->step);
}

/* Overflow is answered by a smaller loss scale; at the smallest one it is no matter of scale. */
static ls_status check_loss_scale(trainer *t, const ls_run_options *run) {
    const double least = t->session.config.optim.loss_scale_min;
    const int had_room = t->loss_scale == 0 || (double)t->loss_scale > least;
    LS_TRY(ls_program_fetch_f32(t->session.train, "loss_scale", &t->loss_scale));
    if (had_room) return LS_OK;
    LS_TRY(diagnose(t, run));
    return LS_FAIL(LS_ERR_NUMERIC,
                   "step %lld: the gradient overflows f16 even at the smallest loss scale "
                   "(optim.loss_scale_min = %g); lower the learning rate, or use bf16 or f32",
                   (long long)t->step, least);
}

/* A skipped update means a gradient that is not finite: expected in f16, an error elsewhere. */
static ls_status check_update(trainer *t, const ls_run_options *run) {
    float scale;
    LS_TRY(ls_program_fetch_f32(t->session.train, "grad_scale", &scale));
    if (scale >= 0) return LS_OK;
    t->result->n_skipped++;
    if (t->session.config.precision == LS_PRECISION_F16) return check_loss_scale(t, run);
    LS_TRY(diagnose(t, run));
    return LS_FAIL(
        LS_ERR_NUMERIC,
        "step %lld: the gradient's norm is not finite, although every value of every lane is; "
        "the weights were left as they are; lower the learning rate",
        (long long)t->step);
}

/* Runs step t->step; the hook counts what it allocates. */
static ls_status run_step(trainer *t) {
    const ls_run_options run = run_options(t);
    t->lr = (float)ls_optim_lr(&t->session.config.optim, t->step, t->session.config.steps);
    LS_TRY(ls_step_hash_before(t->hash, t->step));
    const int64_t calls = ls_alloc_get_stats().n_calls;
    LS_TRY(ls_program_run(t->session.train, &run));
    t->result->run_allocations += ls_alloc_get_stats().n_calls - calls;
    float loss, count, norm;
    LS_TRY(ls_program_fetch_f32(t->session.train, "sum/loss", &loss));
    LS_TRY(ls_program_fetch_f32(t->session.train, "sum/count", &count));
    LS_TRY(ls_program_fetch_f32(t->session.train, "grad_norm", &norm));
    LS_TRY(check_update(t, &run));
    t->result->loss = count > 0 ? (double)loss / (double)count : NAN;
    t->progress.loss = t->result->loss;
    t->progress.grad_norm = (double)norm;
    t->progress.lr = (double)t->lr;
    t->step++;
    return ls_step_hash_after(t->hash, t->step, t->recorder);
}

static void time_step(trainer *t) {
    const ls_train_config *c = &t->session.config;
    const double now = ls_clock_seconds(), seconds = now - t->start - t->eval_seconds;
    const int64_t done = t->step - t->first_step;
    const double items = ls_source_static_count(t->session.source, c);
    if (done == 1) t->result->first_step_seconds = ls_clock_process_seconds();
    t->progress.step = t->step;
    t->progress.steps = c->steps;
    t->progress.seconds = seconds;
    t->progress.items_per_second = (double)done * items / seconds;
    t->progress.flops_per_second = (double)done * t->session.train_plan->flops_per_step / seconds;
    t->progress.eta_seconds = (double)(c->steps - t->step) * seconds / (double)done;
    if (c->max_seconds > 0 && c->max_seconds - seconds < t->progress.eta_seconds)
        t->progress.eta_seconds = c->max_seconds > seconds ? c->max_seconds - seconds : 0;
    t->progress.n_skipped = t->result->n_skipped;
    t->progress.held_loss = t->held_loss;
    t->result->train_seconds = seconds;
    t->result->items_per_second = t->progress.items_per_second;
}

static ls_status evaluate(trainer *t) {
    const double start = ls_clock_seconds();
    const int images = ls_source_is_images(t->session.source);
    ls_eval_result eval;
    LS_TRY(ls_session_evaluate(&t->session, images ? LS_SPLIT_HELD : LS_SPLIT_STOP,
                               t->session.config.eval_windows, &eval));
    t->held_loss = eval.loss;
    t->progress.held_loss = eval.loss;
    ls_early_stop_update(&t->stop, eval.loss, t->step);
    if (t->recorder) LS_TRY(ls_recorder_evaluation(t->recorder, t->step, &eval));
    t->eval_seconds += ls_clock_seconds() - start;
    ls_bound_add_evaluation(&t->bound, ls_clock_seconds() - start);
    return LS_OK;
}

static ls_status save(trainer *t) {
    return ls_recorder_save(&t->session, t->values, t->step, &t->stop, t->result->checkpoint,
                            sizeof t->result->checkpoint);
}

static int is_due(int64_t every, int64_t step) {
    return every > 0 && step % every == 0;
}

static ls_status save_on_the_way(trainer *t) {
    const double start = ls_clock_seconds();
    LS_TRY(save(t));
    ls_bound_add_save(&t->bound, t->bound.save_bytes, ls_clock_seconds() - start);
    return t->recorder ? ls_bound_tell(&t->bound, t->recorder, t->step) : LS_OK;
}

/* The bound on SIGTERM to saved, from the first step on. */
static ls_status time_bound(trainer *t, double step_seconds) {
    ls_bound_add_step(&t->bound, step_seconds);
    if (!t->recorder || t->step != t->first_step + 1) return LS_OK;
    ls_bound_probe(&t->bound, t->session.config.out);
    return ls_bound_tell(&t->bound, t->recorder, t->step);
}

/* Signals and clocks differ between ranks: a signal to any counts, the first rank's clock decides. */
static ls_status must_stop(trainer *t, int *out) {
    const ls_train_config *c = &t->session.config;
    int mine[2] = {t->options->interrupt ? *t->options->interrupt : 0,
                   c->max_seconds > 0 && t->result->train_seconds >= c->max_seconds};
    LS_TRY(ls_comm_exchange(t->session.comm, "whether to stop", mine, sizeof mine, t->votes));
    t->result->interrupted = 0;
    for (int r = 0; r < ls_comm_size(t->session.comm); r++)
        if (t->votes[2 * r] > t->result->interrupted) t->result->interrupted = t->votes[2 * r];
    t->result->stopped_early = c->optim.patience > 0 && ls_early_stop_due(&t->stop);
    *out = t->result->interrupted || t->result->stopped_early || t->votes[1];
    return LS_OK;
}

static ls_status run_loop(trainer *t) {
    const ls_train_config *c = &t->session.config;
    t->start = ls_clock_seconds();
    while (t->step < c->steps) {
        const double begun = ls_clock_seconds();
        LS_TRY(run_step(t));
        time_step(t);
        LS_TRY(time_bound(t, ls_clock_seconds() - begun));
        if (t->recorder && is_due(c->log_every, t->step))
            LS_TRY(ls_recorder_step(t->recorder, &t->progress));
        if (is_due(c->eval_every, t->step) && ls_train_evaluates(c)) LS_TRY(evaluate(t));
        if (t->progress.peak_flops_per_second == 0 && t->options->progress &&
            t->step - t->first_step == 2) {
            const double before = ls_clock_seconds();
            LS_TRY(
                ls_peak_measure(t->session.pool, c->precision, &t->progress.peak_flops_per_second));
            t->progress.peak_flops_per_second *= t->result->ranks; /* as if all were alike */
            t->eval_seconds += ls_clock_seconds() - before;
        }
        if (t->options->progress) t->options->progress(t->options->user, &t->progress);
        int stop;
        LS_TRY(must_stop(t, &stop));
        if (stop) break;
        if (is_due(c->save_every, t->step) && t->step < c->steps) LS_TRY(save_on_the_way(t));
    }
    return save(t);
}

static ls_status resume(trainer *t, const char *dir) {
    ls_ckpt *ckpt = NULL;
    LS_TRY(ls_ckpt_open(dir, &ckpt));
    ls_status status = ls_ckpt_load(ckpt, t->session.train, 0);
    t->step = ls_ckpt_step(ckpt);
    if (status == LS_OK) status = ls_recorder_restore(ls_ckpt_trainer(ckpt), &t->stop);
    ls_ckpt_close(ckpt);
    return status;
}

static ls_status begin(trainer *t, const ls_train_config *config) {
    const int parts = LS_SESSION_TRAIN | (ls_train_evaluates(config) ? LS_SESSION_EVAL : 0);
    if (config->optim.patience > 0 && (!ls_model_reads_tokens(config->model.kind)))
        return LS_FAIL(LS_ERR_CONFIG, "optim.patience: image data has no part for early stopping "
                                      "(its test images must not decide); set it to 0");
    LS_TRY(ls_session_open(&t->session, config, t->options->comm, parts));
    t->result->ranks = ls_comm_size(t->session.comm);
    t->votes = ls_alloc(sizeof *t->votes * 2 * (size_t)t->result->ranks);
    if (!t->votes) return LS_ERR_NO_MEMORY;
    t->result->parameters = t->session.train_plan->n_parameters;
    t->result->planned_bytes = ls_train_planned_bytes(t->session.train_plan, t->session.eval_plan);
    t->result->allocated_bytes = (int64_t)t->session.device->peak_bytes;
    ls_early_stop_init(&t->stop, config->optim.patience, config->optim.min_delta);
    t->held_loss = NAN;
    if (t->options->resume)
        LS_TRY(resume(t, t->options->resume));
    else
        LS_TRY(ls_program_init(t->session.train, (uint64_t)config->seed));
    t->first_step = t->step;
    LS_TRY(ls_step_hash_create(&t->session, &t->hash));
    LS_TRY(ls_bound_init(&t->bound, &t->session));
    ls_status status = LS_OK;
    if (ls_comm_rank(t->session.comm) == 0)
        status = ls_recorder_open(&t->session, t->options->resume != NULL, t->step, &t->recorder);
    return ls_comm_agree(t->session.comm, "open the run's folder", status);
}

/* The report: held-out loss of the final weights, their hash, the chart. */
static ls_status finish(trainer *t) {
    ls_train_result *r = t->result;
    r->steps = t->step;
    r->allocated_bytes = (int64_t)t->session.device->peak_bytes;
    LS_TRY(ls_ckpt_hash_program(t->session.train, r->weights_sha256));
    if (t->session.eval && !r->interrupted) {
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
    t->values = values;
    t->result = out;
    ls_status status = begin(t, config);
    if (status == LS_OK) status = run_loop(t);
    if (status == LS_OK) status = finish(t);
    if (status != LS_OK && status != LS_ERR_COMM) ls_comm_abort(options->comm, ls_error_message());
    ls_recorder_close(t->recorder);
    ls_step_hash_destroy(t->hash);
    ls_session_close(&t->session);
    ls_free(t->votes);
    ls_free(t);
    return status;
}
