#include "train/source.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"

struct ls_source {
    int images;
    int64_t batch, lanes, window;
    /* text */
    ls_prepared text;
    ls_loader *loader, *eval_loader;
    /* images */
    ls_prepared_images prepared;
    ls_images *train_images, *eval_images; /* train: prepared's */
    ls_images_options image_options;
    float *pixels;
    /* the rows at hand: one lane of one step, or one evaluation load */
    int32_t *tokens, *targets;
    int64_t held_step, held_lane, rows;
    /* the evaluation buffers */
    int64_t eval_rows;
    int32_t *eval_tokens, *eval_targets;
    float *eval_pixels;
    ls_split eval_part;
    const char *image_path;
};

static ls_status open_text(ls_source *s, const ls_train_config *c, ls_progress_fn progress,
                           void *user) {
    LS_TRY(ls_prepare_text(c, progress, user, &s->text));
    const ls_loader_options options = {.seed = (uint64_t)c->seed,
                                       .batch = c->batch,
                                       .lanes = c->lanes,
                                       .window = c->window,
                                       .ignore_across_documents = c->data.ignore_across_documents,
                                       .tokenizer = s->text.tokenizer};
    LS_TRY(ls_loader_create(s->text.parts[LS_SPLIT_TRAIN], &options, &s->loader));
    const size_t n = (size_t)(s->rows * c->window);
    s->tokens = ls_alloc(n * sizeof *s->tokens);
    s->targets = ls_alloc(n * sizeof *s->targets);
    return s->tokens && s->targets ? LS_OK : LS_ERR_NO_MEMORY;
}

static ls_status open_images(ls_source *s, const ls_train_config *c) {
    s->image_path = c->data.path;
    LS_TRY(ls_prepare_images(c, &s->prepared));
    s->train_images = s->prepared.train;
    s->image_options = (ls_images_options){.seed = (uint64_t)c->seed,
                                           .batch = c->batch,
                                           .lanes = c->lanes,
                                           .mean = s->prepared.mean,
                                           .std = s->prepared.std,
                                           .max_shift = (int)c->data.max_shift,
                                           .flip = c->data.flip};
    const ls_images_info info = ls_images_get_info(s->train_images);
    s->pixels = ls_alloc((size_t)(s->rows * info.height * info.width) * sizeof(float));
    s->targets = ls_alloc((size_t)s->rows * sizeof *s->targets);
    return s->pixels && s->targets ? LS_OK : LS_ERR_NO_MEMORY;
}

ls_status ls_source_open(const ls_train_config *c, ls_progress_fn progress, void *user,
                         ls_source **out) {
    ls_source *s = ls_alloc(sizeof *s);
    if (!s) return LS_ERR_NO_MEMORY;
    s->images = !ls_model_reads_tokens(c->model.kind);
    s->batch = c->batch;
    s->lanes = c->lanes;
    s->rows = c->batch / c->lanes;
    s->window = c->window;
    s->held_step = s->held_lane = -1;
    const ls_status status = s->images ? open_images(s, c) : open_text(s, c, progress, user);
    if (status != LS_OK) {
        ls_source_close(s);
        return status;
    }
    *out = s;
    return LS_OK;
}

int64_t ls_source_prepared_bytes(const ls_source *s) {
    return s->text.encoded_bytes + s->prepared.unpacked_bytes;
}

uint64_t ls_source_hash(const ls_source *s) {
    return s->images ? s->prepared.hash : ls_tokens_get_info(s->text.parts[LS_SPLIT_TRAIN]).hash;
}

void ls_source_close(ls_source *s) {
    if (!s) return;
    ls_loader_destroy(s->loader);
    ls_loader_destroy(s->eval_loader);
    ls_prepared_close(&s->text);
    ls_prepared_images_close(&s->prepared);
    ls_images_close(s->eval_images);
    ls_free(s->pixels);
    ls_free(s->tokens);
    ls_free(s->targets);
    ls_free(s->eval_pixels);
    ls_free(s->eval_tokens);
    ls_free(s->eval_targets);
    ls_free(s);
}

int ls_source_is_images(const ls_source *s) {
    return s->images;
}

const ls_tokenizer *ls_source_tokenizer(const ls_source *s) {
    return s->text.tokenizer;
}

ls_status ls_source_fit_model(const ls_source *s, ls_model_options *model) {
    if (s->images) {
        const ls_images_info info = ls_images_get_info(s->train_images);
        if (info.height != model->image || info.width != model->image || model->channels != 1)
            return LS_FAIL(
                LS_ERR_CONFIG,
                "the images of '%s' are %lld x %lld with 1 channel, but model.image = %lld and "
                "model.channels = %lld",
                s->image_path, (long long)info.height, (long long)info.width,
                (long long)model->image, (long long)model->channels);
        if (model->classes >= info.n_classes) return LS_OK;
        return LS_FAIL(LS_ERR_CONFIG, "model.classes = %lld, but the labels of '%s' go up to %d",
                       (long long)model->classes, s->image_path, info.n_classes - 1);
    }
    const int64_t vocab = ls_tokenizer_vocab_size(s->text.tokenizer);
    if (model->vocab == 0) model->vocab = vocab;
    if (model->vocab >= vocab) return LS_OK;
    return LS_FAIL(
        LS_ERR_CONFIG,
        "model.vocab = %lld, but the tokenizer has %lld tokens; set model.vocab: 0 to follow it",
        (long long)model->vocab, (long long)vocab);
}

