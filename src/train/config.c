#include "base/config.h"

#include <stddef.h>
#include <string.h>

#include "lockstep/train.h"
#include "model/model_config.h"
#include "optim/optim_config.h"
#include "train/check.h"

static const char *const precision_names[] = {"f32", "bf16", "f16", NULL};
static const char *const transport_names[] = {"auto", "self", "threads", "shm",
                                              "mpi",  "nccl", NULL};
static const char *const packing_names[] = {"auto", "all", "off", NULL};
static const char *const casting_names[] = {"auto", "step", "use", NULL};
static const char *const wire_names[] = {"f32", "bf16", "int8", NULL};
static const char *const mode_names[] = {"exact", "fast", NULL};
static const char *const save_mode_names[] = {"background", "wait", NULL};
static const char *const save_error_names[] = {"continue", "stop", NULL};
static const char *const recompute_names[] = {"auto",  "none",  "cheap", "attention",
                                              "layer", "bytes", NULL};

#define FIELD(name, form, text, low, high, names, words)                                   \
    {                                                                                      \
        .key = #name, .type = LS_CONFIG_##form, .offset = offsetof(ls_train_config, name), \
        .default_text = text, .min = low, .max = high, .choices = names, .help = words     \
    }
#define KEYED(word, name, form, text, low, high, words)                                   \
    {                                                                                     \
        .key = word, .type = LS_CONFIG_##form, .offset = offsetof(ls_train_config, name), \
        .default_text = text, .min = low, .max = high, .help = words                      \
    }
#define CHOICE(name, text, table, words)                                                 \
    {                                                                                    \
        .key = #name, .type = LS_CONFIG_ENUM, .offset = offsetof(ls_train_config, name), \
        .default_text = text, .choices = table, .help = words                            \
    }
#define DATA(name, form, text, low, high, words)                                          \
    {                                                                                     \
        .key = "data." #name, .type = LS_CONFIG_##form,                                   \
        .offset = offsetof(ls_train_config, data.name), .default_text = text, .min = low, \
        .max = high, .help = words                                                        \
    }

