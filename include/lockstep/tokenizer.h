/* Tokenizers: byte-level BPE, and plain bytes (the same without merges).
 *
 * Every byte string can be encoded and decode(encode(x)) == x, whatever the bytes (when all 256 bytes have a token,
 * which holds for every tokenizer made here). Text is cut into words by a pattern (GPT-2's unless the file says
 * otherwise), and each word is merged by rank, lowest first, leftmost first.
 * File format: Hugging Face tokenizer.json (https://huggingface.co/docs/tokenizers; the layout is that of the serde types
 * of https://github.com/huggingface/tokenizers, tokenizers/src/models/bpe/serialization.rs and
 * tokenizers/src/pre_tokenizers/{byte_level,split,digits}.rs). Ids are those of encode(text, add_special_tokens=False).
 * The byte alphabet and the pattern are those of GPT-2 (https://github.com/openai/gpt-2, src/encoder.py).
 * Thread-safety: a tokenizer is immutable; all functions may be called from several threads. Local. */
#ifndef LOCKSTEP_TOKENIZER_H
#define LOCKSTEP_TOKENIZER_H
#include "lockstep/dataset.h"
#include "lockstep/status.h"
#include <stddef.h>
#include <stdint.h>

typedef struct ls_tokenizer ls_tokenizer;

#define LS_EOT_TEXT "<|endoftext|>"

/* Token ids 0..255 are the bytes; with_eot adds "<|endoftext|>" as 256. */
LS_API ls_status ls_tokenizer_create_bytes(int with_eot, ls_tokenizer **out);

typedef struct ls_tokenizer_train_options {
    int32_t
        vocab_size; /* all tokens: 256 bytes, merges, "<|endoftext|>" (the last id): at least 257 */
    int64_t min_count; /* pairs rarer than this are not merged; 0 = 2 */
    ls_progress_fn progress;
    void *progress_user;
} ls_tokenizer_train_options;
/* Trains byte-level BPE. Deterministic: the most frequent pair of neighbours is merged next; of equally frequent pairs the
 * one with the smaller left id, then the smaller right id (bytes have the ids 0..255 in GPT-2's order, merged tokens
 * follow in order of birth). Words over 1,024 bytes are counted in pieces of that length. Too little text for
 * vocab_size tokens is LS_ERR_DATA, naming how many there could be. */
LS_API ls_status ls_tokenizer_train(ls_dataset *dataset, const ls_tokenizer_train_options *options,
                                    ls_tokenizer **out);

LS_API ls_status ls_tokenizer_open(const char *path, ls_tokenizer **out);
LS_API ls_status ls_tokenizer_parse(const char *text, size_t bytes, const char *what,
                                    ls_tokenizer **out);
/* tokenizer.json; atomically. The same tokenizer always gives the same bytes. */
LS_API ls_status ls_tokenizer_save(const ls_tokenizer *tokenizer, const char *path);
/* The same bytes as heap text; free with ls_free. */
LS_API ls_status ls_tokenizer_to_text(const ls_tokenizer *tokenizer, char **text_out,
                                      size_t *bytes_out);
LS_API void ls_tokenizer_destroy(ls_tokenizer *tokenizer);

LS_API int32_t ls_tokenizer_vocab_size(const ls_tokenizer *tokenizer); /* highest id + 1 */
LS_API int64_t ls_tokenizer_merge_count(const ls_tokenizer *tokenizer);
LS_API int32_t ls_tokenizer_eot(const ls_tokenizer *tokenizer); /* -1 when there is none */
/* SHA-256 (hex) over tokens, merges, special tokens and patterns: two tokenizers with the same fingerprint give the same
 * ids. */
LS_API const char *ls_tokenizer_fingerprint(const ls_tokenizer *tokenizer);
/* The bytes a token stands for, or NULL (ids without a token, out of range). Lives as long as the tokenizer. */
LS_API const unsigned char *ls_tokenizer_token(const ls_tokenizer *tokenizer, int32_t id,
                                               size_t *bytes_out);
/* 1 for added tokens marked special: they stand for no text. */
LS_API int ls_tokenizer_is_special(const ls_tokenizer *tokenizer, int32_t id);
/* The id of a token given as plain text ("<|endoftext|>"), or -1. */
LS_API int32_t ls_tokenizer_find(const ls_tokenizer *tokenizer, const void *text, size_t bytes);

/* A growable list of ids. */
typedef struct ls_ids {
    int32_t *data;
    int64_t count, capacity;
} ls_ids;
LS_API ls_status ls_ids_append(ls_ids *ids, const int32_t *data, int64_t count);
LS_API void ls_ids_deinit(ls_ids *ids);

/* What to do with the text of added tokens ("<|endoftext|>") inside the text. */
typedef enum ls_encode_special {
    LS_ENCODE_SPECIAL_AS_TEXT, /* ordinary text: for documents and users' input */
    LS_ENCODE_SPECIAL_PARSE    /* becomes the token: for prompts and templates of one's own */
} ls_encode_special;
/* Appends the ids of text (any bytes). Time is O(bytes log bytes) for any input. On failure ids is as before. */
LS_API ls_status ls_tokenizer_encode(const ls_tokenizer *tokenizer, const void *text, size_t bytes,
                                     ls_encode_special special, ls_ids *ids);
/* The bytes of ids, ls_alloc'ed with a NUL after the end. A token may be part of a character: decode a stream token by
 * token with ls_tokenizer_token. Special tokens give their text when with_special, else nothing. An id without a
 * token is LS_ERR_DATA and names its position. */
LS_API ls_status ls_tokenizer_decode(const ls_tokenizer *tokenizer, const int32_t *ids,
                                     int64_t n_ids, int with_special, char **text_out,
                                     size_t *bytes_out);

/* Keeps scratch memory and the word cache between calls (many documents); one thread at a time. */
typedef struct ls_encoder ls_encoder;
LS_API ls_status ls_encoder_create(const ls_tokenizer *tokenizer, ls_encoder **out);
LS_API void ls_encoder_destroy(ls_encoder *encoder);
LS_API ls_status ls_encoder_encode(ls_encoder *encoder, const void *text, size_t bytes,
                                   ls_encode_special special, ls_ids *ids);

#endif
