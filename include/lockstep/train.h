/* Training runs: a configuration, a session (data, plan, program), the loop, evaluation, generation.
 * Thread-safety: a session belongs to one thread at a time. Collective over the ranks of its comm: each
 * calls the same functions with the same configuration. */
#ifndef LOCKSTEP_TRAIN_H
#define LOCKSTEP_TRAIN_H
#include "lockstep/checkpoint.h"
#include "lockstep/comm.h"
#include "lockstep/data.h"
#include "lockstep/model.h"
#include "lockstep/optim.h"
#include "lockstep/plan.h"
#include <stdint.h>

typedef struct ls_data_options {
    const char
        *path; /* text file or folder (lockstep/dataset.h), token shard (.tok), or image folder */
    const char
        *tokenizer;    /* "bpe" (trained on the text), "byte", or the path of a tokenizer.json */
    int64_t vocab;     /* size of a trained BPE */
    const char *cache; /* where tokenizer and token shards are kept; NULL = <out>/data */
    int split;         /* 1: the last 5 % held out, 5 % before it for early stopping */
    int ignore_across_documents;
    const char *stop_path, *held_path; /* with a token shard as path: the other two shards */
    int64_t max_shift;                 /* images: augmentation */
    int flip;
} ls_data_options;

enum { LS_SAVE_BACKGROUND, LS_SAVE_WAIT };           /* save_mode */
enum { LS_SAVE_ERROR_CONTINUE, LS_SAVE_ERROR_STOP }; /* on_save_error */

typedef struct ls_train_config {
    int64_t steps, seed, threads, lanes, batch, window;
    double max_seconds;
    int precision, recompute, fuse, pack, cast_weights;
    int64_t recompute_bytes, logits_bytes;
    const char *out, *device;
    int64_t ranks, hosts; /* planned for; 0: those that are there */
    int64_t zero, bucket_bytes;
    int wire, mode, transport;
    double late_seconds, link_latency_us, link_gbps;
    int64_t log_every, eval_every, eval_windows, save_every, keep, keep_every;
    int keep_best, save_mode, on_save_error;
    int64_t shard_bytes, hash_every, copies;
    int64_t profile_first, profile_steps, profile_events;
    double notice_seconds;
    int tensorboard;
    ls_data_options data;
    ls_model_options model;
    ls_optim_options optim;
} ls_train_config;

struct ls_config;
/* Defaults, then `path` (NULL: none), then the environment, then n assignments "key=value". The config object owns the strings;
 * destroy it last. */
LS_API ls_status ls_train_config_load(const char *path, const char *const *assignments, int n,
                                      ls_train_config *out, struct ls_config **config_out);
LS_API void ls_config_destroy(struct ls_config *config); /* NULL is fine */
/* Defaults, then the values stored in a checkpoint, then assignments. */
LS_API ls_status ls_train_config_from_json(const char *json, const char *what,
                                           const char *const *assignments, int n,
                                           ls_train_config *out, struct ls_config **config_out);
/* Markdown of every key (docs/configuration.md). Free with ls_free. */
LS_API ls_status ls_train_config_document(char **text_out);

/* What the loop tells while it runs. Values stay valid during the call only. */
typedef struct ls_train_progress {
    int64_t step, steps; /* done, of */
    double loss;         /* mean over the step's targets, natural log */
    double held_loss;    /* last evaluation on the early-stopping part; NAN before the first */
    double lr, grad_norm;
    double items_per_second; /* tokens or images, smoothed */
    double flops_per_second;
    double
        peak_flops_per_second; /* measured on this machine in the run's precision; 0 until measured */
    double seconds, eta_seconds;
    int64_t n_skipped; /* steps skipped for an overflowing f16 gradient */
} ls_train_progress;
typedef void (*ls_train_progress_fn)(void *user, const ls_train_progress *progress);

/* Seconds from the start of the process to the end of its first step, stage after stage. */
typedef struct ls_start_times {
    double launch;  /* until the run was opened: program, configuration, the ranks' meeting */
    double data;    /* opened; encoded when that was not kept from before */
    double plan;    /* of training and of evaluation */
    double memory;  /* threads, lowering */
    double weights; /* drawn, or loaded */
    double records; /* the run's folder */
    double first_step;
    int64_t prepared_bytes; /* text encoded or images unpacked now; 0: kept from before */
} ls_start_times;

typedef struct ls_train_result {
    int64_t steps; /* done in all, resumed ones included */
    double loss;   /* of the last step */
    double held_loss, held_bits_per_byte,
        held_accuracy; /* on the held-out part; NAN where it does not apply */
    double train_seconds, items_per_second, first_step_seconds;
    ls_start_times start;
    int ranks;
    int64_t parameters, planned_bytes, allocated_bytes, /* bytes of this rank */
        run_allocations; /* heap allocations made inside the run loop */
    int64_t n_skipped;
    int interrupted; /* 0, or the largest value of `interrupt` of any rank */
    int stopped_early;
    char weights_sha256[65];
    char checkpoint[1024];   /* folder of the last checkpoint */
    char profile[1024];      /* folder of the profile; "" without */
    char profile_text[4096]; /* the ops worth attention, a line each */
} ls_train_result;

typedef struct ls_train_options {
    ls_train_progress_fn progress;
    void *user;
    const volatile int *
        interrupt; /* set by a signal handler to the signal's number: finish the step, save, return */
    const char *resume; /* checkpoint folder to go on from, or NULL */
    ls_comm *comm;      /* the ranks of this run; NULL: this process alone */
    int profile; /* record a few steps (config profile.*), and write what they show; equal on every rank. Changes no result */
    const char *profile_dir; /* NULL or "": <out>/profile */
} ls_train_options;

LS_API ls_status ls_train(const ls_train_config *config, const struct ls_config *values,
                          const ls_train_options *options, ls_train_result *out);

/* Makes tokenizer and shards in the cache (a no-op when they are there). */
LS_API ls_status ls_train_prepare(const ls_train_config *config, ls_progress_fn progress,
                                  void *user);

typedef struct ls_eval_result {
    double loss;          /* mean, natural log */
    double bits_per_byte; /* NAN for images */
    double accuracy;      /* NAN for text */
    int64_t n_targets, n_bytes;
    double seconds;
} ls_eval_result;
/* Evaluates a checkpoint on a part of its data (LS_SPLIT_*). */
LS_API ls_status ls_eval_checkpoint(const ls_train_config *config, const char *checkpoint,
                                    ls_split part, ls_eval_result *out);

typedef struct ls_generate_options {
    const char *prompt;
    int64_t n_tokens;
    double temperature; /* 0 = always the most likely token */
    int64_t top_k;      /* 0 = all */
    double top_p;       /* 1 = all */
    uint64_t seed;
} ls_generate_options;
/* Called with the bytes of each new token. */
typedef ls_status (*ls_generate_fn)(void *user, const char *text, size_t bytes);
LS_API ls_status ls_generate(const ls_train_config *config, const char *checkpoint,
                             const ls_generate_options *options, ls_generate_fn fn, void *user);

/* The plans of a run: training, and the evaluation program that shares its weights (NULL when the run never evaluates). */
LS_API ls_status ls_train_plan(const ls_train_config *config, ls_plan **train_out,
                               ls_plan **eval_out);
/* Bytes each rank of these plans allocates. */
LS_API int64_t ls_train_planned_bytes(const ls_plan *train, const ls_plan *eval);

#endif
