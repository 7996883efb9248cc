/* Ranks with the state kept twice, as threads: shared by the tests of plan option `kept`. */
#ifndef LS_TESTS_KEPT_RUN_H
#define LS_TESTS_KEPT_RUN_H
#include <pthread.h>
#include <stdio.h>

#include "model_run.h"

enum { LANES = 4, TOKENS = 8, VOCAB = 61, CLASSES = 10, MAX_RANKS = 4, MAX_STEPS = 8 };

typedef struct setup {
    ls_model_kind model;
    ls_precision precision;
    int ranks, zero, tied, hosts, kept;
    ls_recompute recompute;
    ls_optim_kind optim;
    double momentum, loss_scale;
    int centered, steps;
    int64_t width; /* 0: 24 */
} setup;

static inline ls_plan *make_plan(const setup *s, ls_plan_mode mode) {
    const int training = mode == LS_PLAN_TRAIN;
    ls_model_options model = small_gpt2(2, s->width ? s->width : 24, VOCAB, TOKENS);
    model.kind = s->model;
    if (s->model == LS_MODEL_RESNET) model.layers = 1;
    model.tied = s->tied;
    model.dropout = s->model == LS_MODEL_GPT2 ? 0.1 : 0;
    model.stages = 2;
    model.image = 8;
    model.classes = CLASSES;
    ls_optim_options optim = ls_optim_default();
    optim.kind = (int)s->optim;
    optim.clip = 0.5;
    optim.momentum = s->momentum;
    optim.centered = s->centered;
    if (s->loss_scale > 0) optim.loss_scale = optim.loss_scale_max = s->loss_scale;
    ls_model_batch batch = training_batch(2, TOKENS, LANES);
    batch.training = training;
    batch.loss_scale = training && s->precision == LS_PRECISION_F16;
    const ls_plan_options options = {.mode = mode,
                                     .device = "cpu",
                                     .threads = 1,
                                     .lanes = LANES,
                                     .precision = s->precision,
                                     .recompute = s->recompute,
                                     .zero = s->zero,
                                     .hosts = s->hosts,
                                     .kept = s->kept && training,
                                     .bucket_bytes = 8000,
                                     .optim = training ? &optim : NULL,
                                     .static_count = 2.0 * LANES * TOKENS};
    const ls_mesh mesh = {.dp = s->ranks};
    return plan_model(&model, &batch, &options, &mesh);
}

static inline ls_status feed(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    return feed_values(tensor, name, *(const uint64_t *)user, lane,
                       strcmp(name, "labels") == 0 ? CLASSES : VOCAB);
}

/* --- ranks, each a thread; a script says what they do ---------------------------------------------------------------- */

typedef struct rank_run rank_run;
typedef ls_status (*script_fn)(rank_run *r);

struct rank_run {
    const setup *s;
    const ls_plan *plan;
    ls_comm *comm;
    ls_device *device;
    ls_program *program;
    int rank;
    script_fn script;
    ls_status status;
    char message[1024];
    char *state; /* every persistent value, whole, by name */
    size_t bytes;
    float loss, skipped;
    /* hooks of kernels */
    ls_status (**launch)(const ls_launch *); /* per node: its kernel's */
    ls_kernel *kernels;
    int n_launches, fail_at, fails;  /* fails: this rank is the one that does */
    int n_announced, announce_fails; /* once hooked */
    char *parts[2];                  /* of each buffer as they must be */
    int watching;
    uint64_t step; /* first: feed's */
};

static __thread rank_run *here;

static inline ls_status fetch_state(rank_run *r) {
    LS_TRY(fetch_whole_state(r->plan, r->program, &r->state, &r->bytes));
    if (r->s->precision == LS_PRECISION_F16)
        LS_TRY(ls_program_fetch_f32(r->program, "skipped_steps", &r->skipped));
    return ls_program_fetch_f32(r->program, "sum/loss", &r->loss);
}

static inline ls_status announce(void *user) {
    rank_run *r = here;
    (void)user;
    r->n_announced++;
    if (r->launch && r->announce_fails) return LS_FAIL(LS_ERR_IO, "the keeper does not answer");
    return LS_OK;
}

