/* What a rank writes: its blocks into the common files, hashed on the way; and how the first rank completes the folder. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "ckpt/ckpt.h"

/* Written at once: several blocks where they are small. */
enum { SPAN_BYTES = 4 << 20 };

static ls_status check_cancel(const ls_ckpt_job *job) {
    if (!job->cancel || !atomic_load(job->cancel)) return LS_OK;
    return LS_FAIL(LS_ERR_INTERRUPTED, "checkpoint '%s' was given up", job->dir);
}

/* A linked file should hold these bytes already. Where the disk lost them they are written again, which mends the older
 * checkpoint too. */
static ls_status write_linked(ls_file *file, const char *data, size_t bytes, int64_t offset,
                              char *found, int *mended) {
    LS_TRY(ls_file_pread(file, found, bytes, offset));
    if (memcmp(found, data, bytes) == 0) return LS_OK;
    *mended = 1;
    return ls_file_pwrite(file, data, bytes, offset);
}

/* Blocks from *k on that fit in a span; their hashes are noted. Returns their bytes. */
static size_t hash_span(ls_ckpt_job *job, const ls_ckpt_run *run, int64_t *k, const char *data) {
    const ls_ckpt_slot *slot = &job->layout.slots[run->slot];
    const size_t size = ls_dtype_bytes(slot->type.dtype);
    size_t bytes = 0;
    for (; *k < run->first_block + run->n_blocks; ++*k) {
        int64_t count;
        (void)ls_ckpt_grid_block(&slot->grid, *k, &count);
        const size_t more = (size_t)count * size;
        if (bytes > 0 && bytes + more > SPAN_BYTES) break;
        job->hashes[slot->first_hash + *k] = ls_xxh3(data + bytes, more, 0);
        bytes += more;
    }
    return bytes;
}

static ls_status write_run(ls_ckpt_job *job, const ls_ckpt_run *run, char *scratch,
                           unsigned char *dirty) {
    const ls_ckpt_slot *slot = &job->layout.slots[run->slot];
    const size_t size = ls_dtype_bytes(slot->type.dtype);
    const char *data = run->data;
    int64_t offset = slot->offset + run->first * (int64_t)size;
    for (int64_t k = run->first_block; k < run->first_block + run->n_blocks;) {
        LS_TRY(check_cancel(job));
        const size_t bytes = hash_span(job, run, &k, data);
        int written = 1;
        if (job->linked[slot->shard]) {
            written = 0;
            LS_TRY(write_linked(job->files[slot->shard], data, bytes, offset, scratch, &written));
        } else {
            LS_TRY(ls_file_pwrite(job->files[slot->shard], data, bytes, offset));
            ls_file_start_sync(job->files[slot->shard], bytes, offset);
        }
        if (written) {
            dirty[slot->shard] = 1;
            job->written_bytes += (int64_t)bytes;
        }
        data += bytes;
        offset += (int64_t)bytes;
    }
    return LS_OK;
}

static ls_status write_runs(ls_ckpt_job *job) {
    const size_t n_shards = (size_t)job->layout.n_shards;
    unsigned char *dirty = ls_alloc(n_shards);
    char *scratch = ls_alloc(SPAN_BYTES);
    ls_status status = dirty && scratch ? LS_OK : LS_ERR_NO_MEMORY;
    for (int i = 0; status == LS_OK && i < job->n_runs; i++)
        status = write_run(job, &job->runs[i], scratch, dirty);
    for (size_t s = 0; status == LS_OK && s < n_shards; s++)
        if (dirty[s] || (job->rank == 0 && !job->linked[s])) status = ls_file_sync(job->files[s]);
    ls_free(dirty);
    ls_free(scratch);
    return status;
}

/* The first rank: headers, and the files that are no tensors. */
static ls_status write_common(ls_ckpt_job *job) {
    char path[LS_CKPT_PATH];
    for (int s = 0; s < job->layout.n_shards; s++) {
        const ls_ckpt_shard *shard = &job->layout.shards[s];
        if (!job->linked[s])
            LS_TRY(ls_file_pwrite(job->files[s], shard->header, shard->header_bytes, 0));
    }
    for (int i = 0; i < job->content.n_files; i++) {
        const ls_ckpt_file *file = &job->content.files[i];
        LS_TRY(ls_ckpt_path(job->temporary, file->name, path));
        LS_TRY(ls_file_write_atomic(path, file->data, file->bytes));
    }
    return LS_OK;
}

static ls_status part_path(const ls_ckpt_job *job, int rank, char path[LS_CKPT_PATH]) {
    char name[32];
    (void)snprintf(name, sizeof name, "part-%05d", rank);
    return ls_ckpt_path(job->temporary, name, path);
}

