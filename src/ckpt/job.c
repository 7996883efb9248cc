/* A save under way: what it is made of, the folder it is written in, which files are those of the newest checkpoint. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "ckpt/ckpt.h"

int ls_ckpt_rank_of(const ls_program *p) {
    return p->rank->stage * p->plan->n_members + p->member;
}

static ls_status copy_text(ls_arena *arena, const char *text, const char **out) {
    if (!text) return LS_OK;
    *out = ls_arena_strdup(arena, text);
    return *out ? LS_OK : LS_ERR_NO_MEMORY;
}

static ls_status copy_content(ls_arena *arena, const ls_ckpt_content *from, ls_ckpt_content *to) {
    *to = (ls_ckpt_content){.step = from->step, .seed = from->seed, .score = from->score};
    LS_TRY(copy_text(arena, from->config_json, &to->config_json));
    LS_TRY(copy_text(arena, from->trainer_json, &to->trainer_json));
    ls_ckpt_file *files = ls_arena_alloc(arena, sizeof *files * (size_t)(from->n_files + 1));
    if (!files) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < from->n_files; i++) {
        char *data = ls_arena_alloc(arena, from->files[i].bytes + 1);
        if (!data) return LS_ERR_NO_MEMORY;
        if (from->files[i].bytes) memcpy(data, from->files[i].data, from->files[i].bytes);
        files[i] = (ls_ckpt_file){.data = data, .bytes = from->files[i].bytes};
        LS_TRY(copy_text(arena, from->files[i].name, &files[i].name));
    }
    to->files = files;
    to->n_files = from->n_files;
    return LS_OK;
}

/* The index files of tensors in several files belong to the plain files. */
static ls_status add_indices(ls_ckpt_job *job) {
    ls_ckpt_content *content = &job->content;
    ls_ckpt_file *files =
        ls_arena_alloc(job->arena, sizeof *files * (size_t)(content->n_files + 2));
    if (!files) return LS_ERR_NO_MEMORY;
    if (content->n_files) memcpy(files, content->files, sizeof *files * (size_t)content->n_files);
    content->files = files;
    for (int optimizer = 0; optimizer < 2; optimizer++) {
        static const char *const names[] = {"model.safetensors.index.json",
                                            "optimizer.safetensors.index.json"};
        char *text = NULL;
        LS_TRY(ls_ckpt_layout_index(&job->layout, optimizer, &text));
        if (!text) continue;
        char *kept = ls_arena_strdup(job->arena, text);
        ls_free(text);
        if (!kept) return LS_ERR_NO_MEMORY;
        files[content->n_files++] = (ls_ckpt_file){names[optimizer], kept, strlen(kept)};
    }
    return LS_OK;
}

static ls_status fill_job(ls_ckpt_job *job, ls_program *p, const ls_ckpt_content *content,
                          const char *dir, const ls_ckpt_save_options *options) {
    size_t bytes;
    LS_TRY(copy_text(job->arena, dir, &job->dir));
    LS_TRY(copy_content(job->arena, content, &job->content));
    LS_TRY(ls_ckpt_layout_slots(p->plan, job->arena, &job->layout));
    LS_TRY(ls_ckpt_layout_deal(&job->layout, options ? options->shard_bytes : 0, job->arena));
    LS_TRY(ls_ckpt_runs_make(&job->layout, p->plan, job->rank, job->arena, &job->runs, &job->n_runs,
                             &bytes));
    job->plan = p->plan;
    LS_TRY(add_indices(job));
    const size_t n_shards = (size_t)job->layout.n_shards;
    job->hashes =
        ls_arena_alloc(job->arena, sizeof *job->hashes * (size_t)(job->layout.n_blocks + 1));
    job->files = ls_arena_alloc(job->arena, sizeof *job->files * n_shards);
    job->linked = ls_arena_alloc(job->arena, n_shards);
    if (!job->hashes || !job->files || !job->linked) return LS_ERR_NO_MEMORY;
    if (options && options->retention) {
        ls_ckpt_retention *kept = ls_arena_alloc(job->arena, sizeof *kept);
        if (!kept) return LS_ERR_NO_MEMORY;
        *kept = *options->retention;
        job->retention = kept;
    }
    for (int i = 0; i < job->n_runs; i++) {
        ls_ckpt_run *run = &job->runs[i];
        const size_t before =
            (size_t)(run->first - run->part.first) * ls_dtype_bytes(run->part.whole.dtype);
        run->data = (const char *)ls_program_part_address(p, &run->part) + before;
    }
    return LS_OK;
}

