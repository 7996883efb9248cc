/* Loaders: which tokens make which batch. Shapes: B sequences of a lane, T positions.
 *
 * Training order is a pure function of (seed, step, lane): resuming needs one integer, and ranks need no talk.
 * The tokens are cut into windows of T inputs, a window's targets being the same tokens one further on. Sample
 * number g = step * batch + lane * (batch / lanes) + b is window permute(g mod n) of epoch g / n, where n is the
 * number of windows of an epoch; permute is a keyed pseudorandom permutation, new for each epoch, and so is the
 * offset of the first window (so windows do not start at the same places every epoch; fewer than 2T tokens per epoch
 * fall off the ends). Every target of the windows is seen once per epoch.
 * Evaluation order is sequential: windows side by side over all tokens, each token a target exactly once.
 * Thread-safety: immutable after creation; all functions may be called from several threads. Local. */
#ifndef LOCKSTEP_LOADER_H
#define LOCKSTEP_LOADER_H
#include "lockstep/status.h"
#include "lockstep/tokenizer.h"
#include "lockstep/tokens.h"
#include <stdint.h>

enum { LS_TARGET_IGNORE = -1 }; /* a position without a target */

typedef struct ls_loader ls_loader;

typedef struct ls_loader_options {
    uint64_t seed;
    /* Sequences of one step, over all lanes; a multiple of lanes. 0 = for evaluation only: then the text may be shorter
     * than a window. */
    int64_t batch;
    int64_t lanes;               /* 0 = 1 */
    int64_t window;              /* T */
    int ignore_across_documents; /* training: the first token of a document is no target */
    /* For target_bytes; NULL = not counted. Borrowed. A shard made with another tokenizer is LS_ERR_INVALID. */
    const ls_tokenizer *tokenizer;
} ls_loader_options;

/* Borrows tokens. */
LS_API ls_status ls_loader_create(const ls_tokens *tokens, const ls_loader_options *options,
                                  ls_loader **out);
LS_API void ls_loader_destroy(ls_loader *loader);

typedef struct ls_batch {
    int64_t n_sequences; /* in: rows wanted (ls_loader_next: must be batch / lanes) */
    int32_t *tokens;     /* in: room for n_sequences * T; filled */
    int32_t *targets;    /* in: the same; LS_TARGET_IGNORE where there is none */
    int64_t n_targets;   /* out: targets that are not ignored */
    int64_t n_filled;    /* out: rows that hold any target */
    int64_t
        target_bytes; /* out: bytes of text the counted targets stand for; -1 without a tokenizer */
} ls_batch;
/* The batch of one lane of one step. */
LS_API ls_status ls_loader_next(const ls_loader *loader, int64_t step, int64_t lane,
                                ls_batch *batch);
/* Windows of one training epoch. */
LS_API int64_t ls_loader_epoch_windows(const ls_loader *loader);

/* Evaluation: windows [first, first + n_sequences) in sequential order; rows past the end, and the end of the last window,
 * have token 0 and no target. The first token's input is the end-of-text token when the tokens have one; when they
 * have none it is not a target. So bits per byte = sum of -log2 p(target) / sum of target_bytes, with nothing left out
 * of either sum but that one token. */
LS_API ls_status ls_loader_evaluation(const ls_loader *loader, int64_t first, ls_batch *batch);
LS_API int64_t ls_loader_evaluation_windows(const ls_loader *loader);
LS_API int64_t ls_loader_evaluation_targets(const ls_loader *loader); /* targets of all of them */

#endif
