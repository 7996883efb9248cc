/* T positions of a window; a window at s holds tokens s .. s + T - 1 and targets s + 1 .. s + T. */
#include "lockstep/loader.h"
#include "base/alloc.h"
#include "base/rng.h"
#include <string.h>

struct ls_loader {
    const ls_tokens *tokens;
    ls_loader_options options;
    ls_tokens_info info;
    int64_t n_epoch_windows;
    int64_t n_offsets; /* the first window of an epoch starts at 0 .. n_offsets - 1 */
    int64_t n_targets; /* of an evaluation */
    int32_t *lengths;  /* text bytes of each token; NULL = not counted */
};

/* --- making ----------------------------------------------------------------------------------------------------- */

static ls_status check_options(ls_loader_options *o) {
    if (o->lanes == 0) o->lanes = 1;
    if (o->window < 1 || o->window > INT32_MAX)
        return LS_FAIL(LS_ERR_INVALID, "a window of %lld tokens; needed is at least 1",
                       (long long)o->window);
    if (o->lanes < 1 || o->batch < 0 || o->batch % o->lanes != 0 || o->batch > INT32_MAX)
        return LS_FAIL(LS_ERR_INVALID,
                       "a batch of %lld sequences in %lld lanes; the batch must be a "
                       "multiple of the lanes",
                       (long long)o->batch, (long long)o->lanes);
    return LS_OK;
}

static ls_status check_tokenizer(const ls_tokens_info *info, const ls_tokenizer *tokenizer) {
    const char *fingerprint = ls_tokenizer_fingerprint(tokenizer);
    if (info->fingerprint[0] != '\0' && strcmp(info->fingerprint, fingerprint) != 0)
        return LS_FAIL(
            LS_ERR_INVALID,
            "the tokens were made with tokenizer %.16s..., this one is %.16s...; encode the "
            "text again with this one, or use that one",
            info->fingerprint, fingerprint);
    if (info->vocab_size > ls_tokenizer_vocab_size(tokenizer))
        return LS_FAIL(LS_ERR_INVALID, "tokens of a vocabulary of %d, tokenizer with %d",
                       info->vocab_size, ls_tokenizer_vocab_size(tokenizer));
    return LS_OK;
}

static ls_status count_lengths(ls_loader *loader) {
    const ls_tokenizer *tokenizer = loader->options.tokenizer;
    if (tokenizer == NULL) return LS_OK;
    LS_TRY(check_tokenizer(&loader->info, tokenizer));
    loader->lengths = ls_alloc((size_t)loader->info.vocab_size * sizeof *loader->lengths);
    if (loader->lengths == NULL) return LS_ERR_NO_MEMORY;
    for (int32_t id = 0; id < loader->info.vocab_size; id++) {
        size_t bytes = 0;
        (void)ls_tokenizer_token(tokenizer, id, &bytes);
        loader->lengths[id] = ls_tokenizer_is_special(tokenizer, id) ? 0 : (int32_t)bytes;
    }
    return LS_OK;
}

/* As many windows as fit behind the largest offset, so that every epoch has the same number of them. */
static ls_status count_windows(ls_loader *loader) {
    const int64_t n_targets = loader->info.n_tokens - 1, window = loader->options.window;
    if (n_targets < window)
        return LS_FAIL(
            LS_ERR_DATA,
            "the text has %lld tokens, a window of %lld needs at least %lld; give more text "
            "or make the window smaller",
            (long long)loader->info.n_tokens, (long long)window, (long long)window + 1);
    const int64_t n = (n_targets - (window - 1)) / window;
    loader->n_epoch_windows = n > 0 ? n : 1;
    const int64_t slack = n_targets - loader->n_epoch_windows * window;
    loader->n_offsets = (slack < window - 1 ? slack : window - 1) + 1;
    return LS_OK;
}

static ls_status init_loader(ls_loader *loader) {
    LS_TRY(check_options(&loader->options));
    if (loader->options.batch > 0) LS_TRY(count_windows(loader));
    /* with an end-of-text token to begin with, the first token is a target too */
    loader->n_targets = loader->info.n_tokens - (loader->info.eot < 0);
    if (loader->n_targets == 0)
        return LS_FAIL(LS_ERR_DATA, "the text is a single token: nothing to predict");
    return count_lengths(loader);
}

ls_status ls_loader_create(const ls_tokens *tokens, const ls_loader_options *options,
                           ls_loader **out) {
    ls_loader *loader = ls_alloc(sizeof *loader);
    if (loader == NULL) return LS_ERR_NO_MEMORY;
    loader->tokens = tokens;
    loader->options = *options;
    loader->info = ls_tokens_get_info(tokens);
    const ls_status status = init_loader(loader);
    if (status != LS_OK) {
        ls_loader_destroy(loader);
        return status;
    }
    *out = loader;
    return LS_OK;
}

void ls_loader_destroy(ls_loader *loader) {
    if (loader == NULL) return;
    ls_free(loader->lengths);
    ls_free(loader);
}

int64_t ls_loader_epoch_windows(const ls_loader *loader) {
    return loader->n_epoch_windows;
}

/* --- filling rows ----------------------------------------------------------------------------------------------- */

static void clear_row(int32_t *tokens, int32_t *targets, int64_t n) {
    for (int64_t t = 0; t < n; t++) {
        tokens[t] = 0;
        targets[t] = LS_TARGET_IGNORE;
    }
}