ls_status ls_ckpt_job_create(ls_program *program, const ls_ckpt_content *content, const char *dir,
                             const ls_ckpt_save_options *options, ls_ckpt_job **out) {
    ls_arena *arena = NULL;
    LS_TRY(ls_arena_create(&arena));
    ls_ckpt_job *job = ls_arena_alloc(arena, sizeof *job);
    ls_status status = job ? LS_OK : LS_ERR_NO_MEMORY;
    if (status == LS_OK) {
        job->arena = arena;
        job->rank = ls_ckpt_rank_of(program);
        job->size = ls_plan_ranks(program->plan);
        status = fill_job(job, program, content, dir, options);
    }
    if (status != LS_OK) {
        ls_arena_destroy(arena);
        return status;
    }
    *out = job;
    return LS_OK;
}

static void close_files(ls_ckpt_job *job) {
    for (int s = 0; s < job->layout.n_shards; s++) {
        ls_file_close(job->files[s]);
        job->files[s] = NULL;
    }
}

void ls_ckpt_job_destroy(ls_ckpt_job *job) {
    if (!job) return;
    close_files(job);
    ls_arena_destroy(job->arena);
}

/* What the first rank tells the others. */
typedef struct announcement {
    int64_t pid;
    char base[256]; /* name of the newest complete checkpoint beside dir, or "" */
} announcement;

static ls_status announce(ls_ckpt_job *job, ls_comm *comm, announcement *out) {
    announcement mine = {.pid = getpid()};
    ls_status status = LS_OK;
    if (job->rank == 0) status = ls_ckpt_find_base(job->dir, mine.base);
    announcement *all = ls_alloc(sizeof *all * (size_t)job->size);
    if (!all) status = LS_ERR_NO_MEMORY;
    status = ls_comm_agree(comm, "begin a checkpoint", status);
    if (status == LS_OK)
        status = ls_comm_exchange(comm, "announce a checkpoint", &mine, sizeof mine, all);
    if (status == LS_OK) *out = all[0];
    ls_free(all);
    LS_TRY(status);
    job->temporary = ls_arena_format(job->arena, "%s.tmp.%lld", job->dir, (long long)out->pid);
    return job->temporary ? LS_OK : LS_ERR_NO_MEMORY;
}

static uint64_t hash_block(const ls_ckpt_slot *slot, const ls_ckpt_run *run, int64_t k) {
    const size_t size = ls_dtype_bytes(slot->type.dtype);
    int64_t count;
    const int64_t first = ls_ckpt_grid_block(&slot->grid, k, &count);
    return ls_xxh3(run->data + (size_t)(first - run->first) * size, (size_t)count * size, 0);
}

/* Is the slot stored whole in a file of that name, with the same blocks? */
static const ls_ckpt_slice *find_slice(const ls_ckpt *base, const ls_ckpt_slot *slot,
                                       const char *file) {
    const ls_ckpt_entry *e = ls_ckpt_find_entry(base, slot->name);
    if (!e || e->n_slices != 1 || e->type.dtype != slot->type.dtype) return NULL;
    const ls_ckpt_slice *slice = &e->slices[0];
    const int same = ls_shape_equal(&slice->shape, &slot->type.shape) &&
                     slice->offset == slot->offset && slice->grid.chunk == slot->grid.chunk &&
                     slice->grid.block == slot->grid.block &&
                     strcmp(base->files[slice->file].name, file) == 0;
    return same ? slice : NULL;
}

/* Blocks of this rank, until the first that differs. */
static int is_run_unchanged(const ls_ckpt_job *job, const ls_ckpt_run *run, const ls_ckpt *base) {
    const ls_ckpt_slot *slot = &job->layout.slots[run->slot];
    const ls_ckpt_slice *slice = find_slice(base, slot, job->layout.shards[slot->shard].name);
    for (int64_t k = run->first_block; slice && k < run->first_block + run->n_blocks; k++)
        if (hash_block(slot, run, k) != ls_ckpt_hex_hash(slice->hex + k * LS_CKPT_HEX)) return 0;
    return slice != NULL;
}

static int is_header_unchanged(const ls_ckpt_shard *shard, const ls_ckpt *base) {
    for (int f = 0; f < base->n_files; f++)
        if (strcmp(base->files[f].name, shard->name) == 0)
            return base->files[f].bytes == shard->bytes &&
                   base->files[f].hash == ls_xxh3(shard->header, shard->header_bytes, 0);
    return 0;
}

