/* Loading: the ranges that a rank holds, block by block, each block's hash checked. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/thread.h"
#include "ckpt/ckpt.h"
#include "device/device.h"

/* What of a tensor is wanted, and where it goes. */
typedef struct wanted {
    const ls_ckpt *ckpt;
    const ls_ckpt_entry *entry;
    int64_t first, end; /* elements of the whole tensor; first goes to out[0] */
    char *out;
    size_t size; /* bytes of an element */
} wanted;

static ls_status fail_hash(const wanted *w, const ls_ckpt_slice *slice, int64_t first,
                           int64_t count, uint64_t found, uint64_t stored) {
    return LS_FAIL(LS_ERR_FORMAT,
                   "checkpoint '%s' is damaged: %s, bytes %lld to %lld (tensor '%s', elements %lld "
                   "to %lld of its slice) hash to %016" PRIx64 ", the manifest says %016" PRIx64,
                   w->ckpt->dir, w->ckpt->files[slice->file].name,
                   (long long)(slice->offset + first * (int64_t)w->size),
                   (long long)(slice->offset + (first + count) * (int64_t)w->size - 1),
                   w->entry->name, (long long)first, (long long)(first + count - 1), found, stored);
}

/* Reads block k to `to` and checks it. */
static ls_status read_block(const wanted *w, const ls_ckpt_slice *slice, int64_t k, char *to) {
    int64_t count;
    const int64_t first = ls_ckpt_grid_block(&slice->grid, k, &count);
    const size_t bytes = (size_t)count * w->size;
    LS_TRY(ls_file_pread(w->ckpt->files[slice->file].file, to, bytes,
                         slice->offset + first * (int64_t)w->size));
    atomic_fetch_add(&((ls_ckpt *)w->ckpt)->bytes_read, (int64_t)bytes);
    const uint64_t found = ls_xxh3(to, bytes, 0),
                   stored = ls_ckpt_hex_hash(slice->hex + k * LS_CKPT_HEX);
    return found == stored ? LS_OK : fail_hash(w, slice, first, count, found, stored);
}

/* A slice's elements lie in rows: stretches that are neighbours in the slice and in the whole tensor. */
typedef struct rows {
    int64_t length; /* elements of a row */
    int outer;      /* dimensions that number the rows */
} rows;

static rows find_rows(const ls_ckpt_slice *slice, const ls_shape *whole) {
    rows r = {1, whole->n_dims};
    while (r.outer > 0) {
        const int d = r.outer - 1;
        r.length *= slice->shape.dims[d];
        r.outer = d;
        if (slice->shape.dims[d] != whole->dims[d]) break;
    }
    return r;
}