/* clang-format off */
static const ls_config_field run_fields[] = {
    FIELD(steps, INT, "1000", 0, 1e15, NULL, "optimizer steps of the whole run"),
    FIELD(seed, INT, "1", 0, 9e18, NULL, "key of all randomness: initialisation, data order, dropout"),
    FIELD(threads, INT, "0", 0, 1024, NULL, "compute threads; 0 = the CPUs this process may use. Changes no result"),
    FIELD(lanes, INT, "1", 1, 65536, NULL, "parts of the global batch whose gradients are made alone and added in a fixed tree; a power of two. Part of the result, unlike ranks and threads"),
    FIELD(batch, INT, "8", 1, 1e9, NULL, "sequences (or images) of one optimizer step, over all lanes; a multiple of lanes"),
    FIELD(window, INT, "0", 0, 1e7, NULL, "tokens of a training sequence; 0 = model.context"),
    FIELD(precision, ENUM, "f32", 0, 0, precision_names, "compute precision; master weights and sums are f32"),
    FIELD(fuse, BOOL, "true", 0, 0, NULL, "elementwise chains, and norms with their elementwise neighbours, run as one node in cache; false: node by node, for comparison. Changes no result"),
    FIELD(pack, ENUM, "auto", 0, 0, packing_names, "weights packed once a step for the products that read them packed alike (lanes, recomputation), which takes memory: `lockstep plan` says how much. auto: where at least eight do; all: where at least two do; off: every product packs for itself. Changes no result"),
    FIELD(cast_weights, ENUM, "auto", 0, 0, casting_names, "when bf16 and f16 copies of weights are made. step: once a step, kept for all lanes; use: right before a layer's forward and backward pass that read them, which spares the memory (`lockstep plan` says how much); auto: use in training with one lane on a rank that does at least 6,000 operations a weight (about a thousand tokens), otherwise step. Changes no result"),
    FIELD(recompute, ENUM, "auto", 0, 0, recompute_names, "forward results made again in the backward pass instead of kept: none, cheap ones (norms and activations), attention, every layer, or as many layers as recompute_bytes asks for; auto: cheap where a rank trains one lane a step and that costs about a hundredth of the time and spares a byte a parameter or more (`lockstep plan` says what it chose), otherwise none. Changes no result"),
    FIELD(recompute_bytes, INT, "0", 0, 9e18, NULL, "with recompute: bytes: most bytes of forward results kept per lane"),
    FIELD(logits_bytes, INT, "16777216", 0, 9e18, NULL, "most bytes of logits that a lane stores; a lane with more makes them a block of rows at a time, with loss and gradients, and stores none. 0 = always store them. Changes no result"),
    FIELD(max_seconds, FLOAT, "0", 0, 1e9, NULL, "stop after the step during which this much training time has passed; 0 = no limit"),
    FIELD(out, STRING, "out", 0, 0, NULL, "folder for checkpoints, metrics and charts"),
    FIELD(device, STRING, "cpu", 0, 0, NULL, "where to run: cpu"),
    FIELD(transport, ENUM, "auto", 0, 0, transport_names, "how ranks talk: auto (what started the process: mpirun, lockstep run, nothing), self, shm or mpi"),
    KEYED("mesh.dp", ranks, INT, "0", 0, 1e6, "data-parallel ranks to plan for, a power of two up to lanes; 0 = those that were started. Changes no result"),
    KEYED("mesh.hosts", hosts, INT, "0", 0, 1e6, "hosts to plan for, at most one a rank; 0 = those that are there, 1 when planning. A run is refused on another number"),
    FIELD(zero, INT, "0", 0, 3, NULL, "what is cut among ranks: 0 nothing; 1 master weights and optimizer state; 2 also gradients; 3 also the weights computed with. Changes no result"),
    FIELD(wire, ENUM, "f32", 0, 0, wire_names, "rounding of every node of the lane tree, and the format of gradients between hosts: f32, bf16, or int8 (blocks of 32 with a power-of-two scale)"),
    FIELD(mode, ENUM, "exact", 0, 0, mode_names, "exact: the same bits on any number of ranks; fast: the transport's own sums (zero 0, transport mpi)"),
    FIELD(bucket_bytes, INT, "0", 0, 1e12, NULL, "tensors exchanged together, in bytes of f32; 0 = chosen so that the link's latency is at most a twentieth. Changes no result"),
    KEYED("link.latency_us", link_latency_us, FLOAT, "0", 0, 1e7, "latency between ranks, in microseconds; 0 = 5 on one host, 50 between hosts"),
    KEYED("link.gbps", link_gbps, FLOAT, "0", 0, 1e6, "bandwidth between ranks, in Gbit/s; 0 = 64 on one host, 10 between hosts"),
    FIELD(late_seconds, FLOAT, "60", 0.1, 1e6, NULL, "a rank that is alive, but neither arrives at an exchange nor gets on with its work for so long, ends the run"),
    FIELD(log_every, INT, "1", 1, 1e9, NULL, "steps between lines of metrics.jsonl"),
    FIELD(eval_every, INT, "0", 0, 1e15, NULL, "steps between evaluations on the early-stopping part, where there is one; 0 = only at the end, on the held-out part"),
    FIELD(eval_windows, INT, "0", 0, 1e15, NULL, "sequences (or images) of such an evaluation; 0 = all"),
    FIELD(save_every, INT, "0", 0, 1e15, NULL, "steps between checkpoints; 0 = only at the end"),
    FIELD(keep, INT, "2", 1, 1e6, NULL, "newest checkpoints kept"),
    FIELD(keep_every, INT, "0", 0, 1e15, NULL, "also keep every checkpoint whose step is a multiple of this; 0 = none"),
    FIELD(keep_best, BOOL, "false", 0, 0, NULL, "also keep the checkpoint with the lowest loss on the early-stopping part (images: the test images)"),
    FIELD(save_mode, ENUM, "background", 0, 0, save_mode_names, "background: a checkpoint within the run is copied in memory and written while training goes on; wait: training waits for the disk"),
    FIELD(on_save_error, ENUM, "continue", 0, 0, save_error_names, "when a checkpoint within the run cannot be written: say so and continue with the old ones, or stop. The last one must succeed"),
    FIELD(shard_bytes, INT, "1073741824", 65536, 1e15, NULL, "largest tensor file of a checkpoint; a larger tensor has a file of its own"),
    FIELD(hash_every, INT, "0", 0, 1e15, NULL, "steps between hashes of weights and gradients in metrics.jsonl, for `lockstep replay`; 0 = none"),
    FIELD(notice_seconds, FLOAT, "0", 0, 1e9, NULL, "time between SIGTERM and the end of the machine (spot notice, Slurm, Kubernetes): a run whose step and save take longer is warned of at its start; 0 = not known"),
    KEYED("recover.copies", copies, INT, "0", 0, 2, "copies of the state in memory that outlive ranks, under `lockstep run`: 0 = none, a crash goes on from the last checkpoint; 1 = on the rank's host; 2 = also on a neighbour host. Changes no result"),
    FIELD(tensorboard, BOOL, "true", 0, 0, NULL, "also write a TensorBoard event file"),
    KEYED("profile.first", profile_first, INT, "3", 1, 1e15, "with --profile: first step that is recorded, counted from 1 at the start of the process"),
    KEYED("profile.steps", profile_steps, INT, "3", 1, 10000, "with --profile: steps recorded"),
    KEYED("profile.events", profile_events, INT, "0", 0, 1e9, "with --profile: room for events on each rank, 64 bytes each; 0 = as many as the steps need"),
    DATA(path, STRING, NULL, 0, 0, "text file or folder (.txt, .jsonl, either with .zst), token shard (.tok), or folder of IDX images"),
    DATA(tokenizer, STRING, "bpe", 0, 0, "bpe (trained on the text), byte, or the path of a tokenizer.json"),
    DATA(vocab, INT, "2048", 257, 1e6, "tokens of a trained BPE"),
    DATA(cache, STRING, NULL, 0, 0, "folder for trained tokenizer, token shards, unpacked images; unset = <out>/data"),
    DATA(split, BOOL, "true", 0, 0, "hold out the last 5 % of the text, and 5 % before it for early stopping; of a part with a file of its own nothing is cut"),
    DATA(ignore_across_documents, BOOL, "false", 0, 0, "the first token of a document is no target"),
    DATA(stop_path, STRING, NULL, 0, 0, "text or token shard, as data.path, for early stopping; unset = cut from the text (data.split), none from a shard"),
    DATA(held_path, STRING, NULL, 0, 0, "held-out text or token shard, as data.path; unset = cut from the text (data.split), none from a shard"),
    DATA(max_shift, INT, "0", 0, 8, "images: shift each by up to so many pixels"),
    DATA(flip, BOOL, "false", 0, 0, "images: mirror half of them"),
};
static const ls_config_field model_fields[] = {LS_MODEL_FIELDS(offsetof(ls_train_config, model))};
static const ls_config_field optim_fields[] = {LS_OPTIM_FIELDS(offsetof(ls_train_config, optim))};
/* clang-format on */

