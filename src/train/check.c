#include "train/check.h"

#include <string.h>

#include "base/thread.h"
#include "comm/transport.h"
#include "train/source.h"

static ls_status check_batch(const ls_train_config *c) {
    if (c->lanes & (c->lanes - 1))
        return LS_FAIL(LS_ERR_CONFIG,
                       "lanes = %lld: the lane tree needs a power of two (1, 2, 4, 8, ...)",
                       (long long)c->lanes);
    if (c->batch % c->lanes)
        return LS_FAIL(
            LS_ERR_CONFIG,
            "batch = %lld is not a multiple of lanes = %lld: every lane gets as many sequences",
            (long long)c->batch, (long long)c->lanes);
    if (c->window > c->model.context)
        return LS_FAIL(LS_ERR_CONFIG, "window = %lld is longer than model.context = %lld",
                       (long long)c->window, (long long)c->model.context);
    if (c->recompute == LS_RECOMPUTE_BYTES && c->recompute_bytes == 0)
        return LS_FAIL(LS_ERR_CONFIG, "recompute = bytes needs recompute_bytes, the most bytes of "
                                      "forward results to keep per lane");
    return LS_OK;
}

static ls_status check_place(const ls_train_config *c) {
    if (strcmp(c->device, "cpu") != 0)
        return LS_FAIL(LS_ERR_UNSUPPORTED, "device = %s: this version trains on cpu", c->device);
    if (c->ranks > 0 && c->hosts > c->ranks)
        return LS_FAIL(LS_ERR_CONFIG,
                       "mesh.hosts = %lld with mesh.dp = %lld: every host has at least one rank; "
                       "use fewer hosts or more ranks",
                       (long long)c->hosts, (long long)c->ranks);
    return LS_OK;
}

static ls_status check_own_part(const ls_train_config *c, const char *key, const char *path) {
    if (!path) return LS_OK;
    if (!ls_model_reads_tokens(c->model.kind))
        return LS_FAIL(LS_ERR_CONFIG,
                       "%s = %s: image data brings its test images in data.path; leave %s unset",
                       key, path, key);
    if (ls_data_is_shard(path) == ls_data_is_shard(c->data.path)) return LS_OK;
    return LS_FAIL(LS_ERR_CONFIG,
                   "%s '%s' is %s, data.path '%s' is %s: name text for both, or token shards "
                   "(.tok) for both",
                   key, path, ls_data_is_shard(path) ? "a token shard" : "text", c->data.path,
                   ls_data_is_shard(path) ? "text" : "a token shard");
}

/* What chooses by evaluations within the run needs them. */
static ls_status check_evaluations(const ls_train_config *c, const char *key) {
    const int images = !ls_model_reads_tokens(c->model.kind);
    if (!images && !ls_data_has_part(c, LS_SPLIT_STOP))
        return LS_FAIL(LS_ERR_CONFIG,
                       "%s goes by the loss on the early-stopping part, and there is none: set "
                       "data.split: true (text), or name its file with data.stop_path",
                       key);
    if (c->eval_every > 0) return LS_OK;
    return LS_FAIL(LS_ERR_CONFIG,
                   "%s goes by evaluations within the run, and there are none: set eval_every "
                   "above 0",
                   key);
}

static ls_status check_data(const ls_train_config *c) {
    if (!c->data.path)
        return LS_FAIL(
            LS_ERR_CONFIG,
            "data.path is not set: name a text file, a folder, a token shard or an image folder");
    LS_TRY(check_own_part(c, "data.stop_path", c->data.stop_path));
    LS_TRY(check_own_part(c, "data.held_path", c->data.held_path));
    if (c->optim.patience > 0 && !ls_model_reads_tokens(c->model.kind))
        return LS_FAIL(LS_ERR_CONFIG, "optim.patience: image data has no part for early stopping "
                                      "(its test images must not decide); set it to 0");
    return LS_OK;
}

ls_status ls_train_check_run(const ls_train_config *c) {
    if (c->optim.patience > 0) LS_TRY(check_evaluations(c, "optim.patience"));
    return c->keep_best ? check_evaluations(c, "keep_best") : LS_OK;
}

ls_status ls_train_check(ls_train_config *c) {
    if (c->threads == 0) c->threads = ls_cpu_count();
    if (c->window == 0) c->window = c->model.context;
    LS_TRY(check_batch(c));
    LS_TRY(check_data(c));
    LS_TRY(check_place(c));
    return ls_optim_check(&c->optim, c->steps);
}

static ls_status refuse_ranks(const ls_train_config *c, int size) {
    return LS_FAIL(LS_ERR_CONFIG,
                   "mesh.dp = %lld, but %d rank%s started; start as many, or set mesh.dp: 0",
                   (long long)c->ranks, size, size == 1 ? " was" : "s were");
}

ls_status ls_train_check_ranks(const ls_train_config *c, int size, int n_hosts) {
    if (c->ranks && c->ranks != size) return refuse_ranks(c, size);
    if (c->hosts && c->hosts != n_hosts)
        return LS_FAIL(LS_ERR_CONFIG,
                       "mesh.hosts = %lld, but the ranks are on %d host%s; start them on as many, "
                       "or set mesh.hosts: 0",
                       (long long)c->hosts, n_hosts, n_hosts == 1 ? "" : "s");
    return LS_OK;
}

ls_status ls_train_check_plan(const ls_train_config *c) {
    LS_TRY(ls_train_check_run(c));
    LS_TRY(ls_comm_check_transport((ls_transport)c->transport));
    if (c->transport == LS_TRANSPORT_SELF && c->ranks > 1) return refuse_ranks(c, 1);
    if (c->hosts > 1 && c->ranks == 0)
        return LS_FAIL(LS_ERR_CONFIG,
                       "mesh.hosts = %lld without mesh.dp: a plan for several hosts is one for "
                       "several ranks; set mesh.dp to how many",
                       (long long)c->hosts);
    if (c->transport == LS_TRANSPORT_SHM && c->hosts > 1)
        return LS_FAIL(LS_ERR_CONFIG,
                       "transport = shm with mesh.hosts = %lld: hosts share no memory; use "
                       "transport: mpi or auto",
                       (long long)c->hosts);
    if (c->mode && c->ranks > 1 && c->transport == LS_TRANSPORT_SHM)
        return ls_comm_refuse_fast(ls_transport_names[c->transport], (int)c->ranks);
    return LS_OK;
}
