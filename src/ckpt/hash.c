/* SHA-256 over the logical weights, whatever the layout of files and ranks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "ckpt/ckpt.h"

/* A tensor whose bytes are hashed as they come. */
typedef struct weight {
    const char *name;
    ls_type type;
} weight;

/* Hands the bytes of a weight to the hash. */
typedef ls_status (*give_fn)(void *user, const weight *w, ls_sha256 *sha);

static int compare_names(const void *a, const void *b) {
    return strcmp(((const weight *)a)->name, ((const weight *)b)->name);
}

static ls_status hash_head(ls_sha256 *sha, const weight *w) {
    char line[512], shape[128];
    const int n = snprintf(line, sizeof line, "%s %s %s\n", w->name, ls_dtype_name(w->type.dtype),
                           ls_shape_print(&w->type.shape, shape));
    if (n >= (int)sizeof line)
        return LS_FAIL(LS_ERR_INVALID, "tensor name '%s' is too long to hash", w->name);
    return ls_sha256_update(sha, line, (size_t)n);
}

static ls_status hash_list(weight *weights, int n, give_fn give, void *user, char hex_out[65]) {
    if (n > 1) qsort(weights, (size_t)n, sizeof *weights, compare_names);
    ls_sha256 *sha = NULL;
    ls_status status = ls_sha256_create(&sha);
    for (int i = 0; status == LS_OK && i < n; i++) {
        status = hash_head(sha, &weights[i]);
        if (status == LS_OK) status = give(user, &weights[i], sha);
    }
    if (status == LS_OK) status = ls_sha256_finish(sha, hex_out);
    ls_sha256_destroy(sha);
    return status;
}

/* Parts come in order. */
static ls_status hash_part(void *user, size_t at, const void *data, size_t bytes) {
    (void)at;
    return ls_sha256_update(user, data, bytes);
}

/* Parameters where they lie, one at a time: ranks that keep pieces read each together. */
static ls_status give_parameter(void *user, const weight *w, ls_sha256 *sha) {
    return ls_program_read(user, w->name, hash_part, sha);
}

ls_status ls_ckpt_hash_program(ls_program *p, char hex_out[65]) {
    const ls_graph *g = p->plan->graph;
    weight *weights = ls_alloc(sizeof *weights * (size_t)(g->n_values + 1));
    if (!weights) return LS_ERR_NO_MEMORY;
    int n = 0;
    for (int64_t v = 0; v < g->n_values; v++) {
        const ls_value_info *info = &g->values[v];
        if (info->kind == LS_VALUE_PARAM && p->rank->places[v].region != LS_REGION_NONE)
            weights[n++] = (weight){info->name, ls_value_whole_type(info)};
    }
    const ls_status status = hash_list(weights, n, give_parameter, p, hex_out);
    ls_free(weights);
    return status;
}

/* Read whole: a part of it would have its blocks read twice to check their hashes. */
static ls_status give_entry(void *user, const weight *w, ls_sha256 *sha) {
    const ls_ckpt *c = user;
    const ls_ckpt_entry *e = ls_ckpt_find_entry(c, w->name);
    const size_t bytes = ls_type_bytes(&w->type);
    void *data = ls_alloc(bytes + 1);
    if (!data) return LS_ERR_NO_MEMORY;
    ls_status status = ls_ckpt_read_entry(c, e, 0, ls_type_count(&e->type), data);
    if (status == LS_OK) status = ls_sha256_update(sha, data, bytes);
    ls_free(data);
    return status;
}

ls_status ls_ckpt_hash_weights(const ls_ckpt *c, char hex_out[65]) {
    weight *weights = ls_alloc(sizeof *weights * (size_t)(c->n_entries + 1));
    if (!weights) return LS_ERR_NO_MEMORY;
    int n = 0;
    for (int i = 0; i < c->n_entries; i++)
        if (c->entries[i].role == LS_ROLE_WEIGHT)
            weights[n++] = (weight){c->entries[i].name, c->entries[i].type};
    const ls_status status = hash_list(weights, n, give_entry, (void *)(uintptr_t)c, hex_out);
    ls_free(weights);
    return status == LS_OK ? LS_OK : ls_ckpt_hint_older(status, c->dir);
}
