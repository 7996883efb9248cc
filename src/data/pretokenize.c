#include "data/pretokenize.h"
#include "base/alloc.h"
#include "data/utf8.h"
#include <string.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { MAX_RULES = 8 };

struct ls_split_rule {
    char *pattern;
    pcre2_general_context *memory;
    int out_of_memory; /* an allocation failed; JIT compilation does not say so otherwise */
    pcre2_code *code;
};

struct ls_cutter {
    int n_rules;
    ls_split_rule *const *rules;
    pcre2_match_data *match[MAX_RULES]; /* one a rule: the rules run nested */
    ls_word_fn fn;
    void *user;
};

static void *pcre_alloc(PCRE2_SIZE bytes, void *user) {
    void *ptr = ls_alloc(bytes);
    if (ptr == NULL) *(int *)user = 1;
    return ptr;
}

static void pcre_free(void *ptr, void *user) {
    (void)user;
    ls_free(ptr);
}

static ls_status compile(ls_split_rule *rule) {
    rule->memory = pcre2_general_context_create(pcre_alloc, pcre_free, &rule->out_of_memory);
    if (rule->memory == NULL) return LS_ERR_NO_MEMORY;
    pcre2_compile_context *context = pcre2_compile_context_create(rule->memory);
    if (context == NULL) return LS_ERR_NO_MEMORY;
    int error = 0;
    PCRE2_SIZE where = 0;
    rule->code = pcre2_compile((PCRE2_SPTR)rule->pattern, PCRE2_ZERO_TERMINATED,
                               PCRE2_UTF | PCRE2_UCP, &error, &where, context);
    pcre2_compile_context_free(context);
    if (rule->out_of_memory) return LS_ERR_NO_MEMORY;
    if (rule->code == NULL) {
        PCRE2_UCHAR words[128] = "";
        (void)pcre2_get_error_message(error, words, sizeof words);
        return LS_FAIL(LS_ERR_FORMAT,
                       "pre-tokenizer pattern is no regular expression: %s at character %zu",
                       (const char *)words, where);
    }
    /* Without JIT (not every machine allows it) matching is four times slower, and the same. */
    (void)pcre2_jit_compile(rule->code, PCRE2_JIT_COMPLETE);
    return rule->out_of_memory ? LS_ERR_NO_MEMORY : LS_OK;
}

ls_status ls_split_rule_create(const char *pattern, ls_split_rule **out) {
    ls_split_rule *rule = ls_alloc(sizeof *rule);
    if (rule == NULL) return LS_ERR_NO_MEMORY;
    rule->pattern = ls_strdup(pattern);
    const ls_status status = rule->pattern == NULL ? LS_ERR_NO_MEMORY : compile(rule);
    if (status != LS_OK) {
        ls_split_rule_destroy(rule);
        return status;
    }
    *out = rule;
    return LS_OK;
}

void ls_split_rule_destroy(ls_split_rule *rule) {
    if (rule == NULL) return;
    pcre2_code_free(rule->code);
    pcre2_general_context_free(rule->memory);
    ls_free(rule->pattern);
    ls_free(rule);
}

const char *ls_split_rule_pattern(const ls_split_rule *rule) {
    return rule->pattern;
}

ls_status ls_cutter_create(ls_split_rule *const *rules, int n_rules, ls_cutter **out) {
    if (n_rules > MAX_RULES)
        return LS_FAIL(LS_ERR_UNSUPPORTED, "%d pre-tokenizer rules; at most %d work here", n_rules,
                       (int)MAX_RULES);
    ls_cutter *cutter = ls_alloc(sizeof *cutter);
    if (cutter == NULL) return LS_ERR_NO_MEMORY;
    cutter->rules = rules;
    cutter->n_rules = n_rules;
    for (int i = 0; i < n_rules; i++) {
        /* Only the place of the whole match is wanted. */
        cutter->match[i] = pcre2_match_data_create(1, rules[i]->memory);
        if (cutter->match[i] == NULL) {
            ls_cutter_destroy(cutter);
            return LS_ERR_NO_MEMORY;
        }
    }
    *out = cutter;
    return LS_OK;
}

void ls_cutter_destroy(ls_cutter *cutter) {
    if (cutter == NULL) return;
    for (int i = 0; i < cutter->n_rules; i++) pcre2_match_data_free(cutter->match[i]);
    ls_free(cutter);
}

static ls_status refuse_match(int rc) {
    PCRE2_UCHAR words[128] = "";
    (void)pcre2_get_error_message(rc, words, sizeof words);
    return LS_FAIL(rc == PCRE2_ERROR_NOMEMORY ? LS_ERR_NO_MEMORY : LS_ERR_DATA,
                   "pre-tokenizer pattern gave up on the text: %s", (const char *)words);
}

/* text is well-formed UTF-8. */
static ls_status apply_rule(ls_cutter *cutter, int i, const unsigned char *text, size_t bytes) {
    if (bytes == 0) return LS_OK;
    if (i == cutter->n_rules) return cutter->fn(cutter->user, text, bytes);
    size_t done = 0;  /* given on as words */
    size_t start = 0; /* the next match is looked for from here */
    while (start < bytes) {
        const int rc = pcre2_match(cutter->rules[i]->code, text, bytes, start, PCRE2_NO_UTF_CHECK,
                                   cutter->match[i], NULL);
        if (rc == PCRE2_ERROR_NOMATCH) break;
        /* 0: more groups than the one slot, which is fine */
        if (rc < 0) return refuse_match(rc);
        const PCRE2_SIZE *found = pcre2_get_ovector_pointer(cutter->match[i]);
        if (found[1] <= found[0]) { /* an empty match cuts nothing; \K can even turn it round */
            const size_t next = found[1] > start ? found[1] : start;
            start = next < bytes ? next + ls_utf8_char(text + next, bytes - next) : bytes;
            continue;
        }
        if (found[0] < done)
            return LS_FAIL(LS_ERR_UNSUPPORTED, "pre-tokenizer pattern matches backwards");
        const size_t from = found[0], to = found[1];
        LS_TRY(apply_rule(cutter, i + 1, text + done, from - done));
        LS_TRY(apply_rule(cutter, i + 1, text + from, to - from));
        done = start = to;
    }
    return apply_rule(cutter, i + 1, text + done, bytes - done);
}

static size_t skip_bad(const unsigned char *text, size_t bytes) {
    size_t n = 1;
    while (n < bytes && ls_utf8_char(text + n, bytes - n) == 0) n++;
    return n;
}

ls_status ls_cutter_run(ls_cutter *cutter, const void *text, size_t bytes, ls_word_fn fn,
                        void *user) {
    const unsigned char *p = text;
    cutter->fn = fn;
    cutter->user = user;
    while (bytes > 0) {
        const size_t good = ls_utf8_check(p, bytes);
        LS_TRY(apply_rule(cutter, 0, p, good));
        p += good;
        bytes -= good;
        if (bytes == 0) break;
        const size_t bad = skip_bad(p, bytes);
        LS_TRY(fn(user, p, bad));
        p += bad;
        bytes -= bad;
    }
    return LS_OK;
}
