/* Cutting text into words by patterns (PCRE2, with JIT where it is available). Every byte of the text is in exactly one
 * word: what a pattern does not match is a word of its own, and so is each run of bytes that is not UTF-8 (no pattern
 * sees those). Rules apply one after the other, each to the words of the one before.
 * A rule is immutable and may be shared by threads; a cutter belongs to one thread. */
#ifndef LS_DATA_PRETOKENIZE_H
#define LS_DATA_PRETOKENIZE_H
#include "lockstep/status.h"
#include <stddef.h>

/* GPT-2's pattern. \s is spelled out: PCRE2's differs from Unicode's White_Space by U+180E. */
#define LS_SPACE_CLASS                                                             \
    "\\x09-\\x0D\\x20\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}" \
    "\\x{202F}\\x{205F}\\x{3000}"
#define LS_GPT2_PATTERN                                                                \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" LS_SPACE_CLASS "\\p{L}\\p{N}]+" \
    "|[" LS_SPACE_CLASS "]+(?![^" LS_SPACE_CLASS "])|[" LS_SPACE_CLASS "]+"

typedef struct ls_split_rule ls_split_rule;
ls_status ls_split_rule_create(const char *pattern, ls_split_rule **out);
void ls_split_rule_destroy(ls_split_rule *rule);
const char *ls_split_rule_pattern(const ls_split_rule *rule);

typedef ls_status (*ls_word_fn)(void *user, const unsigned char *word, size_t bytes);

typedef struct ls_cutter ls_cutter;
ls_status ls_cutter_create(ls_split_rule *const *rules, int n_rules, ls_cutter **out);
void ls_cutter_destroy(ls_cutter *cutter);
ls_status ls_cutter_run(ls_cutter *cutter, const void *text, size_t bytes, ls_word_fn fn,
                        void *user);

#endif
