/* SHA-256 over the logical weights, whatever the layout of files and ranks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "ckpt/ckpt.h"

static int compare_names(const void *a, const void *b) {
    return strcmp(((const ls_ckpt_weight *)a)->name, ((const ls_ckpt_weight *)b)->name);
}

static ls_status hash_weight(ls_sha256 *sha, const ls_ckpt_weight *weight, ls_ckpt_fetch_fn fetch,
                             void *user) {
    char line[512], shape[128];
    const size_t bytes = ls_type_bytes(&weight->type);
    const int n =
        snprintf(line, sizeof line, "%s %s %s\n", weight->name, ls_dtype_name(weight->type.dtype),
                 ls_shape_print(&weight->type.shape, shape));
    if (n >= (int)sizeof line)
        return LS_FAIL(LS_ERR_INVALID, "tensor name '%s' is too long to hash", weight->name);
    LS_TRY(ls_sha256_update(sha, line, (size_t)n));
    void *data = ls_alloc(bytes + 1);
    if (!data) return LS_ERR_NO_MEMORY;
    ls_status status = fetch(user, weight, data);
    if (status == LS_OK) status = ls_sha256_update(sha, data, bytes);
    ls_free(data);
    return status;
}

ls_status ls_ckpt_hash_list(ls_ckpt_weight *weights, int n, ls_ckpt_fetch_fn fetch, void *user,
                            char hex_out[65]) {
    if (n > 1) qsort(weights, (size_t)n, sizeof *weights, compare_names);
    ls_sha256 *sha = NULL;
    ls_status status = ls_sha256_create(&sha);
    for (int i = 0; status == LS_OK && i < n; i++)
        status = hash_weight(sha, &weights[i], fetch, user);
    if (status == LS_OK) status = ls_sha256_finish(sha, hex_out);
    ls_sha256_destroy(sha);
    return status;
}

/* Parameters in host memory, one at a time: ranks that keep pieces fetch each together. */
static ls_status fetch_parameter(void *user, const ls_ckpt_weight *weight, void *out) {
    return ls_program_fetch(user, weight->name, out, ls_type_bytes(&weight->type));
}

ls_status ls_ckpt_hash_program(ls_program *p, char hex_out[65]) {
    const ls_graph *g = p->plan->graph;
    ls_ckpt_weight *weights = ls_alloc(sizeof *weights * (size_t)(g->n_values + 1));
    if (!weights) return LS_ERR_NO_MEMORY;
    int n = 0;
    for (int64_t v = 0; v < g->n_values; v++) {
        const ls_value_info *info = &g->values[v];
        if (info->kind == LS_VALUE_PARAM && p->rank->places[v].region != LS_REGION_NONE)
            weights[n++] = (ls_ckpt_weight){info->name, ls_value_whole_type(info)};
    }
    const ls_status status = ls_ckpt_hash_list(weights, n, fetch_parameter, p, hex_out);
    ls_free(weights);
    return status;
}

static ls_status fetch_entry(void *user, const ls_ckpt_weight *weight, void *out) {
    const ls_ckpt *c = user;
    const ls_ckpt_entry *e = ls_ckpt_find_entry(c, weight->name);
    return ls_ckpt_read_entry(c, e, 0, ls_type_count(&e->type), out);
}

ls_status ls_ckpt_hash_weights(const ls_ckpt *c, char hex_out[65]) {
    ls_ckpt_weight *weights = ls_alloc(sizeof *weights * (size_t)(c->n_entries + 1));
    if (!weights) return LS_ERR_NO_MEMORY;
    int n = 0;
    for (int i = 0; i < c->n_entries; i++)
        if (c->entries[i].role == LS_ROLE_WEIGHT)
            weights[n++] = (ls_ckpt_weight){c->entries[i].name, c->entries[i].type};
    const ls_status status =
        ls_ckpt_hash_list(weights, n, fetch_entry, (void *)(uintptr_t)c, hex_out);
    ls_free(weights);
    return status == LS_OK ? LS_OK : ls_ckpt_hint_older(status, c->dir);
}
