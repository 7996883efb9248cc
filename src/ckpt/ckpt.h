/* The checkpoint room's inside. docs/formats.md describes what is on disk. */
#ifndef LS_CKPT_CKPT_H
#define LS_CKPT_CKPT_H
#include "base/fs.h"
#include "base/json.h"
#include "exec/program.h"
#include "lockstep/checkpoint.h"
#include "lockstep/safetensors.h"
#include <stdatomic.h>

enum {
    LS_CKPT_PATH = 4096,
    LS_CKPT_BLOCK_BYTES = 1 << 20, /* largest stretch of a tensor with one hash */
    LS_CKPT_HEX = 16               /* digits of an XXH3 */
};

/* --- blocks: the stretches of a stored tensor that have a hash each --- */

/* Elements are dealt in chunks (what a lane's owner holds: ls_shard_chunk), a chunk in blocks; the last of each may be short. */
typedef struct ls_ckpt_grid {
    int64_t count, chunk, block; /* elements; 1 <= block <= chunk */
} ls_ckpt_grid;
ls_ckpt_grid ls_ckpt_grid_make(const ls_type *type, int lanes);
int64_t ls_ckpt_grid_blocks(const ls_ckpt_grid *grid);
int64_t ls_ckpt_grid_find(const ls_ckpt_grid *grid, int64_t element); /* the block it is in */
/* First element of block k, and with *count_out its elements. */
int64_t ls_ckpt_grid_block(const ls_ckpt_grid *grid, int64_t k, int64_t *count_out);

/* --- layout: which tensor is where in which file. A function of the model, the lanes and shard_bytes alone --- */

typedef struct ls_ckpt_slot {
    const char *name;
    ls_role role;
    ls_type type;
    ls_ckpt_grid grid;
    int shard;
    int64_t offset;     /* of its first byte in the file */
    int64_t first_hash; /* of its blocks among those of all slots */
} ls_ckpt_slot;

typedef struct ls_ckpt_shard {
    const char *name;
    const char *header;
    size_t header_bytes;
    int64_t bytes; /* of the file */
    int is_optimizer;
} ls_ckpt_shard;

typedef struct ls_ckpt_layout {
    ls_ckpt_slot *slots;
    int n_slots, lanes;
    ls_ckpt_shard *shards;
    int n_shards;
    int64_t n_blocks;
} ls_ckpt_layout;

/* Slots of a plan, all stages, graph order. Memory of the arena, names of the plan. */
ls_status ls_ckpt_layout_slots(const ls_plan *plan, ls_arena *arena, ls_ckpt_layout *out);
/* Deals the slots in files of at most shard_bytes (0: 1 GiB) and makes the headers. */
ls_status ls_ckpt_layout_deal(ls_ckpt_layout *layout, int64_t shard_bytes, ls_arena *arena);
/* Index file of the weights' or the optimizer's shards as Hugging Face has it; NULL when there is one shard. */
ls_status ls_ckpt_layout_index(const ls_ckpt_layout *layout, int optimizer, char **text_out);

/* Neighbouring blocks of one slot that a rank writes. */
typedef struct ls_ckpt_run {
    int slot;
    int64_t first_block, n_blocks;
    int64_t first, count; /* elements */
    size_t offset;        /* in the rank's copy */
    const char *data;
    ls_plan_part part;
} ls_ckpt_run;
ls_status ls_ckpt_runs_make(const ls_ckpt_layout *layout, const ls_plan *plan, int rank,
                            ls_arena *arena, ls_ckpt_run **runs_out, int *n_out, size_t *bytes_out);

/* --- a save under way: what a rank's thread works on; nothing of the program --- */

typedef struct ls_ckpt_job {
    ls_arena *arena;
    int rank, size;
    ls_ckpt_layout layout;
    ls_ckpt_run *runs;
    int n_runs;
    const ls_plan *plan; /* read-only: what the other ranks write, in which order */
    uint64_t
        *hashes; /* of all blocks; a rank knows those of its runs, the first rank gathers them */
    const char *dir, *temporary;
    ls_ckpt_content content; /* the job's own copy */
    const ls_ckpt_retention *retention;
    ls_file **files;       /* per shard */
    unsigned char *linked; /* per shard: it is a file of the newest checkpoint */
    const atomic_int *cancel;
    int64_t written_bytes;
} ls_ckpt_job;

/* Local. */
ls_status ls_ckpt_job_create(ls_program *program, const ls_ckpt_content *content, const char *dir,
                             const ls_ckpt_save_options *options, ls_ckpt_job **out);
