/* dataset -> tokens: encodes documents one after the other, end to end. */
#include "base/clock.h"
#include "lockstep/tokens.h"
#include <string.h>

/* Between two calls of the progress callback. */
#define PROGRESS_SECONDS 0.1

typedef struct encoding {
    ls_encoder *encoder;
    ls_tokens_writer *writer;
    ls_ids ids;  /* of one document */
    int32_t eot; /* -1: none is written */
    const ls_tokens_options *options;
    int64_t n_bytes;
    double start, last_report;
} encoding;

static void report(encoding *e, int is_last) {
    const double now = ls_clock_seconds();
    if (e->options->progress == NULL || (!is_last && now - e->last_report < PROGRESS_SECONDS))
        return;
    e->last_report = now;
    const double seconds = now - e->start;
    e->options->progress(e->options->progress_user, "bytes of text", e->n_bytes, 0,
                         seconds > 0 ? (double)e->n_bytes / seconds : 0);
}

static ls_status encode_document(void *user, const ls_document *document) {
    encoding *e = user;
    e->ids.count = 0;
    LS_TRY(ls_encoder_encode(e->encoder, document->text, document->bytes, LS_ENCODE_SPECIAL_AS_TEXT,
                             &e->ids));
    if (document->complete && e->eot >= 0) LS_TRY(ls_ids_append(&e->ids, &e->eot, 1));
    LS_TRY(ls_tokens_writer_append(e->writer, e->ids.data, e->ids.count));
    LS_TRY(ls_tokens_writer_end_document(e->writer, (int64_t)document->bytes));
    e->n_bytes += (int64_t)document->bytes;
    report(e, 0);
    return LS_OK;
}

static ls_status run(encoding *e, ls_dataset *dataset, const ls_tokenizer *tokenizer,
                     const char *path) {
    ls_tokens_info info = {.vocab_size = ls_tokenizer_vocab_size(tokenizer),
                           .eot = ls_tokenizer_eot(tokenizer)};
    memcpy(info.fingerprint, ls_tokenizer_fingerprint(tokenizer), sizeof info.fingerprint);
    e->eot = e->options->append_eot ? info.eot : -1;
    if (e->options->append_eot && info.eot < 0)
        return LS_FAIL(
            LS_ERR_INVALID,
            "an end-of-text token after each document was asked for, but the tokenizer has "
            "none; use one with " LS_EOT_TEXT ", or do without");
    e->start = ls_clock_seconds();
    LS_TRY(ls_encoder_create(tokenizer, &e->encoder));
    LS_TRY(ls_tokens_writer_begin(path, &info, &e->writer));
    LS_TRY(ls_dataset_each(dataset, encode_document, e));
    report(e, 1);
    return LS_OK;
}

static ls_status encode_dataset(ls_dataset *dataset, const ls_tokenizer *tokenizer,
                                const ls_tokens_options *options, const char *path,
                                ls_tokens_info *info_out, ls_tokens **out) {
    static const ls_tokens_options defaults;
    encoding e = {.options = options != NULL ? options : &defaults};
    ls_status status = run(&e, dataset, tokenizer, path);
    ls_encoder_destroy(e.encoder);
    ls_ids_deinit(&e.ids);
    if (status == LS_OK) return ls_tokens_writer_finish(e.writer, info_out, out);
    ls_tokens_writer_abort(e.writer);
    return status;
}

ls_status ls_tokens_encode(ls_dataset *dataset, const ls_tokenizer *tokenizer,
                           const ls_tokens_options *options, ls_tokens **out) {
    return encode_dataset(dataset, tokenizer, options, NULL, NULL, out);
}

ls_status ls_tokens_encode_file(ls_dataset *dataset, const ls_tokenizer *tokenizer,
                                const ls_tokens_options *options, const char *path,
                                ls_tokens_info *info_out) {
    return encode_dataset(dataset, tokenizer, options, path, info_out, NULL);
}
