#include "train/session.h"

#include <math.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "train/check.h"
#include "train/start.h"

int64_t ls_session_eval_rows(const ls_train_config *c) {
    return c->batch / c->lanes;
}

static ls_plan_options plan_options(const ls_train_config *c, ls_plan_mode mode) {
    return (ls_plan_options){.mode = mode,
                             .device = c->device,
                             .threads = (int)c->threads,
                             .lanes = mode == LS_PLAN_TRAIN ? (int)c->lanes : 1,
                             .precision = (ls_precision)c->precision,
                             .recompute = mode == LS_PLAN_TRAIN ? (ls_recompute)c->recompute
                                                                : LS_RECOMPUTE_NONE,
                             .recompute_bytes = c->recompute_bytes,
                             .logits_bytes = c->logits_bytes,
                             .fuse = c->fuse ? LS_FUSE_ON : LS_FUSE_OFF,
                             .pack = (ls_packing)c->pack,
                             .cast_weights = (ls_casting)c->cast_weights,
                             .zero = (int)c->zero,
                             .shard_lanes = (int)c->lanes,
                             .wire = (ls_wire)c->wire,
                             .fast = c->mode,
                             .hosts = (int)c->hosts,
                             .bucket_bytes = c->bucket_bytes,
                             .link_latency_us = c->link_latency_us,
                             .link_gbps = c->link_gbps,
                             .kept = mode == LS_PLAN_TRAIN && c->copies > 0,
                             .optim = &c->optim};
}

static ls_status make_plan(const ls_train_config *c, ls_plan_mode mode, double static_count,
                           ls_plan **out) {
    const int training = mode == LS_PLAN_TRAIN;
    ls_plan_options options = plan_options(c, mode);
    options.static_count = static_count;
    ls_graph *graph = NULL;
    LS_TRY(ls_graph_create(&graph));
    ls_model_batch batch = {.batch = c->batch / c->lanes,
                            .tokens = c->window,
                            .lanes = (int)c->lanes,
                            .grad_scale = 1.0 / static_count,
                            .training = training,
                            .with_loss = 1,
                            .loss_scale = training && c->precision == LS_PRECISION_F16};
    if (batch.loss_scale) ls_optim_loss_scale(graph, &c->optim);
    ls_status status = ls_model_build(&c->model, &batch, graph);
    const ls_mesh mesh = {.dp = c->ranks ? (int)c->ranks : 1, .pp = 1};
    if (status == LS_OK) status = ls_plan_make(graph, &mesh, &options, out);
    ls_graph_destroy(graph);
    return status;
}

/* Where the state lies when it must outlive this process. */
static ls_status open_keep(ls_session *s, char *buffers_out[2]) {
    if (s->config.copies == 0) return LS_OK;
    if (!ls_keep_is_offered())
        return LS_FAIL(
            LS_ERR_CONFIG,
            "recover.copies = %lld, but nothing here keeps memory for a process that ends: "
            "start with `lockstep run`, or set recover.copies: 0",
            (long long)s->config.copies);
    LS_TRY(ls_keep_open(s->comm, &s->keep));
    return ls_keep_memory(s->keep, s->train_plan, ls_comm_rank(s->comm), buffers_out);
}

static ls_status make_programs(ls_session *s, int parts) {
    const double count = ls_source_static_count(s->source, &s->config);
    ls_lower_options lower = {.device = s->device, .pool = s->pool, .comm = s->comm};
    const int rank = ls_comm_rank(s->comm);
    if (parts & LS_SESSION_TRAIN) {
        LS_TRY(make_plan(&s->config, LS_PLAN_TRAIN, count, &s->train_plan));
        ls_start_mark(&s->start, &s->start.times.plan);
        LS_TRY(open_keep(s, lower.kept));
        LS_TRY(ls_program_lower(s->train_plan, rank, &lower, &s->train));
        ls_start_mark(&s->start, &s->start.times.memory);
    }
    if (parts & LS_SESSION_EVAL) {
        lower.weights_of = s->train;
        lower.kept[0] = lower.kept[1] = NULL;
        LS_TRY(make_plan(&s->config, LS_PLAN_FORWARD, count, &s->eval_plan));
        ls_start_mark(&s->start, &s->start.times.plan);
        LS_TRY(ls_program_lower(s->eval_plan, rank, &lower, &s->eval));
        ls_start_mark(&s->start, &s->start.times.memory);
    }
    return LS_OK;
}

