/* Checkpoints: a folder of safetensors files (weights under Hugging Face names, optimizer state under its own), the model's
 * config.json and tokenizer.json, and a manifest lockstep.json with every tensor's shape and content hash (docs/formats.md).
 *
 * Written under a temporary name, synced, renamed: a folder of that name is complete or absent. Loading checks every
 * hash, so a damaged checkpoint is never used. Thread-safety: one thread at a time. Local. */
#ifndef LOCKSTEP_CHECKPOINT_H
#define LOCKSTEP_CHECKPOINT_H
#include "lockstep/program.h"
#include "lockstep/safetensors.h"
#include <stdint.h>

#define LS_CKPT_MANIFEST  "lockstep.json"
#define LS_CKPT_WEIGHTS   "model.safetensors"
#define LS_CKPT_OPTIMIZER "optimizer.safetensors"

/* A text file that belongs to the checkpoint (config.json, tokenizer.json). */
typedef struct ls_ckpt_file {
    const char *name;
    const char *data;
    size_t bytes;
} ls_ckpt_file;

typedef struct ls_ckpt_content {
    int64_t step;             /* optimizer steps done: the data cursor */
    uint64_t seed;            /* of the run: the key of all randomness */
    const char *config_json;  /* the run's configuration, a JSON object */
    const char *trainer_json; /* the trainer's own state, a JSON object, or NULL */
    const ls_ckpt_file *files;
    int n_files;
    double score; /* of the model (a loss: less is better), for keep_best; NAN = none */
} ls_ckpt_content;

/* What stays in the run's folder when a checkpoint is complete: the newest `last`, those whose step is a multiple of `every` (0 =
 * none), and with `best` the one with the least score. Only checkpoints up to the new one's step count: later ones are another run's. */
typedef struct ls_ckpt_retention {
    int64_t last, every;
    int best;
} ls_ckpt_retention;

typedef struct ls_ckpt_save_options {
    int64_t shard_bytes;                /* largest tensor file; 0 = 1 GiB */
    const ls_ckpt_retention *retention; /* NULL: nothing is removed and `latest` stays as it is */
} ls_ckpt_save_options;

/* Saves every persistent value of the program as folder `dir` (replaced when it exists), which all ranks must see; options may be NULL.
 * Every rank writes its own part of the files, straight from the program's memory; the files' bytes do not depend on the layout. Files
 * whose bytes are those of the newest complete checkpoint beside `dir` are linked instead of written. Collective: when it fails on
 * one rank it fails on all, with that rank's reason, and nothing of it is left. */
LS_API ls_status ls_ckpt_save(ls_program *program, const ls_ckpt_content *content, const char *dir,
                              const ls_ckpt_save_options *options);

/* Saving while the program runs on: the state is copied (the stall), then a thread of each rank writes its part. The thread never
 * talks to other ranks: they tell each other their states in an exchange of their own, at most one save at a time. */
typedef struct ls_ckpt_saver ls_ckpt_saver;
typedef enum ls_save_state {
    LS_SAVE_IDLE,       /* no save under way */
    LS_SAVE_WRITING,    /* this rank's part is being written */
    LS_SAVE_WRITTEN,    /* it is on disk */
    LS_SAVE_COMPLETING, /* the first rank: everybody's is; manifest, rename, latest, retention */
    LS_SAVE_COMPLETE,   /* the first rank: done */
    LS_SAVE_FAILED      /* see ls_ckpt_saver_error */
} ls_save_state;
/* Allocates the copy's memory: what ls_ckpt_snapshot_bytes says. Local. */
LS_API ls_status ls_ckpt_saver_create(ls_program *program, ls_ckpt_saver **out);
/* Waits for the writing thread; what is not complete is removed. Local. NULL is fine. */
LS_API void ls_ckpt_saver_destroy(ls_ckpt_saver *saver);
/* Copies the state and starts to write. content, dir and options are copied too. State must be IDLE on all ranks. Collective. */
LS_API ls_status ls_ckpt_saver_begin(ls_ckpt_saver *saver, const ls_ckpt_content *content,
                                     const char *dir, const ls_ckpt_save_options *options);
LS_API ls_save_state ls_ckpt_saver_state(const ls_ckpt_saver *saver); /* Local, cheap, any thread */
/* Takes everybody's states (the same on every rank, `size` of them) and goes on: when all are WRITTEN the first rank begins to complete;
 * when it is COMPLETE, or anybody FAILED, all return to IDLE. *done_out: the save is over; then the result says how: LS_OK, or the
 * failing rank's error, the same on all ranks. Collective in its effect: call it at the same place with the same states. */
LS_API ls_status ls_ckpt_saver_advance(ls_ckpt_saver *saver, const int *states, int size,
                                       int *done_out);
/* Until no save is under way. Collective. */
LS_API ls_status ls_ckpt_saver_wait(ls_ckpt_saver *saver);
/* How long the copy of the last begin took, and its bytes; how long writing took, on this rank. */
typedef struct ls_ckpt_save_times {
    double copy_seconds, write_seconds;
    int64_t copy_bytes, written_bytes; /* of this rank; linked files are not written */
} ls_ckpt_save_times;
LS_API ls_ckpt_save_times ls_ckpt_saver_times(const ls_ckpt_saver *saver);
/* Bytes of the copy on a rank: its parts, and its share of what all members hold. */
LS_API int64_t ls_ckpt_snapshot_bytes(const ls_plan *plan, int rank);

typedef struct ls_ckpt ls_ckpt;
/* Opens: the manifest against its own hash; every file there with its size; headers and plain files with their hashes. Tensors' hashes
 * are checked when they are read. When it cannot be opened, the message names an older one beside it that can. Local. */
