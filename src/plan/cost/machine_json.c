/* A machine profile as JSON: flat lists of rows, every figure {median, least, most, runs}. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "plan/cost/machine.h"

static const char format_name[] = "lockstep machine profile";

/* --- writing. Any of these may fail for want of memory: NULL then, with everything handed in released ----------------- */

static json_t *measure_json(const ls_measure *m) {
    return json_pack("{s:f, s:f, s:f, s:I}", "median", m->median, "least", m->least, "most",
                     m->most, "runs", (json_int_t)m->n_runs);
}

static json_t *gemm_json(const ls_machine *m, int i) {
    const ls_machine_gemm *g = &m->gemm[i];
    return json_pack("{s:s, s:s, s:s, s:s, s:i, s:o}", "dtype", g->dtype, "isa", g->isa,
                     "instruction", g->instruction, "from", ls_level_names[g->from], "threads",
                     g->threads, "flops_per_second", measure_json(&g->rate));
}

static json_t *memory_json(const ls_machine *m, int i) {
    const ls_machine_memory *r = &m->memory[i];
    return json_pack("{s:s, s:s, s:i, s:f, s:o}", "stream", ls_stream_names[r->stream], "level",
                     ls_level_names[r->level], "threads", r->threads, "bytes", r->bytes,
                     "bytes_per_second", measure_json(&r->rate));
}

static json_t *exchange_json(const ls_machine *m, int i) {
    const ls_machine_exchange *e = &m->exchange[i];
    return json_pack("{s:s, s:s, s:i, s:i, s:f, s:o}", "op", e->op, "transport", e->transport,
                     "ranks", e->ranks, "hosts", e->hosts, "bytes", e->bytes, "seconds",
                     measure_json(&e->seconds));
}

static json_t *kernel_json(const ls_machine *m, int i) {
    const ls_machine_kernel *k = &m->kernel[i];
    return json_pack("{s:s, s:f, s:I}", "kind", k->kind, "efficiency", k->efficiency, "nodes",
                     (json_int_t)k->n_nodes);
}

static int set_list(json_t *root, const char *key, const ls_machine *m, int n,
                    json_t *(*row)(const ls_machine *, int)) {
    json_t *list = json_array();
    int failed = list == NULL;
    for (int i = 0; !failed && i < n; i++) failed = json_array_append_new(list, row(m, i));
    if (!failed) return json_object_set_new(root, key, list);
    json_decref(list);
    return -1;
}

/* Nothing for what was not measured. */
static int set_measure(json_t *root, const char *key, const ls_measure *m) {
    return m->n_runs > 0 ? json_object_set_new(root, key, measure_json(m)) : 0;
}

static json_t *machine_json(const ls_machine *m) {
    json_t *root = json_pack("{s:s, s:i, s:s, s:s, s:b, s:s, s:s, s:i, s:{s:f, s:f}}", "format",
                             format_name, "format_version", LS_MACHINE_FORMAT, "lockstep",
                             m->version, "measured", m->measured, "quick", m->quick, "cpu", m->cpu,
                             "isa", m->isa, "threads", m->threads, "cache_bytes", "l2",
                             m->cache_bytes[LS_LEVEL_L2], "l3", m->cache_bytes[LS_LEVEL_L3]);
    if (!root) return NULL;
    if (set_list(root, "gemm", m, m->n_gemm, gemm_json) ||
        set_list(root, "memory", m, m->n_memory, memory_json) ||
        set_list(root, "exchange", m, m->n_exchange, exchange_json) ||
        set_list(root, "kernels", m, m->n_kernel, kernel_json) ||
        set_measure(root, "fork_join", &m->fork_join) ||
        set_measure(root, "fork_join_p99", &m->fork_join_p99) ||
        set_measure(root, "wake", &m->wake) || set_measure(root, "wake_p99", &m->wake_p99) ||
        set_measure(root, "disk_write", &m->disk_write) ||
        set_measure(root, "disk_read", &m->disk_read)) {
        json_decref(root);
        return NULL;
    }
    return root;
}

ls_status ls_machine_to_json(const ls_machine *m, json_t **out) {
    const int64_t refused = ls_alloc_n_refused();
    json_t *root = machine_json(m);
    /* jansson keeps quiet about some refused allocations */
    if (!root || ls_alloc_n_refused() != refused) {
        json_decref(root);
        return LS_FAIL(LS_ERR_NO_MEMORY, "out of memory while writing a machine profile");
    }
    *out = root;
    return LS_OK;
}

static ls_status make_folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path) return LS_OK;
    char *folder = ls_format("%.*s", (int)(slash - path), path);
    if (!folder) return LS_ERR_NO_MEMORY;
    const ls_status status = ls_dir_make(folder);
    ls_free(folder);
    return status;
}

