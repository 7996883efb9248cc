#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/hash.h"
#include "ckpt/ckpt.h"

const char *ls_ckpt_file_of(ls_role role) {
    return role == LS_ROLE_OPTIMIZER ? LS_CKPT_OPTIMIZER : LS_CKPT_WEIGHTS;
}

ls_status ls_ckpt_path(const char *dir, const char *name, char out[LS_CKPT_PATH]) {
    if (snprintf(out, LS_CKPT_PATH, "%s/%s", dir, name) < LS_CKPT_PATH) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "the path '%s/%s' is too long", dir, name);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(((const ls_ckpt_value *)a)->named.name, ((const ls_ckpt_value *)b)->named.name);
}

static ls_status hash_tensor(ls_sha256 *sha, const ls_named_tensor *named) {
    char line[512], shape[128];
    const int n =
        snprintf(line, sizeof line, "%s %s %s\n", named->name, ls_dtype_name(named->tensor.dtype),
                 ls_shape_print(&named->tensor.shape, shape));
    if (n >= (int)sizeof line)
        return LS_FAIL(LS_ERR_INVALID, "tensor name '%s' is too long to hash", named->name);
    LS_TRY(ls_sha256_update(sha, line, (size_t)n));
    return ls_sha256_update(sha, named->tensor.data, ls_tensor_bytes(&named->tensor));
}

ls_status ls_ckpt_hash_values(const ls_ckpt_value *values, int n, char hex_out[65]) {
    ls_ckpt_value *sorted = ls_alloc(sizeof *sorted * (size_t)(n + 1));
    if (!sorted) return LS_ERR_NO_MEMORY;
    int count = 0;
    for (int i = 0; i < n; i++)
        if (values[i].role == LS_ROLE_WEIGHT) sorted[count++] = values[i];
    qsort(sorted, (size_t)count, sizeof *sorted, compare_names);
    ls_sha256 *sha = NULL;
    ls_status status = ls_sha256_create(&sha);
    for (int i = 0; status == LS_OK && i < count; i++) status = hash_tensor(sha, &sorted[i].named);
    if (status == LS_OK) status = ls_sha256_finish(sha, hex_out);
    ls_sha256_destroy(sha);
    ls_free(sorted);
    return status;
}

ls_status ls_ckpt_hash_program(ls_program *p, char hex_out[65]) {
    const ls_graph *g = p->plan->graph;
    ls_arena *arena;
    LS_TRY(ls_arena_create(&arena));
    ls_status status = LS_ERR_NO_MEMORY;
    ls_ckpt_value *values = ls_arena_alloc(arena, sizeof *values * (size_t)(g->n_values + 1));
    int n = 0;
    if (values) {
        status = p->device->ops->kind == LS_DEVICE_CPU
                     ? LS_OK
                     : LS_FAIL(LS_ERR_UNSUPPORTED, "hash: weights are hashed on the cpu device");
        for (int64_t v = 0; v < g->n_values; v++) {
            const ls_value_info *info = &g->values[v];
            if (info->kind != LS_VALUE_PARAM || p->rank->places[v].region == LS_REGION_NONE)
                continue;
            const ls_tensor t = {info->type.dtype, info->type.shape,
                                 ls_program_address(p, &p->rank->places[v], 0, 0)};
            values[n++] = (ls_ckpt_value){{info->name, t}, LS_ROLE_WEIGHT};
        }
    }
    if (status == LS_OK) status = ls_ckpt_hash_values(values, n, hex_out);
    ls_arena_destroy(arena);
    return status;
}

void ls_ckpt_discard(const char *dir) {
    char kept[2048];
    snprintf(kept, sizeof kept, "%s", ls_error_message());
    if (ls_dir_remove(dir) != LS_OK) ls_error_clear();
    LS_FAIL(LS_ERR_IO, "%s", kept);
}
