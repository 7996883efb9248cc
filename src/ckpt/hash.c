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

/* Parameters in the order of their names, one at a time in host memory: ranks that keep pieces fetch each together. */
static ls_status hash_parameter(ls_program *p, const char *name, ls_sha256 *sha) {
    const ls_value v = ls_graph_find(p->plan->graph, name);
    const ls_value_info *info = &p->plan->graph->values[v];
    const ls_type type = ls_value_whole_type(info);
    const size_t bytes = ls_type_bytes(&type);
    ls_named_tensor named = {name, {type.dtype, type.shape, NULL}};
    if (!info->piece) {
        named.tensor.data = ls_program_address(p, &p->rank->places[v], 0, 0);
        return hash_tensor(sha, &named);
    }
    if (!(named.tensor.data = ls_alloc(bytes + 1))) return LS_ERR_NO_MEMORY;
    ls_status status = ls_program_fetch(p, name, named.tensor.data, bytes);
    if (status == LS_OK) status = hash_tensor(sha, &named);
    ls_free(named.tensor.data);
    return status;
}

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static ls_status hash_parameters(ls_program *p, const char **names, ls_sha256 *sha) {
    const ls_graph *g = p->plan->graph;
    size_t n = 0;
    for (int64_t v = 0; v < g->n_values; v++)
        if (g->values[v].kind == LS_VALUE_PARAM && p->rank->places[v].region != LS_REGION_NONE)
            names[n++] = g->values[v].name;
    qsort(names, n, sizeof *names, compare_texts);
    for (size_t i = 0; i < n; i++) LS_TRY(hash_parameter(p, names[i], sha));
    return LS_OK;
}

ls_status ls_ckpt_hash_program(ls_program *p, char hex_out[65]) {
    if (p->device->ops->kind != LS_DEVICE_CPU)
        return LS_FAIL(LS_ERR_UNSUPPORTED, "hash: weights are hashed on the cpu device");
    const char **names = ls_alloc(sizeof *names * (size_t)(p->plan->graph->n_values + 1));
    if (!names) return LS_ERR_NO_MEMORY;
    ls_sha256 *sha = NULL;
    ls_status status = ls_sha256_create(&sha);
    if (status == LS_OK) status = hash_parameters(p, names, sha);
    if (status == LS_OK) status = ls_sha256_finish(sha, hex_out);
    ls_sha256_destroy(sha);
    ls_free(names);
    return status;
}

void ls_ckpt_discard(const char *dir) {
    char kept[2048];
    snprintf(kept, sizeof kept, "%s", ls_error_message());
    if (ls_dir_remove(dir) != LS_OK) ls_error_clear();
    LS_FAIL(LS_ERR_IO, "%s", kept);
}
