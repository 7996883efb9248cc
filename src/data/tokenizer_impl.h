/* Inside of a tokenizer: shared by the files of the data room. Made in three steps: begin, fill tokens/merges/rules, seal.
 * After sealing nothing changes any more. */
#ifndef LS_DATA_TOKENIZER_IMPL_H
#define LS_DATA_TOKENIZER_IMPL_H
#include "base/alloc.h"
#include "data/pretokenize.h"
#include "lockstep/tokenizer.h"

enum {
    LS_TOKEN_PRESENT = 1,
    LS_TOKEN_ADDED = 2,   /* found as text before cutting, never merged into */
    LS_TOKEN_SPECIAL = 4, /* stands for no text */
    LS_MAX_RULES = 8,
    LS_MAX_TOKENS = 1 << 24
};

typedef struct ls_token {
    const unsigned char *bytes;
    uint32_t n_bytes;
    uint32_t flags;
} ls_token;

typedef struct ls_merge {
    int32_t left, right, result; /* rank = place in the list */
} ls_merge;

/* (left, right) -> rank; open addressing, key UINT64_MAX = free. */
typedef struct ls_pair_slot {
    uint64_t key;
    int32_t rank;
} ls_pair_slot;

struct ls_tokenizer {
    ls_arena *arena; /* token bytes */
    int32_t n_tokens;
    ls_token *tokens;
    int64_t n_merges, merge_capacity;
    ls_merge *merges;
    int n_rules;
    ls_split_rule *rules[LS_MAX_RULES];
    /* How tokenizer.json wrote the rules: the last one may be GPT-2's, meant by ByteLevel's use_regex. */
    int gpt2_rule;     /* 1: rules[n_rules - 1] is ByteLevel's */
    int ignore_merges; /* a word that is a token is taken whole, whatever the merges say */

    /* made by sealing */
    int32_t byte_ids[256]; /* -1: no token */
    uint64_t pair_mask;
    ls_pair_slot *pairs;
    uint32_t text_mask;
    int32_t *text_ids; /* bytes -> id of tokens that are not added; open addressing, -1 = free */
    int32_t n_added;
    int32_t *added; /* ids */
    unsigned char added_first[256];
    int32_t eot;
    char fingerprint[65];
};

ls_status ls_tokenizer_begin(int32_t n_tokens, ls_tokenizer **out);
ls_status ls_tokenizer_set_token(ls_tokenizer *tokenizer, int32_t id, const void *bytes,
                                 size_t n_bytes, uint32_t flags);
ls_status ls_tokenizer_add_merge(ls_tokenizer *tokenizer, ls_merge merge);
ls_status ls_tokenizer_add_rule(ls_tokenizer *tokenizer, const char *pattern);
ls_status ls_tokenizer_add_gpt2_rule(ls_tokenizer *tokenizer);
ls_status ls_tokenizer_seal(ls_tokenizer *tokenizer);

/* Rank of the merge of a pair, or -1. */
int32_t ls_tokenizer_rank(const ls_tokenizer *tokenizer, int32_t left, int32_t right);
/* Token that is not added and has these bytes, or -1. */
int32_t ls_tokenizer_find_text(const ls_tokenizer *tokenizer, const void *bytes, size_t n_bytes);

#endif
