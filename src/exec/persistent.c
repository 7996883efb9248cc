/* Values that outlive a step: first values, fetching, storing. */
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "exec/program.h"

/* PAGE_BYTES: the smallest that there is. */
enum { INIT_BLOCK = 4096, READ_BYTES = 1 << 20, PAGE_BYTES = 4096 };

typedef struct initializer {
    const ls_value_info *info;
    ls_rng_key key;
    ls_tensor tensor;
    int64_t first, count; /* elements of the whole tensor that are kept here */
    int is_blank;         /* the memory holds zeros, as it came */
} initializer;

/* Values first .. first + n of a persistent value, in f32. */
static void draw(const ls_init *init, ls_rng_key key, int64_t first, int64_t n, float *out) {
    if (init->kind == LS_INIT_NORMAL) {
        ls_rng_normals_of(key, (const double[]){init->a, init->b}, (uint64_t)first, n, out);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        if (init->kind == LS_INIT_UNIFORM)
            out[i] =
                (float)(init->a + (init->b - init->a) * ls_rng_uniform(key, (uint64_t)(first + i)));
        else
            out[i] = (float)init->a;
    }
}

/* Makes the pages be there, so that all threads share that work and no step is the first to find them missing. */
static void touch_pages(char *at, size_t bytes) {
    for (size_t i = 0; i < bytes; i += PAGE_BYTES) *(volatile char *)(at + i) = 0;
}

static ls_status init_block(void *user, int64_t task, int worker) {
    const initializer *in = user;
    (void)worker;
    const int64_t first = task * INIT_BLOCK, left = in->count - first;
    const int64_t n = left < INIT_BLOCK ? left : INIT_BLOCK;
    const size_t size = ls_dtype_bytes(in->tensor.dtype);
    char *at = (char *)in->tensor.data + (size_t)first * size;
    if (in->info->init.kind == LS_INIT_ZERO) {
        if (in->is_blank)
            touch_pages(at, (size_t)n * size);
        else
            memset(at, 0, (size_t)n * size);
        return LS_OK;
    }
    float values[INIT_BLOCK];
    const int in_place = in->tensor.dtype == LS_DTYPE_F32;
    draw(&in->info->init, in->key, in->first + first, n, in_place ? (float *)at : values);
    if (!in_place) ls_convert(at, in->tensor.dtype, values, LS_DTYPE_F32, n);
    return LS_OK;
}

/* What is gathered in place is given whole: members begin with equal copies. */
static void held_range(const ls_program *p, const ls_value_info *info, int64_t *first_out,
                       int64_t *count_out) {
    const ls_type whole = ls_value_whole_type(info);
    ls_plan_range(info, p->member, first_out, count_out);
    if (!ls_plan_is_whole(info)) return;
    *first_out = 0;
    *count_out = ls_type_count(&whole);
}

static ls_status init_values(ls_program *p, uint64_t seed, int is_blank) {
    const ls_graph *g = p->plan->graph;
    if (p->device->ops->kind != LS_DEVICE_CPU)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "init: values are drawn on the cpu device; this program is on '%s'",
                       p->device->ops->name);
    ls_program_follow(p);
    p->frozen_differ = 1;
    for (int64_t v = 0; v < g->n_values; v++) {
        const ls_value_info *info = &g->values[v];
        if (info->kind != LS_VALUE_PARAM && info->kind != LS_VALUE_STATE) continue;
        const ls_place *place = &p->rank->places[v];
        if (place->region == LS_REGION_NONE) continue;
        initializer in = {
            .info = info, .key = {seed, 0, ls_rng_stream(info->name)}, .is_blank = is_blank};
        in.tensor =
            (ls_tensor){info->type.dtype, info->type.shape, ls_program_address(p, place, 0, 0)};
        held_range(p, info, &in.first, &in.count);
        const int64_t blocks = (in.count + INIT_BLOCK - 1) / INIT_BLOCK;
        LS_TRY(ls_pool_run(p->pool, blocks, init_block, &in));
    }
    return LS_OK;
}

ls_status ls_program_init(ls_program *p, uint64_t seed) {
    return init_values(p, seed, 0);
}

ls_status ls_program_init_new(ls_program *p, uint64_t seed) {
    const int is_callers = p->plan->options.kept && !p->kept_own;
    return init_values(p, seed, !is_callers);
}

/* Place of a named value on this rank. Lane outputs are those of the last lane run in slot 0. */
static ls_status find_place(const ls_program *p, const char *name, ls_value *value_out) {
    const ls_value v = ls_graph_find(p->plan->graph, name);
    if (v == LS_VALUE_NONE)
        return LS_FAIL(LS_ERR_NOT_FOUND, "program: the graph has no value named '%s'", name);
    const ls_region region = p->rank->places[v].region;
    if (region == LS_REGION_NONE || region == LS_REGION_SCRATCH)
        return LS_FAIL(LS_ERR_NOT_FOUND, "program: value '%s' is not kept on rank %d", name,
                       p->rank->rank);
    *value_out = v;
    return LS_OK;
}

