/* Byte-level BPE training (Sennrich et al. 2016, "Neural machine translation of rare words with subword units") over
 * distinct words. A pair knows its count and the words it may stand in, so a merge touches only those words; the
 * most frequent pair comes from a heap whose entries may be out of date and are checked when they surface. */
#include "base/clock.h"
#include "base/hash.h"
#include "data/byte_level.h"
#include "data/tokenizer_impl.h"
#include "data/word_count.h"
#include <string.h>

enum { MAX_WORD_BYTES = 1024, PROGRESS_EVERY = 256 };

typedef struct train_word {
    int64_t first; /* its symbols: ids[first .. first + n_symbols) */
    int32_t n_symbols;
    int64_t count;
} train_word;

typedef struct train_pair {
    int32_t left, right;
    int64_t count;
    int32_t *words; /* where it is, or was */
    int64_t n_words, capacity;
    int risen; /* listed in `risen` */
} train_pair;

typedef struct heap_entry {
    int64_t count; /* when it was pushed */
    int32_t pair;
} heap_entry;

typedef struct trainer {
    ls_tokenizer *tokenizer;
    int32_t n_tokens; /* so far */
    train_word *words;
    int64_t n_words;
    int32_t *ids;
    train_pair *pairs;
    int64_t n_pairs, pair_capacity;
    int32_t *slots; /* (left, right) -> pair; open addressing, -1 = free */
    int64_t n_slots;
    heap_entry *heap;
    int64_t n_heap, heap_capacity;
    int32_t *risen; /* pairs whose count grew in this merge */
    int64_t n_risen, risen_capacity;
    int32_t *text_slots; /* token bytes -> id; open addressing, -1 = free */
    int64_t n_text_slots;
} trainer;

/* --- pairs ------------------------------------------------------------------------------------------------------ */

static int64_t pair_slot(const trainer *t, int32_t left, int32_t right) {
    const uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    int64_t slot = (int64_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> 20 & (uint64_t)(t->n_slots - 1));
    for (; t->slots[slot] >= 0; slot = (slot + 1) & (t->n_slots - 1)) {
        const train_pair *pair = &t->pairs[t->slots[slot]];
        if (pair->left == left && pair->right == right) break;
    }
    return slot;
}

static ls_status grow_pairs(trainer *t) {
    if (2 * (t->n_pairs + 1) <= t->n_slots) return LS_OK;
    const int64_t n_slots = t->n_slots == 0 ? 4096 : 4 * t->n_slots;
    int32_t *slots = ls_alloc((size_t)n_slots * sizeof *slots);
    if (slots == NULL) return LS_ERR_NO_MEMORY;
    memset(slots, 0xFF, (size_t)n_slots * sizeof *slots);
    ls_free(t->slots);
    t->slots = slots;
    t->n_slots = n_slots;
    for (int64_t i = 0; i < t->n_pairs; i++)
        slots[pair_slot(t, t->pairs[i].left, t->pairs[i].right)] = (int32_t)i;
    return LS_OK;
}

static ls_status find_or_add_pair(trainer *t, int32_t left, int32_t right, int32_t *out) {
    LS_TRY(grow_pairs(t));
    const int64_t slot = pair_slot(t, left, right);
    if (t->slots[slot] < 0) {
        LS_TRY(ls_array_reserve((void **)&t->pairs, &t->pair_capacity, t->n_pairs + 1,
                                sizeof *t->pairs));
        t->pairs[t->n_pairs] = (train_pair){.left = left, .right = right};
        t->slots[slot] = (int32_t)t->n_pairs++;
    }
    *out = t->slots[slot];
    return LS_OK;
}