double ls_source_static_count(const ls_source *s, const ls_train_config *c) {
    return (double)c->batch * (s->images ? 1.0 : (double)c->window);
}

/* Rows of a lane are made once and handed out by input name. */
static ls_status load_lane(ls_source *s, int64_t step, int64_t lane) {
    if (s->held_step == step && s->held_lane == lane) return LS_OK;
    s->held_step = -1;
    if (s->images) {
        LS_TRY(
            ls_images_next(s->train_images, &s->image_options, step, lane, s->pixels, s->targets));
    } else {
        ls_batch batch = {.n_sequences = s->rows, .tokens = s->tokens, .targets = s->targets};
        LS_TRY(ls_loader_next(s->loader, step, lane, &batch));
    }
    s->held_step = step;
    s->held_lane = lane;
    return LS_OK;
}

static ls_status copy_input(const char *name, const void *tokens, const void *targets,
                            const void *pixels, ls_tensor *tensor) {
    const void *from = NULL;
    if (strcmp(name, "tokens") == 0) from = tokens;
    if (strcmp(name, "targets") == 0 || strcmp(name, "labels") == 0) from = targets;
    if (strcmp(name, "images") == 0) from = pixels;
    if (!from)
        return LS_FAIL(LS_ERR_INTERNAL, "the data has no input '%s' that the model asks for", name);
    memcpy(tensor->data, from, ls_tensor_bytes(tensor));
    return LS_OK;
}

ls_status ls_source_feed(ls_source *s, int64_t step, const char *name, int64_t lane,
                         ls_tensor *tensor) {
    LS_TRY(load_lane(s, step, lane));
    return copy_input(name, s->tokens, s->targets, s->pixels, tensor);
}

static ls_status begin_text(ls_source *s, ls_split part, int64_t *n_windows_out) {
    const ls_tokens *tokens = s->text.parts[part];
    if (!tokens)
        return LS_FAIL(LS_ERR_CONFIG,
                       "this run has no %s part: set data.split: true, or name a file for it with "
                       "data.%s_path",
                       part == LS_SPLIT_STOP ? "early-stopping" : "held-out",
                       part == LS_SPLIT_STOP ? "stop" : "held");
    /* batch 0: evaluation only, so the part may be shorter than a window */
    const ls_loader_options options = {.window = s->window, .tokenizer = s->text.tokenizer};
    ls_loader_destroy(s->eval_loader);
    s->eval_loader = NULL;
    LS_TRY(ls_loader_create(tokens, &options, &s->eval_loader));
    *n_windows_out = ls_loader_evaluation_windows(s->eval_loader);
    return LS_OK;
}

static ls_status begin_images(ls_source *s, ls_split part, int64_t *n_windows_out) {
    if (part != LS_SPLIT_HELD)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "image data is evaluated on its test images only: ask for the part 'held'");
    if (!s->eval_images)
        LS_TRY(ls_images_open(s->prepared.folder, LS_IMAGES_TEST, &s->eval_images));
    *n_windows_out = ls_images_get_info(s->eval_images).n_images;
    return LS_OK;
}

static ls_status make_eval_buffers(ls_source *s, int64_t rows) {
    if (s->eval_rows == rows) return LS_OK;
    ls_free(s->eval_tokens);
    ls_free(s->eval_targets);
    ls_free(s->eval_pixels);
    s->eval_tokens = s->eval_targets = NULL;
    s->eval_pixels = NULL;
    s->eval_rows = 0;
    const size_t n = (size_t)(rows * (s->images ? 1 : s->window));
    s->eval_targets = ls_alloc(n * sizeof(int32_t));
    if (s->images) {
        const ls_images_info info = ls_images_get_info(s->train_images);
        s->eval_pixels = ls_alloc(n * (size_t)(info.height * info.width) * sizeof(float));
    } else {
        s->eval_tokens = ls_alloc(n * sizeof(int32_t));
    }
    if (!s->eval_targets || !(s->images ? (void *)s->eval_pixels : (void *)s->eval_tokens))
        return LS_ERR_NO_MEMORY;
    s->eval_rows = rows;
    return LS_OK;
}

ls_status ls_source_eval_begin(ls_source *s, ls_split part, int64_t rows, int64_t *n_windows_out) {
    LS_TRY(make_eval_buffers(s, rows));
    s->eval_part = part;
    return s->images ? begin_images(s, part, n_windows_out) : begin_text(s, part, n_windows_out);
}

ls_status ls_source_eval_load(ls_source *s, int64_t first, int64_t *n_targets_out,
                              int64_t *n_bytes_out) {
    if (s->images) {
        LS_TRY(ls_images_evaluation(s->eval_images, &s->image_options, first, s->eval_rows,
                                    s->eval_pixels, s->eval_targets));
        *n_targets_out = 0;
        for (int64_t i = 0; i < s->eval_rows; i++) *n_targets_out += s->eval_targets[i] >= 0;
        *n_bytes_out = 0;
        return LS_OK;
    }
    ls_batch batch = {
        .n_sequences = s->eval_rows, .tokens = s->eval_tokens, .targets = s->eval_targets};
    LS_TRY(ls_loader_evaluation(s->eval_loader, first, &batch));
    *n_targets_out = batch.n_targets;
    *n_bytes_out = batch.target_bytes;
    return LS_OK;
}

ls_status ls_source_eval_feed(ls_source *s, const char *name, ls_tensor *tensor) {
    return copy_input(name, s->eval_tokens, s->eval_targets, s->eval_pixels, tensor);
}