/* A target that begins a document follows from nothing before it. */
static void ignore_document_starts(const ls_loader *loader, int64_t start, int32_t *targets) {
    int64_t i = ls_tokens_next_document(loader->tokens, start + 1);
    for (;; i++) {
        const int64_t first = ls_tokens_document(loader->tokens, i);
        if (i >= loader->info.n_documents || first > start + loader->options.window) return;
        targets[first - start - 1] = LS_TARGET_IGNORE;
    }
}

static void count_row(const ls_loader *loader, const int32_t *targets, ls_batch *batch) {
    int64_t n = 0, bytes = 0;
    for (int64_t t = 0; t < loader->options.window; t++) {
        if (targets[t] < 0) continue;
        n++;
        if (loader->lengths != NULL) bytes += loader->lengths[targets[t]];
    }
    batch->n_targets += n;
    batch->n_filled += n > 0;
    if (loader->lengths != NULL) batch->target_bytes += bytes;
}

static void begin_batch(const ls_loader *loader, ls_batch *batch) {
    batch->n_targets = 0;
    batch->n_filled = 0;
    batch->target_bytes = loader->lengths != NULL ? 0 : -1;
}

/* --- training order --------------------------------------------------------------------------------------------- */

static int64_t find_window(const ls_loader *loader, int64_t sample) {
    const uint64_t epoch = (uint64_t)(sample / loader->n_epoch_windows);
    const uint64_t index = (uint64_t)(sample % loader->n_epoch_windows);
    const ls_rng_key order = {loader->options.seed, epoch, ls_rng_stream("data.order")};
    const ls_rng_key offset = {loader->options.seed, epoch, ls_rng_stream("data.offset")};
    const uint64_t first = ls_rng_below(offset, 0, (uint64_t)loader->n_offsets);
    const uint64_t n = (uint64_t)loader->n_epoch_windows;
    return (int64_t)(first + ls_rng_permute(order, index, n) * (uint64_t)loader->options.window);
}

static ls_status fill_sample(const ls_loader *loader, int64_t sample, int32_t *tokens,
                             int32_t *targets) {
    const int64_t start = find_window(loader, sample), window = loader->options.window;
    LS_TRY(ls_tokens_read(loader->tokens, start, window, tokens));
    memcpy(targets, tokens + 1, (size_t)(window - 1) * sizeof *targets);
    LS_TRY(ls_tokens_read(loader->tokens, start + window, 1, targets + window - 1));
    if (loader->options.ignore_across_documents) ignore_document_starts(loader, start, targets);
    return LS_OK;
}

ls_status ls_loader_next(const ls_loader *loader, int64_t step, int64_t lane, ls_batch *batch) {
    const ls_loader_options *o = &loader->options;
    const int64_t n_rows = o->batch / o->lanes;
    if (o->batch == 0)
        return LS_FAIL(LS_ERR_INVALID, "this loader is for evaluation only: its batch is 0");
    if (step < 0 || step > INT64_MAX / o->batch - 1 || lane < 0 || lane >= o->lanes)
        return LS_FAIL(LS_ERR_INVALID,
                       "batch of step %lld, lane %lld asked for; there are %lld lanes",
                       (long long)step, (long long)lane, (long long)o->lanes);
    if (batch->n_sequences != n_rows)
        return LS_FAIL(LS_ERR_INVALID, "%lld sequences asked for; a lane has %lld",
                       (long long)batch->n_sequences, (long long)n_rows);
    begin_batch(loader, batch);
    for (int64_t b = 0; b < n_rows; b++) {
        int32_t *targets = batch->targets + b * o->window;
        LS_TRY(fill_sample(loader, step * o->batch + lane * n_rows + b,
                           batch->tokens + b * o->window, targets));
        count_row(loader, targets, batch);
    }
    return LS_OK;
}

/* --- evaluation order ------------------------------------------------------------------------------------------- */

int64_t ls_loader_evaluation_targets(const ls_loader *loader) {
    return loader->n_targets;
}

int64_t ls_loader_evaluation_windows(const ls_loader *loader) {
    return (loader->n_targets + loader->options.window - 1) / loader->options.window;
}

/* Targets [start, start + count) of the evaluation; target i is token i (with an end-of-text token before token 0) or token i + 1. */
static ls_status fill_window(const ls_loader *loader, int64_t start, int64_t count, int32_t *tokens,
                             int32_t *targets) {
    const int has_eot = loader->info.eot >= 0;
    const int64_t first = start + !has_eot;
    LS_TRY(ls_tokens_read(loader->tokens, first, count, targets));
    memcpy(tokens + 1, targets, (size_t)(count - 1) * sizeof *tokens);
    if (first > 0) return ls_tokens_read(loader->tokens, first - 1, 1, tokens);
    tokens[0] = loader->info.eot;
    return LS_OK;
}

ls_status ls_loader_evaluation(const ls_loader *loader, int64_t first, ls_batch *batch) {
    const int64_t window = loader->options.window;
    const int64_t n_windows = ls_loader_evaluation_windows(loader);
    if (first < 0 || batch->n_sequences < 1)
        return LS_FAIL(LS_ERR_INVALID, "evaluation windows %lld and %lld on asked for",
                       (long long)first, (long long)batch->n_sequences);
    begin_batch(loader, batch);
    for (int64_t b = 0; b < batch->n_sequences; b++) {
        int32_t *tokens = batch->tokens + b * window, *targets = batch->targets + b * window;
        clear_row(tokens, targets, window);
        if (first >= n_windows - b) continue;
        const int64_t start = (first + b) * window, rest = loader->n_targets - start;
        LS_TRY(fill_window(loader, start, rest < window ? rest : window, tokens, targets));
        count_row(loader, targets, batch);
    }
    return LS_OK;
}