ls_status ls_session_open_device(ls_session *s) {
    LS_TRY(ls_device_create(s->config.device, 0, &s->device));
    return ls_pool_create((int)s->config.threads, 0, &s->pool);
}

/* Long work of one rank is not lateness as long as it gets on. */
static void say_alive(void *user, const char *what, int64_t done, int64_t total, double rate) {
    (void)what, (void)done, (void)total, (void)rate;
    if (ls_comm_check(user) != LS_OK) ls_error_clear(); /* the next collective says it */
}

/* The first rank makes tokenizer and shards; the others find them made. */
static ls_status open_source(ls_session *s) {
    ls_status status = LS_OK;
    if (ls_comm_rank(s->comm) == 0)
        status = ls_source_open(&s->config, s->comm ? say_alive : NULL, s->comm, &s->source);
    LS_TRY(ls_comm_agree(s->comm, "prepare the data", status));
    if (!s->source) status = ls_source_open(&s->config, NULL, NULL, &s->source);
    LS_TRY(ls_comm_agree(s->comm, "open the data", status));
    return ls_source_fit_model(s->source, &s->config.model);
}

/* The ranks that are there are those that were asked for. */
static ls_status fit_ranks(ls_session *s) {
    ls_train_config *c = &s->config;
    const int size = ls_comm_size(s->comm);
    if (s->comm) LS_TRY(ls_train_check_ranks(c, size, ls_comm_hosts(s->comm)));
    c->ranks = size;
    c->hosts = ls_comm_hosts(s->comm);
    return LS_OK;
}

static ls_status open_session(ls_session *s, int parts) {
    LS_TRY(fit_ranks(s));
    LS_TRY(open_source(s));
    s->start.times.prepared_bytes = ls_source_prepared_bytes(s->source);
    ls_start_mark(&s->start, &s->start.times.data);
    LS_TRY(ls_session_open_device(s));
    ls_start_mark(&s->start, &s->start.times.memory);
    return make_programs(s, parts);
}

ls_status ls_session_open(ls_session *s, const ls_train_config *config, ls_comm *comm, int parts) {
    *s = (ls_session){.config = *config, .comm = comm};
    ls_start_begin(&s->start);
    const ls_status status = open_session(s, parts);
    if (status != LS_OK) ls_session_close(s);
    return status;
}

void ls_session_close(ls_session *s) {
    ls_program_destroy(s->eval);
    ls_program_destroy(s->train);
    ls_keep_close(s->keep);
    ls_plan_destroy(s->eval_plan);
    ls_plan_destroy(s->train_plan);
    ls_pool_destroy(s->pool);
    ls_device_destroy(s->device);
    ls_source_close(s->source);
    ls_tokenizer_destroy(s->tokenizer);
    *s = (ls_session){0};
}

static ls_status feed_eval(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    (void)lane;
    return ls_source_eval_feed(user, name, tensor);
}

typedef struct eval_sums {
    double loss, correct;
    int64_t n_targets, n_bytes;
} eval_sums;

/* Sums of the rows from `first` on. */
static ls_status evaluate_rows(ls_session *s, int64_t first, int prepared, eval_sums *out) {
    LS_TRY(ls_source_eval_load(s->source, first, &out->n_targets, &out->n_bytes));
    const ls_run_options run = {.feed = feed_eval, .user = s->source, .prepared = prepared};
    LS_TRY(ls_program_run(s->eval, &run));
    float loss, correct = 0;
    LS_TRY(ls_program_fetch_f32(s->eval, "sum/loss", &loss));
    if (ls_source_is_images(s->source))
        LS_TRY(ls_program_fetch_f32(s->eval, "sum/correct", &correct));
    out->loss = (double)loss;
    out->correct = (double)correct;
    return LS_OK;
}

