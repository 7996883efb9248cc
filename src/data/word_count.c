#include "data/word_count.h"
#include "base/hash.h"
#include "data/pretokenize.h"
#include <string.h>

typedef struct counting {
    ls_word_counts *counts;
    ls_cutter *cutter;
    size_t max_bytes;
} counting;

static int64_t find_slot(const ls_word_counts *counts, const unsigned char *word, size_t bytes,
                         uint64_t hash) {
    int64_t slot = (int64_t)(hash & (uint64_t)(counts->n_slots - 1));
    for (; counts->slots[slot] >= 0; slot = (slot + 1) & (counts->n_slots - 1)) {
        const ls_counted_word *known = &counts->words[counts->slots[slot]];
        if (known->hash == hash && known->n_bytes == bytes &&
            memcmp(known->bytes, word, bytes) == 0)
            break;
    }
    return slot;
}

static ls_status grow(ls_word_counts *counts) {
    if (2 * (counts->n_words + 1) <= counts->n_slots) return LS_OK;
    const int64_t n_slots = counts->n_slots == 0 ? 1024 : 4 * counts->n_slots;
    int32_t *slots = ls_alloc((size_t)n_slots * sizeof *slots);
    if (slots == NULL) return LS_ERR_NO_MEMORY;
    memset(slots, 0xFF, (size_t)n_slots * sizeof *slots);
    ls_free(counts->slots);
    counts->slots = slots;
    counts->n_slots = n_slots;
    for (int64_t i = 0; i < counts->n_words; i++) {
        const ls_counted_word *word = &counts->words[i];
        slots[find_slot(counts, word->bytes, word->n_bytes, word->hash)] = (int32_t)i;
    }
    return LS_OK;
}

static ls_status add_word(ls_word_counts *counts, const unsigned char *word, size_t bytes,
                          uint64_t hash) {
    if (counts->n_words == INT32_MAX / 4)
        return LS_FAIL(LS_ERR_UNSUPPORTED, "the text has over %lld distinct words; train on a part",
                       (long long)counts->n_words);
    LS_TRY(ls_array_reserve((void **)&counts->words, &counts->capacity, counts->n_words + 1,
                            sizeof *counts->words));
    unsigned char *copy = ls_arena_alloc(counts->arena, bytes);
    if (copy == NULL) return LS_ERR_NO_MEMORY;
    memcpy(copy, word, bytes);
    counts->words[counts->n_words++] = (ls_counted_word){copy, (uint32_t)bytes, hash, 1};
    return LS_OK;
}

static ls_status count_piece(ls_word_counts *counts, const unsigned char *word, size_t bytes) {
    LS_TRY(grow(counts));
    const uint64_t hash = ls_xxh3(word, bytes, 0);
    const int64_t slot = find_slot(counts, word, bytes, hash);
    if (counts->slots[slot] >= 0) {
        counts->words[counts->slots[slot]].count++;
        return LS_OK;
    }
    LS_TRY(add_word(counts, word, bytes, hash));
    counts->slots[slot] = (int32_t)(counts->n_words - 1);
    return LS_OK;
}

static ls_status count_word(void *user, const unsigned char *word, size_t bytes) {
    const counting *c = user;
    for (size_t at = 0; at < bytes; at += c->max_bytes) {
        const size_t n = bytes - at < c->max_bytes ? bytes - at : c->max_bytes;
        LS_TRY(count_piece(c->counts, word + at, n));
    }
    return LS_OK;
}

static ls_status count_document(void *user, const ls_document *document) {
    counting *c = user;
    return ls_cutter_run(c->cutter, document->text, document->bytes, count_word, c);
}

ls_status ls_word_counts_init(ls_word_counts *counts, ls_dataset *dataset, size_t max_bytes) {
    counting c = {.counts = counts, .max_bytes = max_bytes};
    ls_split_rule *rule = NULL;
    *counts = (ls_word_counts){0};
    ls_status status;
    LS_TRY_GOTO(ls_arena_create(&counts->arena), out);
    LS_TRY_GOTO(ls_split_rule_create(LS_GPT2_PATTERN, &rule), out);
    LS_TRY_GOTO(ls_cutter_create(&rule, 1, &c.cutter), out);
    LS_TRY_GOTO(ls_dataset_each(dataset, count_document, &c), out);
out:
    ls_cutter_destroy(c.cutter);
    ls_split_rule_destroy(rule);
    return status;
}

void ls_word_counts_deinit(ls_word_counts *counts) {
    ls_arena_destroy(counts->arena);
    ls_free(counts->words);
    ls_free(counts->slots);
    *counts = (ls_word_counts){0};
}
