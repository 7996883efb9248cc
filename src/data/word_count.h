/* Counts the distinct words of a dataset (cut by GPT-2's pattern) in order of first sight. One thread. Local. */
#ifndef LS_DATA_WORD_COUNT_H
#define LS_DATA_WORD_COUNT_H
#include "base/alloc.h"
#include "lockstep/dataset.h"

typedef struct ls_counted_word {
    const unsigned char *bytes;
    uint32_t n_bytes;
    uint64_t hash;
    int64_t count;
} ls_counted_word;

typedef struct ls_word_counts {
    ls_arena *arena;
    ls_counted_word *words;
    int64_t n_words, capacity;
    int32_t *slots; /* open addressing: index of a word, -1 = free */
    int64_t n_slots;
} ls_word_counts;

/* Words over max_bytes are counted in pieces of that length. deinit also after a failure. */
ls_status ls_word_counts_init(ls_word_counts *counts, ls_dataset *dataset, size_t max_bytes);
void ls_word_counts_deinit(ls_word_counts *counts);

#endif
