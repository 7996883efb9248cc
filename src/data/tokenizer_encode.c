/* Text to ids. Words are cut by the tokenizer's rules; a word's symbols (at first its bytes) are merged in order of rank
 * with a heap over neighbouring pairs, so a word of n bytes takes O(n log n) whatever it holds. Short words' ids are
 * remembered. */
#include "base/hash.h"
#include "data/tokenizer_impl.h"
#include <string.h>

enum {
    CACHE_WORD_BYTES = 48, /* longer words are not remembered */
    CACHE_MAX_WORDS = 1 << 17,
    CACHE_FIRST_SLOTS = 1 << 8
};
/* Positions are 32 bits. */
#define MAX_WORD_BYTES ((size_t)1 << 30)

typedef struct symbol {
    int32_t id;         /* -1: merged into its left neighbour */
    int32_t prev, next; /* -1: none */
} symbol;

typedef struct cached_word {
    const unsigned char *word; /* NULL = free */
    uint32_t bytes, n_ids;
    uint64_t hash;
    const int32_t *ids;
} cached_word;

struct ls_encoder {
    const ls_tokenizer *tokenizer;
    ls_cutter *cutter;
    ls_ids *out; /* of the call in progress */
    symbol *symbols;
    uint64_t *heap; /* rank << 32 | position: the smallest first, so lowest rank, then leftmost */
    int64_t symbol_capacity, heap_capacity, n_heap;
    ls_arena *arena; /* cached words */
    cached_word *cache;
    int64_t n_slots, n_words;
};

ls_status ls_ids_append(ls_ids *ids, const int32_t *data, int64_t count) {
    LS_TRY(ls_array_reserve((void **)&ids->data, &ids->capacity, ids->count + count,
                            sizeof *ids->data));
    if (count > 0) memcpy(ids->data + ids->count, data, (size_t)count * sizeof *data);
    ids->count += count;
    return LS_OK;
}

void ls_ids_deinit(ls_ids *ids) {
    ls_free(ids->data);
    *ids = (ls_ids){0};
}

/* --- the heap --------------------------------------------------------------------------------------------------- */

static void push(ls_encoder *e, uint64_t key) {
    int64_t i = e->n_heap++;
    for (; i > 0 && e->heap[(i - 1) / 2] > key; i = (i - 1) / 2) e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = key;
}

static uint64_t pop(ls_encoder *e) {
    const uint64_t least = e->heap[0];
    const uint64_t key = e->heap[--e->n_heap];
    int64_t i = 0;
    for (;;) {
        int64_t child = 2 * i + 1;
        if (child >= e->n_heap) break;
        if (child + 1 < e->n_heap && e->heap[child + 1] < e->heap[child]) child++;
        if (e->heap[child] >= key) break;
        e->heap[i] = e->heap[child];
        i = child;
    }
    e->heap[i] = key;
    return least;
}

/* --- one word --------------------------------------------------------------------------------------------------- */

static void push_pair(ls_encoder *e, int32_t left) {
    const int32_t right = left < 0 ? -1 : e->symbols[left].next;
    if (right < 0) return;
    const int32_t rank = ls_tokenizer_rank(e->tokenizer, e->symbols[left].id, e->symbols[right].id);
    if (rank >= 0) push(e, (uint64_t)rank << 32 | (uint32_t)left);
}

static ls_status set_symbols(ls_encoder *e, const unsigned char *word, size_t bytes) {
    LS_TRY(ls_array_reserve((void **)&e->symbols, &e->symbol_capacity, (int64_t)bytes,
                            sizeof *e->symbols));
    /* bytes - 1 pairs at first, and two more for each of at most bytes - 1 merges */
    LS_TRY(ls_array_reserve((void **)&e->heap, &e->heap_capacity, 3 * (int64_t)bytes,
                            sizeof *e->heap));
    for (size_t i = 0; i < bytes; i++) {
        const int32_t id = e->tokenizer->byte_ids[word[i]];
        if (id < 0)
            return LS_FAIL(LS_ERR_DATA, "byte 0x%02x has no token in this tokenizer's vocabulary",
                           word[i]);
        e->symbols[i] = (symbol){id, (int32_t)i - 1, i + 1 < bytes ? (int32_t)i + 1 : -1};
    }
    return LS_OK;
}

