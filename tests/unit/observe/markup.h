/* A small checker of markup: tags closed in order, attributes quoted, no bare < or &. */
#ifndef LS_TESTS_MARKUP_H
#define LS_TESTS_MARKUP_H
#include "unit/base/check.h"
#include <ctype.h>

/* Past the tag that begins at `at` (after its '<'); quotes may hold '>'. */
static inline const char *end_of_tag(const char *at) {
    char quote = 0;
    for (; *at && (quote || *at != '>'); at++) {
        if (*at == '<') fail_msg("a < within a tag: %.60s", at);
        if (quote ? *at == quote : *at == '"' || *at == '\'') quote = quote ? 0 : *at;
    }
    if (*at != '>') fail_msg("a tag without end");
    return at;
}

static inline void check_entity(const char *at) {
    static const char *const known[] = {"&lt;", "&gt;", "&amp;", "&quot;"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strncmp(at, known[i], strlen(known[i])) == 0) return;
    fail_msg("a bare &: %.40s", at);
}

/* Returns how many elements there are. */
static inline int check_markup(const char *text) {
    static char open[256][32];
    int depth = 0, n = 0;
    for (const char *at = text; *at; at++) {
        if (*at == '&') check_entity(at);
        if (*at != '<') continue;
        if (at[1] == '!') { /* the document's type */
            at = end_of_tag(at + 1);
            continue;
        }
        const int closing = at[1] == '/';
        char name[32] = "";
        for (size_t i = 0; isalnum((unsigned char)at[1 + closing + (int)i]) && i < 31; i++)
            name[i] = at[1 + closing + (int)i];
        if (!*name) fail_msg("a bare <: %.40s", at);
        const char *end = end_of_tag(at + 1);
        if (closing) {
            assert_true(depth > 0);
            if (strcmp(open[--depth], name) != 0)
                fail_msg("</%s> closes <%s>: %.60s", name, open[depth], at);
        } else {
            n++;
            assert_true(depth < 256);
            if (end[-1] != '/') strcpy(open[depth++], name);
        }
        at = end;
    }
    if (depth) fail_msg("<%s> is never closed", open[depth - 1]);
    return n;
}

static inline int count_text(const char *text, const char *part) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++) n++;
    return n;
}

#endif