/* Every rank takes its rows of a round; all add everybody's sums in the order of the rows, so that the number of ranks changes
 * nothing. A rank that has no rows left runs the first again, for company, and counts nothing. */
static ls_status evaluate_round(ls_session *s, int64_t first, int64_t rows, int64_t n_windows,
                                eval_sums *sums, eval_sums *all) {
    const int size = ls_comm_size(s->comm);
    const int64_t mine = first + ls_comm_rank(s->comm) * rows;
    eval_sums own = {0};
    LS_TRY(evaluate_rows(s, mine < n_windows ? mine : 0, first > 0, &own));
    if (mine >= n_windows) own = (eval_sums){0};
    LS_TRY(ls_comm_exchange(s->comm, "evaluation", &own, sizeof own, all));
    for (int r = 0; r < size; r++) {
        sums->loss += all[r].loss;
        sums->correct += all[r].correct;
        sums->n_targets += all[r].n_targets;
        sums->n_bytes += all[r].n_bytes;
    }
    return LS_OK;
}

ls_status ls_session_evaluate(ls_session *s, ls_split part, int64_t max_windows,
                              ls_eval_result *out) {
    const double start = ls_clock_seconds();
    const int64_t rows = ls_session_eval_rows(&s->config);
    const int64_t begun = ls_trace_now();
    const int size = ls_comm_size(s->comm);
    int64_t n_windows;
    eval_sums sums = {0};
    LS_TRY(ls_source_eval_begin(s->source, part, rows, &n_windows));
    if (max_windows > 0 && max_windows < n_windows) n_windows = max_windows;
    eval_sums *all = ls_alloc(sizeof *all * (size_t)size);
    if (!all) return LS_ERR_NO_MEMORY;
    ls_status status = LS_OK;
    for (int64_t first = 0; status == LS_OK && first < n_windows; first += rows * size)
        status = evaluate_round(s, first, rows, n_windows, &sums, all);
    ls_free(all);
    LS_TRY(status);
    ls_trace_add_span(s->trace, LS_TRACE_EVALUATE, s->trace_step, begun);
    if (sums.n_targets == 0)
        return LS_FAIL(LS_ERR_DATA, "evaluation: this part of the data has no targets");
    const int images = ls_source_is_images(s->source);
    *out = (ls_eval_result){.loss = sums.loss / (double)sums.n_targets,
                            .bits_per_byte =
                                images ? NAN : sums.loss / log(2.0) / (double)sums.n_bytes,
                            .accuracy = images ? sums.correct / (double)sums.n_targets : NAN,
                            .n_targets = sums.n_targets,
                            .n_bytes = sums.n_bytes,
                            .seconds = ls_clock_seconds() - start};
    return LS_OK;
}

ls_status ls_train_plan(const ls_train_config *config, ls_plan **train_out, ls_plan **eval_out) {
    ls_source *source = NULL;
    ls_train_config c = *config;
    LS_TRY(ls_train_check_plan(&c));
    LS_TRY(ls_source_open(&c, NULL, NULL, &source));
    ls_status status = ls_source_fit_model(source, &c.model);
    const double count = ls_source_static_count(source, &c);
    ls_source_close(source);
    *train_out = *eval_out = NULL;
    if (status == LS_OK) status = make_plan(&c, LS_PLAN_TRAIN, count, train_out);
    if (status == LS_OK && ls_train_evaluates(&c))
        status = make_plan(&c, LS_PLAN_FORWARD, count, eval_out);
    if (status == LS_OK) return LS_OK;
    ls_plan_destroy(*train_out);
    *train_out = NULL;
    return status;
}

int ls_train_evaluates(const ls_train_config *c) {
    return ls_data_has_part(c, LS_SPLIT_STOP) || ls_data_has_part(c, LS_SPLIT_HELD);
}

int64_t ls_train_planned_bytes(const ls_plan *train, const ls_plan *eval) {
    int64_t bytes = ls_plan_bytes(train, 0);
    if (eval)
        bytes += ls_plan_bytes(eval, 0) - (int64_t)eval->ranks[0].bytes[LS_REGION_WEIGHTS] -
                 (int64_t)eval->ranks[0].bytes[LS_REGION_BUFFERS];
    return bytes;
}