/* Merges the symbol with its right neighbour. */
static void merge_at(ls_encoder *e, int32_t at, int32_t rank) {
    symbol *left = &e->symbols[at];
    symbol *right = &e->symbols[left->next];
    left->id = e->tokenizer->merges[rank].result;
    right->id = -1;
    left->next = right->next;
    if (left->next >= 0) e->symbols[left->next].prev = at;
    push_pair(e, left->prev);
    push_pair(e, at);
}

static void merge_symbols(ls_encoder *e, size_t bytes) {
    e->n_heap = 0;
    for (size_t i = 0; i + 1 < bytes; i++) push_pair(e, (int32_t)i);
    while (e->n_heap > 0) {
        const uint64_t key = pop(e);
        const int32_t at = (int32_t)(uint32_t)key, rank = (int32_t)(key >> 32);
        const symbol *left = &e->symbols[at];
        /* What stood here when it was pushed may be gone: then another pair, with its own entry, stands here. */
        if (left->id < 0 || left->next < 0) continue;
        const ls_merge *merge = &e->tokenizer->merges[rank];
        if (merge->left != left->id || merge->right != e->symbols[left->next].id) continue;
        merge_at(e, at, rank);
    }
}

static ls_status encode_word(ls_encoder *e, const unsigned char *word, size_t bytes) {
    if (bytes > MAX_WORD_BYTES)
        return LS_FAIL(LS_ERR_UNSUPPORTED, "one word has %zu bytes; at most %zu work", bytes,
                       MAX_WORD_BYTES);
    if (e->tokenizer->ignore_merges) {
        const int32_t id = ls_tokenizer_find_text(e->tokenizer, word, bytes);
        if (id >= 0) return ls_ids_append(e->out, &id, 1);
    }
    LS_TRY(set_symbols(e, word, bytes));
    merge_symbols(e, bytes);
    for (int32_t at = 0; at >= 0; at = e->symbols[at].next)
        LS_TRY(ls_ids_append(e->out, &e->symbols[at].id, 1));
    return LS_OK;
}

/* --- the cache -------------------------------------------------------------------------------------------------- */

static cached_word *find_slot(cached_word *cache, int64_t n_slots, const unsigned char *word,
                              size_t bytes, uint64_t hash) {
    int64_t slot = (int64_t)(hash & (uint64_t)(n_slots - 1));
    for (; cache[slot].word != NULL; slot = (slot + 1) & (n_slots - 1))
        if (cache[slot].hash == hash && cache[slot].bytes == bytes &&
            memcmp(cache[slot].word, word, bytes) == 0)
            break;
    return &cache[slot];
}

static ls_status grow_cache(ls_encoder *e) {
    if (2 * (e->n_words + 1) <= e->n_slots) return LS_OK;
    const int64_t n_slots = e->n_slots == 0 ? CACHE_FIRST_SLOTS : 4 * e->n_slots;
    cached_word *cache = ls_alloc((size_t)n_slots * sizeof *cache);
    if (cache == NULL) return LS_ERR_NO_MEMORY;
    for (int64_t i = 0; i < e->n_slots; i++)
        if (e->cache[i].word != NULL)
            *find_slot(cache, n_slots, e->cache[i].word, e->cache[i].bytes, e->cache[i].hash) =
                e->cache[i];
    ls_free(e->cache);
    e->cache = cache;
    e->n_slots = n_slots;
    return LS_OK;
}

/* Remembers that the word became out->data[first..]. */
static ls_status remember(ls_encoder *e, const unsigned char *word, size_t bytes, uint64_t hash,
                          int64_t first) {
    if (e->n_words >= CACHE_MAX_WORDS) return LS_OK;
    LS_TRY(grow_cache(e));
    const size_t id_bytes = (size_t)(e->out->count - first) * sizeof(int32_t);
    int32_t *ids = ls_arena_alloc(e->arena, id_bytes + bytes);
    if (ids == NULL) return LS_ERR_NO_MEMORY;
    unsigned char *copy = (unsigned char *)ids + id_bytes;
    memcpy(ids, e->out->data + first, id_bytes);
    memcpy(copy, word, bytes);
    const uint32_t n_ids = (uint32_t)(e->out->count - first);
    *find_slot(e->cache, e->n_slots, word, bytes, hash) =
        (cached_word){copy, (uint32_t)bytes, n_ids, hash, ids};
    e->n_words++;
    return LS_OK;
}