/* Element of the whole tensor at which row `row` begins. */
static int64_t row_start(const ls_ckpt_slice *slice, const ls_shape *whole, const rows *r,
                         int64_t row) {
    int64_t at = 0, stride = 1;
    for (int d = whole->n_dims - 1; d >= 0; d--) {
        int64_t index = slice->start[d];
        if (d < r->outer) {
            index += row % slice->shape.dims[d];
            row /= slice->shape.dims[d];
        }
        at += index * stride;
        stride *= whole->dims[d];
    }
    return at;
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Calls for what is wanted of elements first .. first + count - 1 of the slice: copies it from `data`, or with NULL only counts it. */
static int64_t take(const wanted *w, const ls_ckpt_slice *slice, const rows *r, int64_t first,
                    int64_t count, const char *data) {
    int64_t taken = 0;
    for (int64_t at = first; at < first + count;) {
        const int64_t row = at / r->length, inside = at % r->length;
        const int64_t n = smaller(r->length - inside, first + count - at);
        const int64_t begin = row_start(slice, &w->entry->type.shape, r, row) + inside;
        const int64_t from = larger(begin, w->first), to = smaller(begin + n, w->end);
        if (from < to) {
            taken += to - from;
            if (data)
                memcpy(w->out + (size_t)(from - w->first) * w->size,
                       data + (size_t)(at - first + from - begin) * w->size,
                       (size_t)(to - from) * w->size);
        }
        at += n;
    }
    return taken;
}

/* Where a block that is wanted whole, in one row, goes; NULL: it is not such a block. */
static char *direct_place(const wanted *w, const ls_ckpt_slice *slice, const rows *r, int64_t first,
                          int64_t count) {
    if (first / r->length != (first + count - 1) / r->length) return NULL;
    const int64_t begin =
        row_start(slice, &w->entry->type.shape, r, first / r->length) + first % r->length;
    return begin >= w->first && begin + count <= w->end
               ? w->out + (size_t)(begin - w->first) * w->size
               : NULL;
}

/* First row that may hold wanted elements: rows begin in rising order. */
static int64_t first_row(const wanted *w, const ls_ckpt_slice *slice, const rows *r) {
    int64_t low = 0, high = slice->grid.count / r->length;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (row_start(slice, &w->entry->type.shape, r, middle) + r->length <= w->first)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static ls_status read_slice(const wanted *w, const ls_ckpt_slice *slice) {
    const rows r = find_rows(slice, &w->entry->type.shape);
    const int64_t n_blocks = ls_ckpt_grid_blocks(&slice->grid);
    if (slice->grid.count == 0) return LS_OK;
    char *scratch = NULL;
    ls_status status = LS_OK;
    int64_t start = first_row(w, slice, &r);
    if (start * r.length >= slice->grid.count) return LS_OK;
    start *= r.length;
    const int64_t row_at = row_start(slice, &w->entry->type.shape, &r, start / r.length);
    if (row_at < w->first) start += w->first - row_at;
    for (int64_t k = ls_ckpt_grid_find(&slice->grid, start); status == LS_OK && k < n_blocks; k++) {
        int64_t count;
        const int64_t first = ls_ckpt_grid_block(&slice->grid, k, &count);
        if (row_start(slice, &w->entry->type.shape, &r, first / r.length) >= w->end) break;
        if (take(w, slice, &r, first, count, NULL) == 0) continue;
        char *direct = direct_place(w, slice, &r, first, count);
        const size_t most = (size_t)slice->grid.block * w->size;
        if (!direct && !scratch && !(scratch = ls_alloc(most))) return LS_ERR_NO_MEMORY;
        status = read_block(w, slice, k, direct ? direct : scratch);
        if (status == LS_OK && !direct) (void)take(w, slice, &r, first, count, scratch);
    }
    ls_free(scratch);
    return status;
}

ls_status ls_ckpt_read_entry(const ls_ckpt *c, const ls_ckpt_entry *e, int64_t first, int64_t count,
                             void *out) {
    const wanted w = {c, e, first, first + count, out, ls_dtype_bytes(e->type.dtype)};
    for (int i = 0; count > 0 && i < e->n_slices; i++) LS_TRY(read_slice(&w, &e->slices[i]));
    return LS_OK;
}

ls_status ls_ckpt_read(const ls_ckpt *c, int i, int64_t first, int64_t count, void *out) {
    const ls_ckpt_entry *e = &c->entries[i];
    const int64_t whole = ls_type_count(&e->type);
    if (first < 0 || count < 0 || first > whole || count > whole - first)
        return LS_FAIL(LS_ERR_INVALID,
                       "tensor '%s' has %lld elements; %lld from %lld were asked for", e->name,
                       (long long)whole, (long long)count, (long long)first);
    const ls_status status = ls_ckpt_read_entry(c, e, first, count, out);
    return status == LS_OK ? LS_OK : ls_ckpt_hint_older(status, c->dir);
}

/* --- a program's parts --- */

typedef struct loader {
    const ls_ckpt *ckpt;
    ls_program *program;
    const ls_plan_part *parts;
    const ls_ckpt_entry **entries; /* per part; NULL: stays as it is */
} loader;

static ls_status load_part(void *user, int64_t task, int worker) {
    (void)worker;
    const loader *l = user;
    const ls_plan_part *part = &l->parts[task];
    const ls_ckpt_entry *e = l->entries[task];
    void *to = ls_program_part_address(l->program, part);
    if (!e || part->count == 0) return LS_OK;
    ls_device *device = l->program->device;
    if (device->ops->kind == LS_DEVICE_CPU)
        return ls_ckpt_read_entry(l->ckpt, e, part->first, part->count, to);
    const size_t bytes = (size_t)part->count * ls_dtype_bytes(part->whole.dtype);
    void *host = ls_alloc(bytes);
    if (!host) return LS_ERR_NO_MEMORY;
    ls_status status = ls_ckpt_read_entry(l->ckpt, e, part->first, part->count, host);
    if (status == LS_OK) status = device->ops->copy_in(device, to, host, bytes);
    ls_free(host);
    return status;
}

static ls_status match_part(const ls_ckpt *c, const ls_plan_part *part, int weights_only,
                            const ls_ckpt_entry **out) {
    char want[128], got[128];
    const ls_ckpt_entry *e = ls_ckpt_find_entry(c, part->name);
    *out = e;
    if (!e && weights_only && part->role != LS_ROLE_WEIGHT) return LS_OK;
    if (!e)
        return LS_FAIL(LS_ERR_FORMAT, "checkpoint '%s' has no tensor '%s', which the model needs",
                       c->dir, part->name);
    if (e->type.dtype == part->whole.dtype && ls_shape_equal(&e->type.shape, &part->whole.shape))
        return LS_OK;
    return LS_FAIL(LS_ERR_FORMAT,
                   "checkpoint '%s': '%s' is %s%s in the model, but the checkpoint has %s%s",
                   c->dir, part->name, ls_dtype_name(part->whole.dtype),
                   ls_shape_print(&part->whole.shape, want), ls_dtype_name(e->type.dtype),
                   ls_shape_print(&e->type.shape, got));
}

static ls_status load_parts(const ls_ckpt *c, ls_program *p, int weights_only, ls_arena *arena) {
    loader l = {.ckpt = c, .program = p};
    ls_plan_part *parts = NULL;
    int n = 0;
    LS_TRY(ls_plan_parts(p->plan, ls_ckpt_rank_of(p), arena, &parts, &n));
    l.parts = parts;
    l.entries = ls_arena_alloc(arena, sizeof *l.entries * (size_t)(n + 1));
    if (!l.entries) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < n; i++) LS_TRY(match_part(c, &parts[i], weights_only, &l.entries[i]));
    const ls_status status = ls_pool_run(p->pool, n, load_part, &l);
    return status == LS_OK ? LS_OK : ls_ckpt_hint_older(status, c->dir);
}

ls_status ls_ckpt_load(const ls_ckpt *c, ls_program *p, int weights_only) {
    ls_arena *arena = NULL;
    LS_TRY(ls_arena_create(&arena));
    const ls_status status = load_parts(c, p, weights_only, arena);
    ls_arena_destroy(arena);
    return status;
}

/* --- everything --- */

static ls_status verify_slice(const wanted *w, const ls_ckpt_slice *slice) {
    const int64_t n = ls_ckpt_grid_blocks(&slice->grid);
    char *scratch = n ? ls_alloc((size_t)slice->grid.block * w->size) : NULL;
    if (n && !scratch) return LS_ERR_NO_MEMORY;
    ls_status status = LS_OK;
    for (int64_t k = 0; status == LS_OK && k < n; k++) status = read_block(w, slice, k, scratch);
    ls_free(scratch);
    return status;
}

ls_status ls_ckpt_verify(const ls_ckpt *c) {
    ls_status status = LS_OK;
    for (int i = 0; status == LS_OK && i < c->n_entries; i++) {
        const ls_ckpt_entry *e = &c->entries[i];
        const wanted w = {.ckpt = c, .entry = e, .size = ls_dtype_bytes(e->type.dtype)};
        for (int s = 0; status == LS_OK && s < e->n_slices; s++)
            status = verify_slice(&w, &e->slices[s]);
    }
    return status == LS_OK ? LS_OK : ls_ckpt_hint_older(status, c->dir);
}
