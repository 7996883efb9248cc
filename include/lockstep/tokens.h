/* Token sequences: documents encoded end to end, in memory or in a memory-mapped token shard (docs/formats.md).
 *
 * A shard is checked when opened (header, sizes, hash of header, tables and footer, document table, largest token id)
 * without reading its tokens; ls_tokens_verify reads everything and finds any changed byte. Written atomically.
 * Thread-safety: read-only after creation; may be used from several threads. Local. */
#ifndef LOCKSTEP_TOKENS_H
#define LOCKSTEP_TOKENS_H
#include "lockstep/dataset.h"
#include "lockstep/status.h"
#include "lockstep/tokenizer.h"
#include <stddef.h>
#include <stdint.h>

typedef struct ls_tokens ls_tokens;

typedef struct ls_tokens_info {
    int64_t n_tokens;
    int64_t n_documents;
    int64_t n_text_bytes; /* bytes of text the tokens stand for (special tokens count 0) */
    int32_t vocab_size;   /* every id is below it */
    int32_t max_token;    /* largest id stored */
    int32_t eot;          /* written after each complete document; -1 = none */
    int32_t token_bytes;  /* of the stored ids: 2 or 4 */
    char fingerprint[65]; /* of the tokenizer; "" when not known */
    uint64_t hash;        /* of a shard's whole content (XXH3); 0 for tokens in memory */
} ls_tokens_info;

LS_API ls_status ls_tokens_open(const char *path, ls_tokens **out); /* maps the shard */
LS_API ls_status ls_tokens_parse(const void *data, size_t bytes, const char *what,
                                 ls_tokens **out); /* borrows data, 8-byte aligned */
LS_API void ls_tokens_close(ls_tokens *tokens);
LS_API ls_tokens_info ls_tokens_get_info(const ls_tokens *tokens);
/* Ids [first, first + count) widened to out. LS_ERR_DATA names the position of an id that is not below vocab_size. */
LS_API ls_status ls_tokens_read(const ls_tokens *tokens, int64_t first, int64_t count,
                                int32_t *out);
/* First token of document i; i == n_documents gives n_tokens. */
LS_API int64_t ls_tokens_document(const ls_tokens *tokens, int64_t i);
/* Index of the first document that starts at or after `position` (n_documents when none). */
LS_API int64_t ls_tokens_next_document(const ls_tokens *tokens, int64_t position);
/* Reads every byte: block hashes, then every id against the stored maximum. Only for shards (LS_ERR_INVALID otherwise). */
LS_API ls_status ls_tokens_verify(const ls_tokens *tokens);

typedef struct ls_tokens_options {
    int append_eot; /* after each complete document; the tokenizer must have the token */
    ls_progress_fn progress;
    void *progress_user;
} ls_tokens_options;
/* Encodes a dataset into memory, or into a shard at `path` (constant memory but for the document table). options may be
 * NULL. */
LS_API ls_status ls_tokens_encode(ls_dataset *dataset, const ls_tokenizer *tokenizer,
                                  const ls_tokens_options *options, ls_tokens **out);
LS_API ls_status ls_tokens_encode_file(ls_dataset *dataset, const ls_tokenizer *tokenizer,
                                       const ls_tokens_options *options, const char *path,
                                       ls_tokens_info *info_out);

/* Low level: ids in, documents ended one by one. path NULL keeps them in memory (finish with out), otherwise a shard
 * (out may be NULL). info gives vocab_size, eot, fingerprint; the rest of it is computed. */
typedef struct ls_tokens_writer ls_tokens_writer;
LS_API ls_status ls_tokens_writer_begin(const char *path, const ls_tokens_info *info,
                                        ls_tokens_writer **out);
LS_API ls_status ls_tokens_writer_append(ls_tokens_writer *writer, const int32_t *ids,
                                         int64_t count);
LS_API ls_status ls_tokens_writer_end_document(ls_tokens_writer *writer, int64_t n_text_bytes);
/* Frees the writer, also on failure. No token at all is LS_ERR_DATA. */
LS_API ls_status ls_tokens_writer_finish(ls_tokens_writer *writer, ls_tokens_info *info_out,
                                         ls_tokens **out);
LS_API void ls_tokens_writer_abort(ls_tokens_writer *writer); /* frees; NULL is fine */

#endif
