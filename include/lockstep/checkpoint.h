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
} ls_ckpt_content;

/* Saves every persistent value of the program as folder `dir` (replaced when it exists). Collective over the program's ranks: the
 * first writes; when it fails, all fail. */
LS_API ls_status ls_ckpt_save(ls_program *program, const ls_ckpt_content *content, const char *dir);

typedef struct ls_ckpt ls_ckpt;
/* Opens and checks the manifest against the files; tensors are mapped, their hashes checked when loaded. */
LS_API ls_status ls_ckpt_open(const char *dir, ls_ckpt **out);
LS_API void ls_ckpt_close(ls_ckpt *ckpt);
LS_API int64_t ls_ckpt_step(const ls_ckpt *ckpt);
LS_API uint64_t ls_ckpt_seed(const ls_ckpt *ckpt);
LS_API const char *ls_ckpt_dir(const ls_ckpt *ckpt);
LS_API const char *ls_ckpt_config(const ls_ckpt *ckpt);  /* JSON text */
LS_API const char *ls_ckpt_trainer(const ls_ckpt *ckpt); /* JSON text, or NULL */
LS_API int ls_ckpt_count(const ls_ckpt *ckpt);
LS_API ls_named_tensor ls_ckpt_tensor(const ls_ckpt *ckpt,
                                      int i); /* mapped, read-only, hash not yet checked */
/* Stores the checkpoint's values into the program; every value that the program keeps must be there with its shape. weights_only
 * leaves optimizer state and buffers that the checkpoint lacks as they are. */
LS_API ls_status ls_ckpt_load(const ls_ckpt *ckpt, ls_program *program, int weights_only);
/* Reads everything and compares every hash. */
LS_API ls_status ls_ckpt_verify(const ls_ckpt *ckpt);

/* SHA-256 over the logical weights: for each parameter in the order of its name, "name dtype dims\n" and then its bytes in row-major
 * order. The layout of files and ranks does not enter. */
LS_API ls_status ls_ckpt_hash_weights(const ls_ckpt *ckpt, char hex_out[65]);
/* Collective over the program's ranks. */
LS_API ls_status ls_ckpt_hash_program(ls_program *program, char hex_out[65]);

/* Removes what saves that were cut short left in `root`. No other run may be writing there. */
LS_API ls_status ls_ckpt_sweep(const char *root);
/* `root`/latest names the newest checkpoint folder of a run. */
LS_API ls_status ls_ckpt_set_latest(const char *root, const char *name);
/* Path of the newest complete checkpoint below `root` (or of `root` itself when it is one); free with ls_free. */
LS_API ls_status ls_ckpt_find_latest(const char *root, char **path_out);

#endif