static ls_status take_word(void *user, const unsigned char *word, size_t bytes) {
    ls_encoder *e = user;
    if (bytes > CACHE_WORD_BYTES) return encode_word(e, word, bytes);
    const uint64_t hash = ls_xxh3(word, bytes, 0);
    if (e->n_slots > 0) {
        const cached_word *found = find_slot(e->cache, e->n_slots, word, bytes, hash);
        if (found->word != NULL) return ls_ids_append(e->out, found->ids, found->n_ids);
    }
    const int64_t first = e->out->count;
    LS_TRY(encode_word(e, word, bytes));
    return remember(e, word, bytes, hash, first);
}

/* --- texts ------------------------------------------------------------------------------------------------------ */

static ls_status encode_bytes(ls_encoder *e, const unsigned char *text, size_t bytes) {
    LS_TRY(ls_array_reserve((void **)&e->out->data, &e->out->capacity,
                            e->out->count + (int64_t)bytes, sizeof *e->out->data));
    for (size_t i = 0; i < bytes; i++) {
        const int32_t id = e->tokenizer->byte_ids[text[i]];
        if (id < 0)
            return LS_FAIL(LS_ERR_DATA, "byte 0x%02x has no token in this tokenizer's vocabulary",
                           text[i]);
        e->out->data[e->out->count++] = id;
    }
    return LS_OK;
}

static ls_status encode_plain(ls_encoder *e, const unsigned char *text, size_t bytes) {
    if (e->tokenizer->n_merges == 0 && !e->tokenizer->ignore_merges)
        return encode_bytes(e, text, bytes);
    return ls_cutter_run(e->cutter, text, bytes, take_word, e);
}

/* The longest added token that the text begins with, or -1. */
static int32_t match_added(const ls_tokenizer *tokenizer, const unsigned char *text, size_t bytes) {
    int32_t best = -1;
    if (!tokenizer->added_first[text[0]]) return -1;
    for (int32_t i = 0; i < tokenizer->n_added; i++) {
        const ls_token *token = &tokenizer->tokens[tokenizer->added[i]];
        if (token->n_bytes > bytes || memcmp(token->bytes, text, token->n_bytes) != 0) continue;
        if (best < 0 || token->n_bytes > tokenizer->tokens[best].n_bytes)
            best = tokenizer->added[i];
    }
    return best;
}

static ls_status encode_parsed(ls_encoder *e, const unsigned char *text, size_t bytes) {
    size_t begin = 0;
    for (size_t i = 0; i < bytes;) {
        const int32_t id = match_added(e->tokenizer, text + i, bytes - i);
        if (id < 0) {
            i++;
            continue;
        }
        LS_TRY(encode_plain(e, text + begin, i - begin));
        LS_TRY(ls_ids_append(e->out, &id, 1));
        begin = i += e->tokenizer->tokens[id].n_bytes;
    }
    return encode_plain(e, text + begin, bytes - begin);
}

ls_status ls_encoder_create(const ls_tokenizer *tokenizer, ls_encoder **out) {
    ls_encoder *e = ls_alloc(sizeof *e);
    if (e == NULL) return LS_ERR_NO_MEMORY;
    e->tokenizer = tokenizer;
    ls_status status = ls_cutter_create(tokenizer->rules, tokenizer->n_rules, &e->cutter);
    if (status == LS_OK) status = ls_arena_create(&e->arena);
    if (status != LS_OK) {
        ls_encoder_destroy(e);
        return status;
    }
    *out = e;
    return LS_OK;
}

void ls_encoder_destroy(ls_encoder *encoder) {
    if (encoder == NULL) return;
    ls_cutter_destroy(encoder->cutter);
    ls_arena_destroy(encoder->arena);
    ls_free(encoder->symbols);
    ls_free(encoder->heap);
    ls_free(encoder->cache);
    ls_free(encoder);
}

ls_status ls_encoder_encode(ls_encoder *encoder, const void *text, size_t bytes,
                            ls_encode_special special, ls_ids *ids) {
    const int64_t count = ids->count;
    encoder->out = ids;
    const ls_status status = special == LS_ENCODE_SPECIAL_PARSE
                                 ? encode_parsed(encoder, text, bytes)
                                 : encode_plain(encoder, text, bytes);
    if (status != LS_OK) ids->count = count;
    return status;
}

ls_status ls_tokenizer_encode(const ls_tokenizer *tokenizer, const void *text, size_t bytes,
                              ls_encode_special special, ls_ids *ids) {
    ls_encoder *encoder = NULL;
    LS_TRY(ls_encoder_create(tokenizer, &encoder));
    const ls_status status = ls_encoder_encode(encoder, text, bytes, special, ids);
    ls_encoder_destroy(encoder);
    return status;
}