static ls_status raise_count(trainer *t, int32_t left, int32_t right, int32_t word) {
    int32_t index = 0;
    LS_TRY(find_or_add_pair(t, left, right, &index));
    train_pair *pair = &t->pairs[index];
    pair->count += t->words[word].count;
    if (!pair->risen) {
        LS_TRY(ls_array_reserve((void **)&t->risen, &t->risen_capacity, t->n_risen + 1,
                                sizeof *t->risen));
        t->risen[t->n_risen++] = index;
        pair->risen = 1;
    }
    if (pair->n_words > 0 && pair->words[pair->n_words - 1] == word) return LS_OK;
    LS_TRY(ls_array_reserve((void **)&pair->words, &pair->capacity, pair->n_words + 1,
                            sizeof *pair->words));
    pair->words[pair->n_words++] = word;
    return LS_OK;
}

static void lower_count(trainer *t, int32_t left, int32_t right, int32_t word) {
    const int32_t index = t->slots[pair_slot(t, left, right)];
    if (index >= 0) t->pairs[index].count -= t->words[word].count;
}

/* --- the heap: most frequent first, then smaller ids ------------------------------------------------------------- */

static int comes_before(const trainer *t, heap_entry a, heap_entry b) {
    if (a.count != b.count) return a.count > b.count;
    const train_pair *p = &t->pairs[a.pair], *q = &t->pairs[b.pair];
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static ls_status push(trainer *t, int32_t pair) {
    LS_TRY(ls_array_reserve((void **)&t->heap, &t->heap_capacity, t->n_heap + 1, sizeof *t->heap));
    const heap_entry entry = {t->pairs[pair].count, pair};
    int64_t i = t->n_heap++;
    for (; i > 0 && comes_before(t, entry, t->heap[(i - 1) / 2]); i = (i - 1) / 2)
        t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = entry;
    return LS_OK;
}

static heap_entry pop(trainer *t) {
    const heap_entry first = t->heap[0], moved = t->heap[--t->n_heap];
    int64_t i = 0;
    for (;;) {
        int64_t child = 2 * i + 1;
        if (child >= t->n_heap) break;
        if (child + 1 < t->n_heap && comes_before(t, t->heap[child + 1], t->heap[child])) child++;
        if (!comes_before(t, t->heap[child], moved)) break;
        t->heap[i] = t->heap[child];
        i = child;
    }
    t->heap[i] = moved;
    return first;
}

static ls_status push_risen(trainer *t) {
    for (int64_t i = 0; i < t->n_risen; i++) {
        t->pairs[t->risen[i]].risen = 0;
        if (t->pairs[t->risen[i]].count > 0) LS_TRY(push(t, t->risen[i]));
    }
    t->n_risen = 0;
    return LS_OK;
}

/* The pair to merge next, or -1. */
static ls_status pop_best(trainer *t, int64_t min_count, int32_t *pair_out) {
    *pair_out = -1;
    while (t->n_heap > 0) {
        const heap_entry entry = pop(t);
        const int64_t count = t->pairs[entry.pair].count;
        if (count < min_count) continue;
        if (count == entry.count) {
            *pair_out = entry.pair;
            return LS_OK;
        }
        LS_TRY(push(t, entry.pair));
    }
    return LS_OK;
}

/* --- tokens ----------------------------------------------------------------------------------------------------- */

static int64_t token_slot(const trainer *t, const unsigned char *bytes, size_t n_bytes) {
    int64_t slot = (int64_t)(ls_xxh3(bytes, n_bytes, 0) & (uint64_t)(t->n_text_slots - 1));
    for (; t->text_slots[slot] >= 0; slot = (slot + 1) & (t->n_text_slots - 1)) {
        const ls_token *token = &t->tokenizer->tokens[t->text_slots[slot]];
        if (token->n_bytes == n_bytes && memcmp(token->bytes, bytes, n_bytes) == 0) break;
    }
    return slot;
}

/* The token with these bytes: an old one (two pairs may spell the same token) or a new one. */
static ls_status find_or_add_token(trainer *t, int32_t left, int32_t right, int32_t *out) {
    const ls_token *a = &t->tokenizer->tokens[left], *b = &t->tokenizer->tokens[right];
    const size_t n_bytes = (size_t)a->n_bytes + b->n_bytes;
    unsigned char bytes[MAX_WORD_BYTES];
    if (n_bytes > sizeof bytes) return LS_FAIL(LS_ERR_INTERNAL, "token longer than any word");
    memcpy(bytes, a->bytes, a->n_bytes);
    memcpy(bytes + a->n_bytes, b->bytes, b->n_bytes);
    const int64_t slot = token_slot(t, bytes, n_bytes);
    if (t->text_slots[slot] < 0) {
        LS_TRY(ls_tokenizer_set_token(t->tokenizer, t->n_tokens, bytes, n_bytes, 0));
        t->text_slots[slot] = t->n_tokens++;
    }
    *out = t->text_slots[slot];
    return LS_OK;
}

static ls_status start_tokens(trainer *t, int32_t vocab_size) {
    LS_TRY(ls_tokenizer_begin(vocab_size, &t->tokenizer));
    t->n_text_slots = 1024;
    while (t->n_text_slots < 2 * (int64_t)vocab_size) t->n_text_slots *= 2;
    t->text_slots = ls_alloc((size_t)t->n_text_slots * sizeof *t->text_slots);
    if (t->text_slots == NULL) return LS_ERR_NO_MEMORY;
    memset(t->text_slots, 0xFF, (size_t)t->n_text_slots * sizeof *t->text_slots);
    for (int i = 0; i < 256; i++) {
        const unsigned char byte = (unsigned char)i;
        const int32_t id = ls_byte_gpt2_id(i);
        LS_TRY(ls_tokenizer_set_token(t->tokenizer, id, &byte, 1, 0));
        t->text_slots[token_slot(t, &byte, 1)] = id;
    }
    t->n_tokens = 256;
    return LS_OK;
}

/* --- merging ---------------------------------------------------------------------------------------------------- */

static ls_status start_words(trainer *t, const ls_word_counts *counts) {
    int64_t n_ids = 0;
    for (int64_t i = 0; i < counts->n_words; i++) n_ids += counts->words[i].n_bytes;
    t->n_words = counts->n_words;
    t->words = ls_alloc((size_t)t->n_words * sizeof *t->words);
    t->ids = ls_alloc((size_t)n_ids * sizeof *t->ids);
    if (t->words == NULL || t->ids == NULL) return LS_ERR_NO_MEMORY;
    int64_t first = 0;
    for (int64_t i = 0; i < t->n_words; i++) {
        const ls_counted_word *word = &counts->words[i];
        t->words[i] = (train_word){first, (int32_t)word->n_bytes, word->count};
        for (uint32_t j = 0; j < word->n_bytes; j++)
            t->ids[first + j] = ls_byte_gpt2_id(word->bytes[j]);
        for (uint32_t j = 0; j + 1 < word->n_bytes; j++)
            LS_TRY(raise_count(t, t->ids[first + j], t->ids[first + j + 1], (int32_t)i));
        first += word->n_bytes;
    }
    return push_risen(t);
}

/* Rewrites one word with left, right -> id, and the counts of the pairs beside each place. */
static ls_status merge_word(trainer *t, int32_t word, ls_merge merge) {
    int32_t *ids = t->ids + t->words[word].first;
    const int32_t n = t->words[word].n_symbols;
    int32_t k = 0;
    for (int32_t j = 0; j < n; k++) {
        if (j + 1 == n || ids[j] != merge.left || ids[j + 1] != merge.right) {
            ids[k] = ids[j++];
            continue;
        }
        if (k > 0) {
            lower_count(t, ids[k - 1], merge.left, word);
            LS_TRY(raise_count(t, ids[k - 1], merge.result, word));
        }
        if (j + 2 < n) {
            lower_count(t, merge.right, ids[j + 2], word);
            LS_TRY(raise_count(t, merge.result, ids[j + 2], word));
        }
        ids[k] = merge.result;
        j += 2;
    }
    t->words[word].n_symbols = k;
    return LS_OK;
}

static ls_status merge_pair(trainer *t, int32_t index) {
    ls_merge merge = {t->pairs[index].left, t->pairs[index].right, -1};
    LS_TRY(find_or_add_token(t, merge.left, merge.right, &merge.result));
    LS_TRY(ls_tokenizer_add_merge(t->tokenizer, merge));
    /* taken out of the pair: `pairs` may move while words are merged */
    int32_t *words = t->pairs[index].words;
    const int64_t n_words = t->pairs[index].n_words;
    t->pairs[index].words = NULL;
    t->pairs[index].n_words = t->pairs[index].capacity = 0;
    ls_status status = LS_OK;
    for (int64_t i = 0; i < n_words && status == LS_OK; i++)
        status = merge_word(t, words[i], merge);
    ls_free(words);
    t->pairs[index].count = 0;
    return status == LS_OK ? push_risen(t) : status;
}

static void report(const ls_tokenizer_train_options *options, int64_t done, double start) {
    if (options->progress == NULL) return;
    const double seconds = ls_clock_seconds() - start;
    options->progress(options->progress_user, "merges", done, options->vocab_size - 257,
                      seconds > 0 ? (double)done / seconds : 0);
}

static ls_status run_merges(trainer *t, const ls_tokenizer_train_options *options) {
    const double start = ls_clock_seconds();
    const int64_t min_count = options->min_count > 0 ? options->min_count : 2;
    while (t->n_tokens < options->vocab_size - 1) {
        int32_t pair = -1;
        LS_TRY(pop_best(t, min_count, &pair));
        if (pair < 0)
            return LS_FAIL(
                LS_ERR_DATA,
                "a vocabulary of %d tokens was asked for, but the text has no more than "
                "%d with pairs seen at least %lld times; ask for fewer, or give more text",
                options->vocab_size, t->n_tokens + 1, (long long)min_count);
        LS_TRY(merge_pair(t, pair));
        if (t->n_tokens % PROGRESS_EVERY == 0) report(options, t->n_tokens - 256, start);
    }
    report(options, t->n_tokens - 256, start);
    return LS_OK;
}

static ls_status train(trainer *t, ls_dataset *dataset, ls_word_counts *counts,
                       const ls_tokenizer_train_options *options) {
    LS_TRY(ls_word_counts_init(counts, dataset, MAX_WORD_BYTES));
    LS_TRY(start_tokens(t, options->vocab_size));
    LS_TRY(start_words(t, counts));
    LS_TRY(run_merges(t, options));
    LS_TRY(ls_tokenizer_set_token(t->tokenizer, options->vocab_size - 1, LS_EOT_TEXT,
                                  strlen(LS_EOT_TEXT), LS_TOKEN_ADDED | LS_TOKEN_SPECIAL));
    LS_TRY(ls_tokenizer_add_gpt2_rule(t->tokenizer));
    return ls_tokenizer_seal(t->tokenizer);
}

static void deinit_trainer(trainer *t) {
    for (int64_t i = 0; i < t->n_pairs; i++) ls_free(t->pairs[i].words);
    ls_free(t->pairs);
    ls_free(t->slots);
    ls_free(t->words);
    ls_free(t->ids);
    ls_free(t->heap);
    ls_free(t->risen);
    ls_free(t->text_slots);
}

ls_status ls_tokenizer_train(ls_dataset *dataset, const ls_tokenizer_train_options *options,
                             ls_tokenizer **out) {
    if (options->vocab_size < 257 || options->vocab_size > LS_MAX_TOKENS)
        return LS_FAIL(LS_ERR_INVALID,
                       "a vocabulary of %d tokens; needed is 257 (256 bytes and " LS_EOT_TEXT
                       ") to %d",
                       options->vocab_size, (int)LS_MAX_TOKENS);
    trainer t = {0};
    ls_word_counts counts = {0};
    const ls_status status = train(&t, dataset, &counts, options);
    ls_word_counts_deinit(&counts);
    deinit_trainer(&t);
    if (status != LS_OK) {
        ls_tokenizer_destroy(t.tokenizer);
        return status;
    }
    *out = t.tokenizer;
    return LS_OK;
}