ls_status ls_machine_write(const ls_machine *m, const char *path) {
    json_t *root = NULL;
    char *text = NULL;
    size_t bytes = 0;
    LS_TRY(ls_machine_to_json(m, &root));
    ls_status status = ls_json_dump(root, JSON_INDENT(1) | JSON_REAL_PRECISION(7), &text, &bytes);
    json_decref(root);
    if (status == LS_OK) status = make_folder_of(path);
    if (status == LS_OK) status = ls_file_write_atomic(path, text, bytes);
    ls_free(text);
    return status;
}

/* --- reading --------------------------------------------------------------------------------------------------------- */

typedef struct reader {
    const json_t *object; /* at hand */
    const char *what;     /* names the file in messages */
} reader;

static ls_status read_text(const reader *r, const char *key, char *out, size_t room) {
    const char *text;
    LS_TRY(ls_json_get_string(r->object, r->what, key, &text));
    if (strlen(text) >= room)
        return LS_FAIL(LS_ERR_FORMAT, "%s: \"%s\" is longer than %zu bytes", r->what, key,
                       room - 1);
    snprintf(out, room, "%s", text);
    return LS_OK;
}

static ls_status read_number(const reader *r, const char *key, double least, double *out) {
    double x;
    LS_TRY(ls_json_get_number(r->object, r->what, key, &x));
    if (!isfinite(x) || x < least)
        return LS_FAIL(LS_ERR_FORMAT, "%s: \"%s\" must be at least %g, found %g", r->what, key,
                       least, x);
    *out = x;
    return LS_OK;
}

static ls_status read_count(const reader *r, const char *key, int64_t least, int64_t most,
                            int64_t *out) {
    int64_t n;
    LS_TRY(ls_json_get_int(r->object, r->what, key, &n));
    if (n < least || n > most)
        return LS_FAIL(LS_ERR_FORMAT, "%s: \"%s\" must be %lld to %lld, found %lld", r->what, key,
                       (long long)least, (long long)most, (long long)n);
    *out = n;
    return LS_OK;
}

static ls_status read_int(const reader *r, const char *key, int *out) {
    int64_t n;
    LS_TRY(read_count(r, key, 1, 1 << 20, &n));
    *out = (int)n;
    return LS_OK;
}

static ls_status read_name(const reader *r, const char *key, const char *const *names, int *out) {
    const char *text;
    LS_TRY(ls_json_get_string(r->object, r->what, key, &text));
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], text) == 0) {
            *out = i;
            return LS_OK;
        }
    return LS_FAIL(LS_ERR_FORMAT, "%s: \"%s\" is '%s', which is none of its words", r->what, key,
                   text);
}

static ls_status read_measure(const reader *r, const char *key, ls_measure *out) {
    json_t *object;
    ls_measure m = {0};
    LS_TRY(ls_json_get_object(r->object, r->what, key, &object));
    const reader in = {object, r->what};
    LS_TRY(read_number(&in, "median", 0, &m.median));
    LS_TRY(read_number(&in, "least", 0, &m.least));
    LS_TRY(read_number(&in, "most", 0, &m.most));
    LS_TRY(read_count(&in, "runs", 1, INT64_MAX, &m.n_runs));
    if (!(m.least > 0 && m.least <= m.median && m.median <= m.most))
        return LS_FAIL(LS_ERR_FORMAT,
                       "%s: \"%s\" must have 0 < least <= median <= most, found %g, %g, %g",
                       r->what, key, m.least, m.median, m.most);
    *out = m;
    return LS_OK;
}

static ls_status read_optional(const reader *r, const char *key, ls_measure *out) {
    return json_object_get(r->object, key) ? read_measure(r, key, out) : LS_OK;
}

static ls_status read_gemm(const reader *r, ls_machine *m, int i) {
    ls_machine_gemm *g = &m->gemm[i];
    int from = 0;
    LS_TRY(read_text(r, "dtype", g->dtype, sizeof g->dtype));
    LS_TRY(read_text(r, "isa", g->isa, sizeof g->isa));
    LS_TRY(read_text(r, "instruction", g->instruction, sizeof g->instruction));
    LS_TRY(read_name(r, "from", ls_level_names, &from));
    g->from = (ls_level)from;
    LS_TRY(read_int(r, "threads", &g->threads));
    m->n_gemm = i + 1;
    return read_measure(r, "flops_per_second", &g->rate);
}

static ls_status read_memory(const reader *r, ls_machine *m, int i) {
    ls_machine_memory *row = &m->memory[i];
    int stream = 0, level = 0;
    LS_TRY(read_name(r, "stream", ls_stream_names, &stream));
    LS_TRY(read_name(r, "level", ls_level_names, &level));
    row->stream = (ls_stream)stream;
    row->level = (ls_level)level;
    LS_TRY(read_int(r, "threads", &row->threads));
    LS_TRY(read_number(r, "bytes", 1, &row->bytes));
    m->n_memory = i + 1;
    return read_measure(r, "bytes_per_second", &row->rate);
}