#define TABLE(fields) \
    { fields, (int)(sizeof(fields) / sizeof((fields)[0])) }
static const ls_config_table tables[] = {TABLE(run_fields), TABLE(model_fields),
                                         TABLE(optim_fields)};
enum { N_TABLES = sizeof tables / sizeof tables[0] };

static ls_status finish_config(ls_config *config, const char *const *assignments, int n,
                               ls_train_config *out) {
    LS_TRY(ls_config_read_env(config));
    for (int i = 0; i < n; i++) LS_TRY(ls_config_set(config, assignments[i]));
    return ls_train_check(out);
}

ls_status ls_train_config_load(const char *path, const char *const *assignments, int n,
                               ls_train_config *out, ls_config **config_out) {
    ls_config *config = NULL;
    LS_TRY(ls_config_create(tables, N_TABLES, out, &config));
    ls_status status = path ? ls_config_read_file(config, path) : LS_OK;
    if (status == LS_OK) status = finish_config(config, assignments, n, out);
    if (status != LS_OK) {
        ls_config_destroy(config);
        return status;
    }
    *config_out = config;
    return LS_OK;
}

/* Stored values go through the same door as a file: JSON is YAML. */
ls_status ls_train_config_from_json(const char *json, const char *what,
                                    const char *const *assignments, int n, ls_train_config *out,
                                    ls_config **config_out) {
    ls_config *config = NULL;
    LS_TRY(ls_config_create(tables, N_TABLES, out, &config));
    ls_status status = ls_config_read_text(config, json, strlen(json), what);
    for (int i = 0; status == LS_OK && i < n; i++) status = ls_config_set(config, assignments[i]);
    if (status == LS_OK) status = ls_train_check(out);
    if (status != LS_OK) {
        ls_config_destroy(config);
        return status;
    }
    *config_out = config;
    return LS_OK;
}

ls_status ls_train_config_document(char **text_out) {
    return ls_config_document(tables, N_TABLES, text_out);
}