LS_API ls_status ls_ckpt_open(const char *dir, ls_ckpt **out);
LS_API void ls_ckpt_close(ls_ckpt *ckpt);
LS_API int64_t ls_ckpt_step(const ls_ckpt *ckpt);
LS_API uint64_t ls_ckpt_seed(const ls_ckpt *ckpt);
LS_API const char *ls_ckpt_dir(const ls_ckpt *ckpt);
LS_API const char *ls_ckpt_config(const ls_ckpt *ckpt);     /* JSON text */
LS_API const char *ls_ckpt_trainer(const ls_ckpt *ckpt);    /* JSON text, or NULL */
LS_API double ls_ckpt_score(const ls_ckpt *ckpt);           /* NAN: none */
LS_API const char *ls_ckpt_written_by(const ls_ckpt *ckpt); /* version of the program */
/* Lanes of the run that wrote it, 0 when it does not say. With other lanes it loads too, but the bits of what follows differ. */
LS_API int ls_ckpt_lanes(const ls_ckpt *ckpt);
LS_API int ls_ckpt_count(const ls_ckpt *ckpt);
typedef struct ls_ckpt_tensor_info {
    const char *name; /* belongs to the checkpoint */
    ls_role role;
    ls_dtype dtype;
    ls_shape shape; /* of the logical tensor */
    int n_slices;   /* stretches or boxes that it is stored in */
} ls_ckpt_tensor_info;
LS_API ls_ckpt_tensor_info ls_ckpt_tensor(const ls_ckpt *ckpt, int i);
/* Elements first .. first + count - 1 of tensor i, flattened in row-major order; only the blocks that hold them are read, and their
 * hashes checked. */
LS_API ls_status ls_ckpt_read(const ls_ckpt *ckpt, int i, int64_t first, int64_t count, void *out);
/* Bytes of tensors read so far. */
LS_API int64_t ls_ckpt_bytes_read(const ls_ckpt *ckpt);
/* Local: reads only what this rank's parts need, whatever layout wrote the checkpoint. Stores the checkpoint's values into the program; every value that the program keeps must be there with its shape. weights_only
 * leaves optimizer state and buffers that the checkpoint lacks as they are. */
LS_API ls_status ls_ckpt_load(const ls_ckpt *ckpt, ls_program *program, int weights_only);
/* Reads everything and compares every hash. */
LS_API ls_status ls_ckpt_verify(const ls_ckpt *ckpt);

/* SHA-256 over the logical weights: for each parameter in the order of its name, "name dtype dims\n" and then its bytes in row-major
 * order. The layout of files and ranks does not enter. */
LS_API ls_status ls_ckpt_hash_weights(const ls_ckpt *ckpt, char hex_out[65]);
/* Collective over the program's ranks. */
LS_API ls_status ls_ckpt_hash_program(ls_program *program, char hex_out[65]);

typedef struct ls_ckpt_convert_options {
    int64_t shard_bytes; /* largest tensor file; 0 = 1 GiB, INT64_MAX = one file */
    int weights_only;    /* a plain model folder: weights and buffers, no manifest */
    int dtype;           /* of the weights, an ls_dtype; -1: as they are. With weights_only */
} ls_ckpt_convert_options;
/* Writes it again as folder `out`, which must not be there. Local. */
LS_API ls_status ls_ckpt_convert(const ls_ckpt *from, const char *out,
                                 const ls_ckpt_convert_options *options);

typedef struct ls_ckpt_difference {
    const char *name;
    int in_a, in_b;
    ls_ckpt_tensor_info a, b; /* where it is */
    int alike;                /* in both with the same shape and dtype; then: */
    int64_t n_different;      /* elements whose bits differ */
    int64_t n_not_finite;     /* of those: whose difference is not finite */
    double largest,
        largest_relative; /* of the finite ones: |x - y|, and that over the larger of |x|, |y| */
} ls_ckpt_difference;
typedef ls_status (*ls_ckpt_diff_fn)(void *user, const ls_ckpt_difference *difference);
/* Calls fn for every tensor of either, in the order of names. Local. */
LS_API ls_status ls_ckpt_diff(const ls_ckpt *a, const ls_ckpt *b, ls_ckpt_diff_fn fn, void *user);

/* A file of the checkpoint, for `inspect`. */
typedef struct ls_ckpt_file_info {
    const char *name;
    int64_t bytes;
    int n_tensors; /* -1: a plain file */
} ls_ckpt_file_info;
LS_API int ls_ckpt_file_count(const ls_ckpt *ckpt);
LS_API ls_ckpt_file_info ls_ckpt_file_at(const ls_ckpt *ckpt, int i);
/* Where slice s of tensor i lies: first index and extent in each dimension, its file. */
typedef struct ls_ckpt_slice_info {
    const char *file;
    int64_t start[LS_MAX_DIMS];
    ls_shape shape;
    int64_t n_blocks; /* with a hash each */
} ls_ckpt_slice_info;
LS_API ls_ckpt_slice_info ls_ckpt_slice_at(const ls_ckpt *ckpt, int i, int s);

/* Removes what saves that were cut short left in `root`. No other run may be writing there. */
LS_API ls_status ls_ckpt_sweep(const char *root);
/* `root`/latest names the newest checkpoint folder of a run. */
LS_API ls_status ls_ckpt_set_latest(const char *root, const char *name);
/* Path of the checkpoint that `root`/latest names (or of `root` itself when it is one), after opening it: a pointer to one that is not
 * whole is an error. Free with ls_free. */
LS_API ls_status ls_ckpt_find_latest(const char *root, char **path_out);
/* Path of the newest step-N below `root` that opens, whatever `latest` says: for who must go on. Free with ls_free. */
LS_API ls_status ls_ckpt_find_newest(const char *root, char **path_out);

#endif
