/* The text of LOCKSTEP_FAULT: key=value, parted by commas. */
#include "base/config.h"
#include "comm/fault.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const ls_fault_names[] = {"none",  "die",  "stop",       "skip",       "extra", "shape",
                                      "dtype", "op",   "step",       "slow",       "nan",   "disk",
                                      "torn",  "flip", "flip_share", "flip_state", NULL};

static const double default_seconds = 3;

enum { WORD_BYTES = 320 };

static ls_status parse_kind(const char *text, ls_fault *fault) {
    for (int i = LS_FAULT_NONE + 1; i < LS_FAULT_COUNT; i++)
        if (strcmp(text, ls_fault_names[i]) == 0) {
            fault->kind = (ls_fault_kind)i;
            return LS_OK;
        }
    const char *near =
        ls_nearest_name(text, ls_fault_names + LS_FAULT_DIE, LS_FAULT_COUNT - LS_FAULT_DIE);
    return LS_FAIL(
        LS_ERR_CONFIG,
        "LOCKSTEP_FAULT: kind '%s' is not known%s%s%s; there are die, stop, skip, extra, "
        "shape, dtype, op, step, slow, nan, disk, torn, flip, flip_share, flip_state",
        text, near ? "; did you mean '" : "", near ? near : "", near ? "'" : "");
}

static ls_status parse_count(const char *key, const char *text, int64_t most, int64_t *out) {
    char *end;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno || value < 0 || value > most)
        return LS_FAIL(LS_ERR_CONFIG,
                       "LOCKSTEP_FAULT: %s = '%s': an integer from 0 to %lld is needed", key, text,
                       (long long)most);
    *out = value;
    return LS_OK;
}

static ls_status parse_seconds(const char *text, double *out) {
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end || !(value > 0 && value <= 86400))
        return LS_FAIL(LS_ERR_CONFIG,
                       "LOCKSTEP_FAULT: seconds = '%s': a number above 0, at most 86400, is needed",
                       text);
    *out = value;
    return LS_OK;
}

static ls_status parse_pair(const char *key, const char *value, ls_fault *fault) {
    int64_t number = 0;
    if (strcmp(key, "kind") == 0) return parse_kind(value, fault);
    if (strcmp(key, "seconds") == 0) return parse_seconds(value, &fault->seconds);
    if (strcmp(key, "stamp") == 0) {
        if (snprintf(fault->stamp, sizeof fault->stamp, "%s", value) >= (int)sizeof fault->stamp)
            return LS_FAIL(LS_ERR_CONFIG, "LOCKSTEP_FAULT: the stamp's path '%s' is too long",
                           value);
        return LS_OK;
    }
    if (strcmp(key, "rank") == 0) {
        LS_TRY(parse_count(key, value, INT_MAX, &number));
        fault->rank = (int)number;
        return LS_OK;
    }
    if (strcmp(key, "step") == 0) {
        LS_TRY(parse_count(key, value, INT64_MAX, &number));
        fault->step = (uint64_t)number;
        return LS_OK;
    }
    if (strcmp(key, "attempt") == 0 && strcmp(value, "all") == 0) {
        fault->attempt = -1;
        return LS_OK;
    }
    if (strcmp(key, "attempt") == 0) return parse_count(key, value, INT64_MAX, &fault->attempt);
    if (strcmp(key, "call") == 0) return parse_count(key, value, INT64_MAX, &fault->call);
    if (strcmp(key, "count") == 0) return parse_count(key, value, INT64_MAX, &fault->count);
    return LS_FAIL(LS_ERR_CONFIG,
                   "LOCKSTEP_FAULT: key '%s' is not known; there are kind, rank, step, call, "
                   "seconds, count, attempt and stamp",
                   key);
}

ls_status ls_fault_parse(const char *text, ls_fault *out) {
    ls_fault fault = {.seconds = default_seconds};
    for (const char *at = text; *at;) {
        char word[WORD_BYTES];
        const size_t n = strcspn(at, ",");
        if (snprintf(word, sizeof word, "%.*s", (int)n, at) >= (int)sizeof word)
            return LS_FAIL(LS_ERR_CONFIG, "LOCKSTEP_FAULT: '%.40s...' is too long", at);
        at += n;
        if (*at == ',') at++;
        char *value = strchr(word, '=');
        if (!value)
            return LS_FAIL(LS_ERR_CONFIG,
                           "LOCKSTEP_FAULT: '%s' is no key=value; it reads like "
                           "kind=skip,rank=3,step=5,call=2",
                           word);
        *value++ = '\0';
        LS_TRY(parse_pair(word, value, &fault));
    }
    if (fault.kind == LS_FAULT_NONE)
        return LS_FAIL(LS_ERR_CONFIG,
                       "LOCKSTEP_FAULT = '%s' has no kind=; there are die, stop, "
                       "skip, extra, shape, dtype, op, step, slow, nan, disk, torn, flip, "
                       "flip_share, flip_state",
                       text);
    *out = fault;
    return LS_OK;
}