void ls_ckpt_job_destroy(ls_ckpt_job *job); /* closes the files; NULL is fine */
/* Makes the folder, links what is unchanged, opens the files. Collective. */
ls_status ls_ckpt_job_open(ls_ckpt_job *job, ls_comm *comm);
ls_status ls_ckpt_job_write(ls_ckpt_job *job);    /* this rank's part */
ls_status ls_ckpt_job_complete(ls_ckpt_job *job); /* the first rank, when all have written */
/* Number of a program's rank in the world. */
int ls_ckpt_rank_of(const ls_program *program);

/* --- manifest --- */

/* What the manifest says beyond the layout. */
ls_status ls_ckpt_manifest_print(const ls_ckpt_layout *layout, const uint64_t *hashes,
                                 const ls_ckpt_content *content, char **text_out,
                                 size_t *bytes_out);
extern const char *const ls_ckpt_role_names[];

typedef struct ls_ckpt_source {
    const char *name;
    int64_t bytes;
    ls_file *file;
    ls_safetensors *tensors; /* its header; NULL: a plain file */
    uint64_t hash;           /* of the header, of the plain file */
    int n_slices;
} ls_ckpt_source;

/* A box of a tensor, stored as a tensor of its own. */
typedef struct ls_ckpt_slice {
    int file;
    int64_t start[LS_MAX_DIMS];
    ls_shape shape;
    int64_t offset; /* of its first byte in the file */
    ls_ckpt_grid grid;
    const char *hex; /* the blocks' hashes, LS_CKPT_HEX digits each */
} ls_ckpt_slice;

typedef struct ls_ckpt_entry {
    const char *name;
    ls_role role;
    ls_type type;
    ls_ckpt_slice *slices;
    int n_slices;
} ls_ckpt_entry;

struct ls_ckpt {
    ls_arena *arena;
    json_t *manifest;
    const char *dir, *written_by;
    int version, lanes;
    int64_t step;
    uint64_t seed;
    double score;
    char *config, *trainer;
    ls_ckpt_source *files;
    int n_files;
    ls_ckpt_entry *entries;
    const ls_ckpt_entry **by_name;
    int n_entries;
    _Atomic int64_t bytes_read;
};

/* Opens without looking for an older one when it fails. */
ls_status ls_ckpt_open_alone(const char *dir, ls_ckpt **out);
/* Checks a manifest's text against its own hash, where it has one, and parses it. */
ls_status ls_ckpt_manifest_parse(const char *text, size_t bytes, const char *what, json_t **out);
/* Files and tensors of the manifest in c->manifest. */
ls_status ls_ckpt_manifest_read(ls_ckpt *c, const char *what);
ls_status ls_ckpt_read_entries(ls_ckpt *c, const char *what);
const ls_ckpt_entry *ls_ckpt_find_entry(const ls_ckpt *c, const char *name);
uint64_t ls_ckpt_hex_hash(const char *hex);
int ls_ckpt_is_hex(const char *text, size_t digits);
/* Elements first .. first + count - 1 of a tensor to `out`, their blocks' hashes checked. Thread-safe. */
ls_status ls_ckpt_read_entry(const ls_ckpt *c, const ls_ckpt_entry *e, int64_t first, int64_t count,
                             void *out);

/* --- folders --- */

/* dir/name; LS_ERR_INVALID when too long. */
ls_status ls_ckpt_path(const char *dir, const char *name, char out[LS_CKPT_PATH]);
/* The folder that holds `dir`, and its last name. */
ls_status ls_ckpt_split(const char *dir, char root[LS_CKPT_PATH], const char **name_out);
int ls_ckpt_is_step_name(const char *name);
/* Removes a half-written folder, keeping the error record as it is. */
void ls_ckpt_discard(const char *dir);
/* Puts `temporary` in the place of `dir` in one step. */
ls_status ls_ckpt_swap_in(const char *temporary, const char *dir);
/* Names the newest other checkpoint beside `dir` that opens, in the error record. Returns status. */
ls_status ls_ckpt_hint_older(ls_status status, const char *dir);
/* Name of the newest complete checkpoint in the folder of `dir` (dir itself counts); "" when there is none. */
ls_status ls_ckpt_find_base(const char *dir, char name_out[256]);
/* Removes what `retention` does not keep. */
ls_status ls_ckpt_retain(const char *root, int64_t step, const ls_ckpt_retention *retention);

#endif
