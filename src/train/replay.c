#include "train/replay.h"

#include <string.h>

#include "base/alloc.h"
#include "base/thread.h"

typedef struct replay {
    const ls_train_config *config;
    const ls_replay_options *options;
    ls_comm_hub *hub;
    ls_replay_finding *finding; /* the first rank's */
} replay;

typedef struct replay_rank {
    const replay *replay;
    ls_session session;
    ls_step_hash *hash;
    int64_t step; /* done */
    int is_first;
} replay_rank;

static ls_status feed(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    replay_rank *r = user;
    const ls_train_config *c = &r->session.config;
    if (lane >= 0) return ls_source_feed(r->session.source, r->step, name, lane, tensor);
    if (strcmp(name, "lr") != 0)
        return LS_FAIL(LS_ERR_INTERNAL, "the graph asks for step input '%s'", name);
    ls_tensor_set(tensor, 0, (double)(float)ls_optim_lr(&c->optim, r->step, c->steps));
    return LS_OK;
}

static ls_status run_step(replay_rank *r) {
    const ls_train_config *c = &r->session.config;
    const ls_run_options run = {.seed = (uint64_t)c->seed,
                                .step = (uint64_t)r->step,
                                .feed = feed,
                                .user = r,
                                .check_loss = c->precision != LS_PRECISION_F16};
    LS_TRY(ls_program_run(r->session.train, &run));
    r->step++;
    return LS_OK;
}

/* Step record->step; *right_out: as recorded. All ranks come to the same. */
static ls_status run_recorded(replay_rank *r, const ls_hash_record *record, int *right_out) {
    const ls_hash_record *made;
    ls_replay_finding found;
    LS_TRY(ls_step_hash_begin(r->hash, r->step));
    LS_TRY(run_step(r));
    LS_TRY(ls_step_hash_end(r->hash, r->step, &made));
    LS_TRY(ls_replay_compare(record, made, &found));
    *right_out = found.what == LS_REPLAY_RIGHT;
    if (!r->is_first) {
        ls_free(found.wrong);
        return LS_OK;
    }
    ls_replay_finding *out = r->replay->finding;
    found.from = out->from;
    found.last_right = *right_out ? record->step : out->last_right;
    *out = found;
    return LS_OK;
}

static ls_status run_steps(replay_rank *r) {
    const ls_replay_options *o = r->replay->options;
    if (r->is_first) r->replay->finding->from = r->step;
    for (int i = 0, right = 1; i < o->n_records && right; i++) {
        if (o->records[i].step <= r->step)
            return LS_FAIL(LS_ERR_INVALID,
                           "replay: begins with step %lld and cannot make step %lld",
                           (long long)r->step + 1, (long long)o->records[i].step);
        while (r->step + 1 < o->records[i].step) LS_TRY(run_step(r));
        LS_TRY(run_recorded(r, &o->records[i], &right));
    }
    return LS_OK;
}

static ls_status load(replay_rank *r) {
    const char *dir = r->replay->options->checkpoint;
    if (!dir) return ls_program_init(r->session.train, (uint64_t)r->session.config.seed);
    ls_ckpt *ckpt = NULL;
    LS_TRY(ls_ckpt_open(dir, &ckpt));
    r->step = ls_ckpt_step(ckpt);
    const ls_status status = ls_ckpt_load(ckpt, r->session.train, 0);
    ls_ckpt_close(ckpt);
    return status;
}

static ls_status run_open_rank(replay_rank *r) {
    LS_TRY(ls_comm_agree(r->session.comm, "load the checkpoint", load(r)));
    LS_TRY(ls_step_hash_create_always(&r->session, &r->hash));
    const ls_status status = run_steps(r);
    ls_step_hash_destroy(r->hash);
    return status;
}

static ls_status run_rank(void *user, int64_t rank, int worker) {
    const replay *self = user;
    (void)worker;
    ls_comm *comm = ls_comm_hub_rank(self->hub, (int)rank);
    /* Between hosts gradients travel encoded: what was given is hashed as it travels. */
    comm->n_hosts = self->options->hosts;
    replay_rank r = {.replay = self, .is_first = rank == 0};
    ls_status status = ls_session_open(&r.session, self->config, comm, LS_SESSION_TRAIN);
    if (status == LS_OK) {
        status = run_open_rank(&r);
        if (status != LS_OK && status != LS_ERR_COMM) ls_comm_abort(comm, ls_error_message());
        ls_session_close(&r.session);
    } else if (status != LS_ERR_COMM) {
        ls_comm_abort(comm, ls_error_message());
    }
    ls_comm_close(comm);
    return status;
}

static ls_train_config fit_config(const ls_train_config *config, const ls_replay_options *o) {
    ls_train_config c = *config;
    const int64_t threads = ls_cpu_count() / o->ranks;
    c.threads = threads > 0 ? threads : 1;
    c.ranks = o->ranks;
    c.zero = o->zero;
    c.copies = 0;
    return c;
}

ls_status ls_replay(const ls_train_config *config, const ls_replay_options *options,
                    ls_replay_finding *out) {
    const ls_train_config fitted = fit_config(config, options);
    ls_replay_finding finding = {.last_right = -1, .what = LS_REPLAY_RIGHT};
    replay self = {.config = &fitted, .options = options, .finding = &finding};
    const ls_comm_options comm = {.late_seconds = config->late_seconds, .quiet = 1};
    if (config->mode)
        return LS_FAIL(LS_ERR_UNSUPPORTED, "replay: mode = fast leaves the order of sums to the "
                                           "transport; only exact runs can be made again");
    ls_pool *pool = NULL;
    LS_TRY(ls_comm_hub_create(options->ranks, &comm, &self.hub));
    /* As many threads as ranks: none waits for another one's thread. */
    ls_status status = ls_pool_create(options->ranks, -1, &pool);
    if (status == LS_OK) status = ls_pool_run(pool, options->ranks, run_rank, &self);
    ls_pool_destroy(pool);
    ls_comm_hub_destroy(self.hub);
    if (status == LS_OK)
        *out = finding;
    else
        ls_free(finding.wrong);
    return status;
}