/* Which files have, as far as this rank holds them, the bytes of the base's? Of a base that does not open: none. */
static ls_status find_unchanged(ls_ckpt_job *job, const char *base_dir) {
    ls_ckpt *base = NULL;
    const ls_status opened = ls_ckpt_open_alone(base_dir, &base);
    if (opened != LS_OK) return opened == LS_ERR_NO_MEMORY ? opened : LS_OK;
    for (int s = 0; s < job->layout.n_shards; s++)
        job->linked[s] =
            base->version > 1 && is_header_unchanged(&job->layout.shards[s], base) ? 1 : 0;
    for (int i = 0; i < job->n_runs; i++) {
        unsigned char *linked = &job->linked[job->layout.slots[job->runs[i].slot].shard];
        if (*linked && !is_run_unchanged(job, &job->runs[i], base)) *linked = 0;
    }
    ls_ckpt_close(base);
    return LS_OK;
}

/* A file is linked when all ranks say so. */
static ls_status agree_on_links(ls_ckpt_job *job, ls_comm *comm) {
    enum { AT_ONCE = 4096 };
    unsigned char *all = ls_alloc((size_t)job->size * AT_ONCE);
    ls_status status =
        ls_comm_agree(comm, "compare with the last checkpoint", all ? LS_OK : LS_ERR_NO_MEMORY);
    for (int s = 0; status == LS_OK && s < job->layout.n_shards; s += AT_ONCE) {
        const int left = job->layout.n_shards - s, n = left < AT_ONCE ? left : AT_ONCE;
        status = ls_comm_exchange(comm, "unchanged files", job->linked + s, (size_t)n, all);
        for (int i = 0; status == LS_OK && i < n * job->size; i++) job->linked[s + i % n] &= all[i];
    }
    ls_free(all);
    return status;
}

/* The first rank: links what is unchanged and can be linked, makes the other files. */
static ls_status make_folder(ls_ckpt_job *job, const char *base_dir) {
    char path[LS_CKPT_PATH], old[LS_CKPT_PATH];
    if (ls_path_exists(job->temporary)) LS_TRY(ls_dir_remove(job->temporary));
    LS_TRY(ls_dir_make(job->temporary));
    for (int s = 0; s < job->layout.n_shards; s++) {
        const ls_ckpt_shard *shard = &job->layout.shards[s];
        LS_TRY(ls_ckpt_path(job->temporary, shard->name, path));
        if (job->linked[s]) {
            LS_TRY(ls_ckpt_path(base_dir, shard->name, old));
            const ls_status status = ls_path_link(old, path);
            if (status == LS_OK) continue;
            if (status != LS_ERR_UNSUPPORTED) return status;
            job->linked[s] = 0;
        }
        LS_TRY(ls_file_create(path, shard->bytes, &job->files[s]));
    }
    return LS_OK;
}

/* Does this rank write in a file? */
static int writes_in(const ls_ckpt_job *job, int shard) {
    for (int i = 0; i < job->n_runs; i++)
        if (job->layout.slots[job->runs[i].slot].shard == shard) return 1;
    return 0;
}

static ls_status open_files(ls_ckpt_job *job) {
    char path[LS_CKPT_PATH];
    if (!ls_path_is_dir(job->temporary))
        return LS_FAIL(LS_ERR_NOT_FOUND,
                       "checkpoint '%s': rank %d does not see the folder that rank 0 made there; "
                       "`out` must be on a file system that all hosts share",
                       job->dir, job->rank);
    for (int s = 0; s < job->layout.n_shards; s++) {
        if (job->files[s] || !writes_in(job, s)) continue;
        LS_TRY(ls_ckpt_path(job->temporary, job->layout.shards[s].name, path));
        LS_TRY(ls_file_open(path, 1, &job->files[s]));
    }
    return LS_OK;
}

ls_status ls_ckpt_job_open(ls_ckpt_job *job, ls_comm *comm) {
    announcement said = {0};
    char root[LS_CKPT_PATH], base_dir[LS_CKPT_PATH] = "";
    const char *name;
    LS_TRY(announce(job, comm, &said));
    ls_status status = ls_ckpt_split(job->dir, root, &name);
    if (status == LS_OK && said.base[0]) {
        status = ls_ckpt_path(root, said.base, base_dir);
        if (status == LS_OK) status = find_unchanged(job, base_dir);
    }
    status = ls_comm_agree(comm, "compare with the last checkpoint", status);
    if (status == LS_OK) status = agree_on_links(job, comm);
    LS_TRY(status);
    if (job->rank == 0) status = make_folder(job, base_dir);
    status = ls_comm_agree(comm, "make the checkpoint's folder", status);
    LS_TRY(status);
    /* A link that could not be made is known now. */
    LS_TRY(agree_on_links(job, comm));
    return ls_comm_agree(comm, "open the checkpoint's files", open_files(job));
}