static ls_status read_exchange(const reader *r, ls_machine *m, int i) {
    ls_machine_exchange *e = &m->exchange[i];
    LS_TRY(read_text(r, "op", e->op, sizeof e->op));
    LS_TRY(read_text(r, "transport", e->transport, sizeof e->transport));
    LS_TRY(read_int(r, "ranks", &e->ranks));
    LS_TRY(read_int(r, "hosts", &e->hosts));
    LS_TRY(read_number(r, "bytes", 0, &e->bytes));
    m->n_exchange = i + 1;
    return read_measure(r, "seconds", &e->seconds);
}

static ls_status read_kernel(const reader *r, ls_machine *m, int i) {
    ls_machine_kernel *k = &m->kernel[i];
    LS_TRY(read_text(r, "kind", k->kind, sizeof k->kind));
    LS_TRY(read_number(r, "efficiency", 1e-9, &k->efficiency));
    m->n_kernel = i + 1;
    return read_count(r, "nodes", 1, INT64_MAX, &k->n_nodes);
}

static ls_status read_list(const reader *r, const char *key, int most, ls_machine *m,
                           ls_status (*row)(const reader *, ls_machine *, int)) {
    json_t *list;
    LS_TRY(ls_json_get_array(r->object, r->what, key, &list));
    if (json_array_size(list) > (size_t)most)
        return LS_FAIL(LS_ERR_FORMAT, "%s: \"%s\" has %zu rows; at most %d are read", r->what, key,
                       json_array_size(list), most);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const reader item = {json_array_get(list, i), r->what};
        const ls_status status = row(&item, m, (int)i);
        if (status != LS_OK) return ls_error_prefix(status, "row %zu of \"%s\"", i + 1, key);
    }
    return LS_OK;
}

static ls_status read_head(const reader *r, ls_machine *m) {
    const char *format;
    int64_t version;
    json_t *caches;
    LS_TRY(ls_json_get_string(r->object, r->what, "format", &format));
    if (strcmp(format, format_name) != 0)
        return LS_FAIL(LS_ERR_FORMAT, "%s: \"format\" is '%s', not '%s'", r->what, format,
                       format_name);
    LS_TRY(ls_json_get_int(r->object, r->what, "format_version", &version));
    if (version != LS_MACHINE_FORMAT)
        return LS_FAIL(LS_ERR_FORMAT,
                       "%s: a profile of format %lld; this program reads format %d: run `lockstep "
                       "bench` again",
                       r->what, (long long)version, LS_MACHINE_FORMAT);
    LS_TRY(read_text(r, "lockstep", m->version, sizeof m->version));
    LS_TRY(read_text(r, "measured", m->measured, sizeof m->measured));
    LS_TRY(ls_json_get_bool(r->object, r->what, "quick", &m->quick));
    LS_TRY(read_text(r, "cpu", m->cpu, sizeof m->cpu));
    LS_TRY(read_text(r, "isa", m->isa, sizeof m->isa));
    LS_TRY(read_int(r, "threads", &m->threads));
    LS_TRY(ls_json_get_object(r->object, r->what, "cache_bytes", &caches));
    const reader in = {caches, r->what};
    LS_TRY(read_number(&in, "l2", 0, &m->cache_bytes[LS_LEVEL_L2]));
    return read_number(&in, "l3", 0, &m->cache_bytes[LS_LEVEL_L3]);
}

static ls_status read_machine(const reader *r, ls_machine *m) {
    LS_TRY(read_head(r, m));
    LS_TRY(read_list(r, "gemm", LS_MACHINE_MAX_GEMM, m, read_gemm));
    LS_TRY(read_list(r, "memory", LS_MACHINE_MAX_MEMORY, m, read_memory));
    LS_TRY(read_list(r, "exchange", LS_MACHINE_MAX_EXCHANGE, m, read_exchange));
    LS_TRY(read_list(r, "kernels", LS_MACHINE_MAX_KERNEL, m, read_kernel));
    LS_TRY(read_optional(r, "fork_join", &m->fork_join));
    LS_TRY(read_optional(r, "fork_join_p99", &m->fork_join_p99));
    LS_TRY(read_optional(r, "wake", &m->wake));
    LS_TRY(read_optional(r, "wake_p99", &m->wake_p99));
    LS_TRY(read_optional(r, "disk_write", &m->disk_write));
    return read_optional(r, "disk_read", &m->disk_read);
}

ls_status ls_machine_parse(const char *text, size_t bytes, const char *what, ls_machine *out) {
    json_t *root = NULL;
    LS_TRY(ls_json_parse(text, bytes, what, &root));
    ls_machine *m = ls_alloc(sizeof *m);
    const reader r = {root, what};
    const ls_status status = m ? read_machine(&r, m) : LS_ERR_NO_MEMORY;
    if (status == LS_OK) *out = *m;
    ls_free(m);
    json_decref(root);
    return status;
}

ls_status ls_machine_read(const char *path, ls_machine *out) {
    char *text;
    size_t bytes;
    LS_TRY(ls_file_read(path, &text, &bytes));
    const ls_status status = ls_machine_parse(text, bytes, path, out);
    ls_free(text);
    return status;
}