/* Everybody's piece of a persistent value, in order, where it lies. Collective. */
static ls_status read_pieces(ls_program *p, ls_value v, ls_program_read_fn fn, void *user) {
    const ls_value_info *info = &p->plan->graph->values[v];
    const ls_type whole = ls_value_whole_type(info);
    const size_t piece_bytes = (size_t)info->piece * ls_dtype_bytes(whole.dtype);
    const char *mine = ls_program_address(p, &p->rank->places[v], 0, 0);
    if (ls_plan_is_whole(info)) mine += (size_t)p->member * piece_bytes;
    const ls_comm_part part = {mine, ls_type_bytes(&whole), piece_bytes};
    ls_comm_call call = {.op = "fetch",
                         .scope = info->name,
                         .id = v,
                         .dtype = info->type.dtype,
                         .shape = whole.shape,
                         .ticket = LS_COMM_MAX_TICKETS - 1,
                         .from = -1,
                         .to = -1,
                         .n_parts = 1,
                         .parts = &part};
    void *landing = ls_alloc(ls_comm_landing_bytes(&call, p->plan->n_members) + 1);
    if (!landing) return LS_ERR_NO_MEMORY;
    call.landing = landing;
    ls_status status = p->comm->ops->start(p->comm, &call);
    for (int q = 0; status == LS_OK && q < p->plan->n_members; q++) {
        ls_comm_view view;
        status = p->comm->ops->arrive(p->comm, call.ticket, q, &view);
        if (status == LS_OK && view.bytes)
            status = fn(user, (size_t)q * part.piece_bytes, view.data, view.bytes);
    }
    if (status == LS_OK) status = p->comm->ops->finish(p->comm, call.ticket);
    ls_free(landing);
    return status;
}

/* Memory that the host cannot read comes over in pieces. */
static ls_status read_copied(ls_program *p, const char *from, size_t bytes, ls_program_read_fn fn,
                             void *user) {
    void *piece = ls_alloc(READ_BYTES);
    if (!piece) return LS_ERR_NO_MEMORY;
    ls_status status = LS_OK;
    for (size_t at = 0; status == LS_OK && at < bytes; at += READ_BYTES) {
        const size_t n = bytes - at < READ_BYTES ? bytes - at : READ_BYTES;
        status = p->device->ops->copy_out(p->device, piece, from + at, n);
        if (status == LS_OK) status = fn(user, at, piece, n);
    }
    ls_free(piece);
    return status;
}

ls_status ls_program_read(ls_program *p, const char *name, ls_program_read_fn fn, void *user) {
    ls_value v;
    ls_program_follow(p);
    LS_TRY(find_place(p, name, &v));
    const ls_value_info *info = &p->plan->graph->values[v];
    const ls_type type = ls_value_whole_type(info);
    const char *data = ls_program_address(p, &p->rank->places[v], 0, 0);
    if (info->piece) return read_pieces(p, v, fn, user);
    return p->device->ops->kind == LS_DEVICE_CPU
               ? fn(user, 0, data, ls_type_bytes(&type))
               : read_copied(p, data, ls_type_bytes(&type), fn, user);
}

static ls_status copy_read(void *user, size_t at, const void *data, size_t bytes) {
    memcpy((char *)user + at, data, bytes);
    return LS_OK;
}

ls_status ls_program_fetch(ls_program *p, const char *name, void *host, size_t host_bytes) {
    ls_value v;
    LS_TRY(find_place(p, name, &v));
    const ls_type type = ls_value_whole_type(&p->plan->graph->values[v]);
    const size_t bytes = ls_type_bytes(&type);
    if (host_bytes < bytes)
        return LS_FAIL(LS_ERR_INVALID, "fetch '%s': it has %zu bytes, the buffer %zu", name, bytes,
                       host_bytes);
    return ls_program_read(p, name, copy_read, host);
}

ls_status ls_program_fetch_f32(ls_program *p, const char *name, float *out) {
    return ls_program_fetch(p, name, out, sizeof *out);
}

ls_status ls_program_store(ls_program *p, const char *name, const ls_tensor *host) {
    ls_value v;
    ls_program_follow(p);
    p->frozen_differ = 1;
    LS_TRY(find_place(p, name, &v));
    const ls_value_info *info = &p->plan->graph->values[v];
    const ls_type type = ls_value_whole_type(info);
    char want[128], got[128];
    if (type.dtype != host->dtype || !ls_shape_equal(&type.shape, &host->shape))
        return LS_FAIL(LS_ERR_FORMAT, "'%s' is %s%s in the model, but the data has %s%s", name,
                       ls_dtype_name(type.dtype), ls_shape_print(&type.shape, want),
                       ls_dtype_name(host->dtype), ls_shape_print(&host->shape, got));
    const size_t size = ls_dtype_bytes(type.dtype);
    int64_t first, count;
    held_range(p, info, &first, &count);
    return p->device->ops->copy_in(p->device, ls_program_address(p, &p->rank->places[v], 0, 0),
                                   (const char *)host->data + (size_t)first * size,
                                   (size_t)count * size);
}

void *ls_program_part_address(const ls_program *p, const ls_plan_part *part) {
    return p->base[part->region] + part->offset;
}

int ls_program_current(const ls_program *p) {
    return p->current;
}

void ls_program_set_current(ls_program *p, int current) {
    if (!p->plan->options.kept) return;
    p->current = current != 0;
    for (int i = 0; i < LS_REGION_KEPT; i++)
        p->base[i] = p->kept[p->current] + ls_rank_kept_offset(p->rank, (ls_region)i);
    p->base[LS_REGION_KEPT] = p->kept[!p->current];
    p->frozen_differ = 1;
}

void ls_program_swap(ls_program *p) {
    const int differ = p->frozen_differ;
    ls_program_set_current(p, !p->current);
    p->frozen_differ = differ;
}

void ls_program_copy_frozen(ls_program *p) {
    for (int i = 0; p->frozen_differ && i < p->n_frozen; i++) {
        const ls_place *place = &p->frozen[i];
        const size_t to = ls_rank_kept_offset(p->rank, place->region) + place->offset;
        memcpy(p->base[LS_REGION_KEPT] + to, p->base[place->region] + place->offset, place->bytes);
    }
    p->frozen_differ = 0;
}