/* The hashes of a rank's blocks for the first rank: numbers of 64 bits, the hash of all of them last. */
static ls_status write_part(const ls_ckpt_job *job) {
    char path[LS_CKPT_PATH];
    int64_t n = 0;
    for (int i = 0; i < job->n_runs; i++) n += job->runs[i].n_blocks;
    uint64_t *numbers = ls_alloc(sizeof *numbers * (size_t)(n + 1));
    if (!numbers) return LS_ERR_NO_MEMORY;
    int64_t at = 0;
    for (int i = 0; i < job->n_runs; i++) {
        const ls_ckpt_run *run = &job->runs[i];
        const uint64_t *from =
            job->hashes + job->layout.slots[run->slot].first_hash + run->first_block;
        memcpy(numbers + at, from, sizeof *numbers * (size_t)run->n_blocks);
        at += run->n_blocks;
    }
    numbers[n] = ls_xxh3(numbers, sizeof *numbers * (size_t)n, 0);
    ls_status status = part_path(job, job->rank, path);
    if (status == LS_OK)
        status = ls_file_write_atomic(path, numbers, sizeof *numbers * (size_t)(n + 1));
    ls_free(numbers);
    return status;
}

ls_status ls_ckpt_job_write(ls_ckpt_job *job) {
    LS_TRY(check_cancel(job));
    if (job->rank == 0) LS_TRY(write_common(job));
    LS_TRY(write_runs(job));
    return job->rank == 0 ? LS_OK : write_part(job);
}

/* Puts the numbers of a rank's part where its blocks are. */
static ls_status place_part(ls_ckpt_job *job, const ls_ckpt_run *runs, int n_runs,
                            const uint64_t *numbers, size_t bytes, const char *path) {
    int64_t n = 0, at = 0;
    for (int i = 0; i < n_runs; i++) n += runs[i].n_blocks;
    if (bytes != sizeof *numbers * (size_t)(n + 1) ||
        numbers[n] != ls_xxh3(numbers, sizeof *numbers * (size_t)n, 0))
        return LS_FAIL(LS_ERR_FORMAT, "%s: a rank's hashes should be here, whole", path);
    for (int i = 0; i < n_runs; i++) {
        uint64_t *to =
            job->hashes + job->layout.slots[runs[i].slot].first_hash + runs[i].first_block;
        memcpy(to, numbers + at, sizeof *numbers * (size_t)runs[i].n_blocks);
        at += runs[i].n_blocks;
    }
    return LS_OK;
}

/* The plan says which blocks a rank has, in the order of its part. */
static ls_status read_part(ls_ckpt_job *job, int rank, const char *path, ls_arena *arena) {
    char *data = NULL;
    size_t bytes = 0;
    ls_ckpt_run *runs = NULL;
    int n = 0;
    LS_TRY(ls_ckpt_runs_make(&job->layout, job->plan, rank, arena, &runs, &n, &bytes));
    LS_TRY(ls_file_read(path, &data, &bytes));
    const ls_status status =
        place_part(job, runs, n, (const uint64_t *)(const void *)data, bytes, path);
    ls_free(data);
    return status;
}

static ls_status gather_part(ls_ckpt_job *job, int rank) {
    char path[LS_CKPT_PATH];
    ls_arena *arena = NULL;
    LS_TRY(part_path(job, rank, path));
    LS_TRY(ls_arena_create(&arena));
    const ls_status status = read_part(job, rank, path, arena);
    ls_arena_destroy(arena);
    LS_TRY(status);
    if (unlink(path) == 0) return LS_OK;
    return LS_FAIL(LS_ERR_IO, "cannot remove %s", path);
}

ls_status ls_ckpt_job_complete(ls_ckpt_job *job) {
    char path[LS_CKPT_PATH], root[LS_CKPT_PATH], *text = NULL;
    const char *name;
    size_t bytes = 0;
    for (int r = 1; r < job->size; r++) LS_TRY(gather_part(job, r));
    LS_TRY(ls_ckpt_path(job->temporary, LS_CKPT_MANIFEST, path));
    LS_TRY(ls_ckpt_manifest_print(&job->layout, job->hashes, &job->content, &text, &bytes));
    const ls_status status = ls_file_write_atomic(path, text, bytes);
    ls_free(text);
    LS_TRY(status);
    LS_TRY(ls_dir_sync(job->temporary));
    LS_TRY(ls_ckpt_swap_in(job->temporary, job->dir));
    if (!job->retention) return LS_OK;
    LS_TRY(ls_ckpt_split(job->dir, root, &name));
    LS_TRY(ls_ckpt_set_latest(root, name));
    return ls_ckpt_retain(root, job->content.step, job->retention);
}