static inline ls_status run_step(rank_run *r) {
    const ls_run_options options = {.seed = 5,
                                    .step = r->step,
                                    .feed = feed,
                                    .user = &r->step,
                                    .check_loss = r->s->precision != LS_PRECISION_F16,
                                    .before_update = announce};
    here = r;
    r->n_announced = r->n_launches = 0;
    LS_TRY(ls_program_run(r->program, &options));
    r->step++;
    if (r->n_announced != 1)
        return LS_FAIL(LS_ERR_INTERNAL, "before_update was called %d times", r->n_announced);
    return LS_OK;
}

static inline ls_status lower(rank_run *r, char *first, char *second) {
    const ls_lower_options options = {
        .device = r->device, .comm = r->comm, .kept = {first, second}};
    return ls_program_lower(r->plan, r->rank, &options, &r->program);
}

static inline ls_status train(rank_run *r) {
    LS_TRY(lower(r, NULL, NULL));
    LS_TRY(ls_program_init(r->program, 5));
    for (int i = 0; i < r->s->steps; i++) {
        LS_TRY(run_step(r));
        if (r->s->kept && ls_program_current(r->program) != (i + 1) % 2)
            return LS_FAIL(LS_ERR_INTERNAL, "buffers did not change places");
    }
    return fetch_state(r);
}

static inline void *run_thread(void *user) {
    rank_run *r = user;
    r->status = r->script(r);
    snprintf(r->message, sizeof r->message, "%s", r->status == LS_OK ? "" : ls_error_message());
    if (r->status != LS_OK && r->comm) ls_comm_abort(r->comm, r->message);
    return NULL;
}

/* `ranks` holds what tests set beforehand. */
static inline void run_ranks(const setup *s, script_fn script, rank_run *ranks) {
    ls_plan *plan = make_plan(s, LS_PLAN_TRAIN);
    ls_comm_hub *hub = NULL;
    pthread_t threads[MAX_RANKS];
    const ls_comm_options options = {.late_seconds = 60, .quiet = 1};
    check_ok(ls_comm_hub_create(s->ranks, &options, &hub));
    for (int i = 0; i < s->ranks; i++) {
        rank_run *r = &ranks[i];
        r->s = s;
        r->plan = plan;
        r->comm = s->ranks > 1 ? ls_comm_hub_rank(hub, i) : NULL;
        r->rank = i;
        r->script = script;
        check_ok(ls_device_create("cpu", 0, &r->device));
        pthread_create(&threads[i], NULL, run_thread, r);
    }
    for (int i = 0; i < s->ranks; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < s->ranks; i++) {
        assert_int_equal(ranks[i].device->peak_bytes, (size_t)ls_plan_bytes(plan, i));
        assert_int_equal(ls_program_allocated_bytes(ranks[i].program), ls_plan_bytes(plan, i));
        ls_program_destroy(ranks[i].program);
        assert_int_equal(ranks[i].device->allocated_bytes, 0);
        ls_device_destroy(ranks[i].device);
        free(ranks[i].parts[0]);
        free(ranks[i].parts[1]);
        free(ranks[i].launch);
        free(ranks[i].kernels);
    }
    ls_comm_hub_destroy(hub);
    ls_plan_destroy(plan);
}

/* Trained state; all ranks must agree. */
static inline char *train_setup(const setup *s, size_t *bytes_out, float *loss_out,
                                float *skipped_out) {
    rank_run ranks[MAX_RANKS] = {{0}};
    run_ranks(s, train, ranks);
    for (int i = 0; i < s->ranks; i++) {
        if (ranks[i].status != LS_OK) fail_msg("rank %d: %s", i, ranks[i].message);
        assert_memory_equal(ranks[i].state, ranks[0].state, ranks[0].bytes);
        if (i) free(ranks[i].state);
    }
    *bytes_out = ranks[0].bytes;
    *loss_out = ranks[0].loss;
    *skipped_out = ranks[0].skipped;
    return ranks[0].state;
}

#endif
