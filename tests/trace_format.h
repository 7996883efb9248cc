/* Is a file in the Trace Event Format (JSON object form) as its definition and the viewers want it? Sources:
 *   "Trace Event Format" (the Chromium project's document of that name): fields of each kind of event, nesting of durations,
 *   perfetto.dev/docs, "Synthetic TrackEvent" and FAQ: slices of a thread nest and never partly overlap,
 *   google/perfetto issues 226 and 928, hrydgard/minitrace issue 39: of complete events with one begin the longer comes first.
 * Stricter than the definition where a viewer guesses: every process and thread has one name, no key stands twice, times have no more than
 * three decimals (whole nanoseconds). */
#ifndef LS_TESTS_TRACE_FORMAT_H
#define LS_TESTS_TRACE_FORMAT_H
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

typedef struct trace_slice {
    int64_t pid, tid, begin, end; /* ns */
    size_t place;                 /* in the file */
    const char *name;
} trace_slice;

typedef struct trace_check {
    const json_t *events;
    trace_slice *slices, *open; /* of B without E yet */
    size_t n_slices, n_open, n_events;
    char *fault;
    size_t fault_bytes;
} trace_check;

#define TRACE_FAULT(...) ((void)snprintf(c->fault, c->fault_bytes, __VA_ARGS__), 0)

static inline const char *trace_text(const json_t *event, const char *key) {
    const char *text = json_string_value(json_object_get(event, key));
    return text ? text : "";
}

/* A time of the event in ns. */
static inline int trace_time(trace_check *c, size_t i, const char *key, int64_t *out) {
    const json_t *value = json_object_get(json_array_get(c->events, i), key);
    if (!json_is_number(value)) return TRACE_FAULT("event %zu: '%s' is no number", i, key);
    const double ns = json_number_value(value) * 1e3;
    if (!isfinite(ns) || ns < 0) return TRACE_FAULT("event %zu: '%s' is negative", i, key);
    if (fabs(ns - round(ns)) > 1e-9 * ns + 1e-6)
        return TRACE_FAULT("event %zu: '%s' has parts of a nanosecond", i, key);
    *out = (int64_t)llround(ns);
    return 1;
}

static inline int check_trace_whole(trace_check *c, size_t i, const char *key, int64_t *out) {
    const json_t *value = json_object_get(json_array_get(c->events, i), key);
    if (!json_is_integer(value)) return TRACE_FAULT("event %zu: '%s' is no whole number", i, key);
    *out = json_integer_value(value);
    return 1;
}

/* --- metadata --- */

static inline int check_trace_metadata(trace_check *c, size_t i) {
    static const struct {
        const char *name, *key;
        int is_text;
    } known[] = {{"process_name", "name", 1},
                 {"thread_name", "name", 1},
                 {"process_labels", "labels", 1},
                 {"process_sort_index", "sort_index", 0},
                 {"thread_sort_index", "sort_index", 0}};
    const json_t *e = json_array_get(c->events, i), *args = json_object_get(e, "args");
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
        if (strcmp(trace_text(e, "name"), known[k].name) != 0) continue;
        const json_t *value = json_object_get(args, known[k].key);
        if (known[k].is_text ? json_string_length(value) == 0 : !json_is_integer(value))
            return TRACE_FAULT("event %zu: %s without args.%s", i, known[k].name, known[k].key);
        return 1;
    }
    return TRACE_FAULT("event %zu: metadata '%s' is not known", i, trace_text(e, "name"));
}

/* Of the metadata events that name the process (or its thread): how many. */
static inline int count_trace_names(const trace_check *c, const trace_slice *s, const char *what) {
    int n = 0;
    for (size_t i = 0; i < c->n_events; i++) {
        const json_t *e = json_array_get(c->events, i);
        n += strcmp(trace_text(e, "name"), what) == 0 && strcmp(trace_text(e, "ph"), "M") == 0 &&
             json_integer_value(json_object_get(e, "pid")) == s->pid &&
             (*what == 'p' || json_integer_value(json_object_get(e, "tid")) == s->tid);
    }
    return n;
}

/* --- durations --- */

static inline int take_trace_complete(trace_check *c, size_t i, trace_slice *s) {
    int64_t ns;
    if (!trace_time(c, i, "dur", &ns)) return 0;
    s->end = s->begin + ns;
    c->slices[c->n_slices++] = *s;
    return 1;
}

/* E closes the last B of its thread. */
static inline int take_trace_end(trace_check *c, size_t i, const trace_slice *s) {
    for (size_t k = c->n_open; k-- > 0;) {
        trace_slice *b = &c->open[k];
        if (b->pid != s->pid || b->tid != s->tid) continue;
        if (*s->name && strcmp(s->name, b->name) != 0)
            return TRACE_FAULT("event %zu: 'E' of '%s' closes '%s'", i, s->name, b->name);
        if (s->begin < b->begin) return TRACE_FAULT("event %zu: ends before it begins", i);
        b->end = s->begin;
        c->slices[c->n_slices++] = *b;
        memmove(b, b + 1, (--c->n_open - k) * sizeof *b);
        return 1;
    }
    return TRACE_FAULT("event %zu: 'E' without 'B'", i);
}

/* By thread, then begin; of one begin the longer first. */
static inline int compare_trace_slices(const void *x, const void *y) {
    const trace_slice *a = x, *b = y;
    if (a->pid != b->pid) return a->pid < b->pid ? -1 : 1;
    if (a->tid != b->tid) return a->tid < b->tid ? -1 : 1;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end) return a->end > b->end ? -1 : 1;
    return a->place < b->place ? -1 : 1;
}

static inline int check_trace_nesting(trace_check *c) {
    trace_slice *held = c->open; /* those that hold the one at hand, the outermost first */
    size_t n_held = 0;
    if (c->n_open > 0) return TRACE_FAULT("event %zu: 'B' without 'E'", c->open[0].place);
    qsort(c->slices, c->n_slices, sizeof *c->slices, compare_trace_slices);
    for (size_t i = 0; i < c->n_slices; i++) {
        const trace_slice *s = &c->slices[i], *before = i ? s - 1 : NULL;
        const int is_new = !before || before->pid != s->pid || before->tid != s->tid;
        if (is_new) {
            n_held = 0;
            if (count_trace_names(c, s, "process_name") != 1)
                return TRACE_FAULT("process %lld does not have one name", (long long)s->pid);
            if (count_trace_names(c, s, "thread_name") != 1)
                return TRACE_FAULT("thread %lld of process %lld does not have one name",
                                   (long long)s->tid, (long long)s->pid);
        } else if (before->begin == s->begin && before->place > s->place) {
            return TRACE_FAULT("events %zu and %zu begin together and the shorter comes first",
                               s->place, before->place);
        }
        while (n_held > 0 && held[n_held - 1].end <= s->begin) n_held--;
        if (n_held > 0 && held[n_held - 1].end < s->end)
            return TRACE_FAULT("events %zu and %zu overlap in part", held[n_held - 1].place,
                               s->place);
        held[n_held++] = *s;
    }
    return 1;
}

/* --- flows --- */

static inline int is_trace_flow(const json_t *e) {
    const char *ph = trace_text(e, "ph");
    return *ph && strchr("stf", *ph) != NULL;
}

static inline int is_trace_same_flow(const json_t *a, const json_t *b) {
    return is_trace_flow(a) && strcmp(trace_text(a, "name"), trace_text(b, "name")) == 0 &&
           strcmp(trace_text(a, "cat"), trace_text(b, "cat")) == 0 &&
           json_equal(json_object_get(a, "id"), json_object_get(b, "id"));
}

/* A flow begins once before its steps and its end, and each of its events stands within a slice of its thread. */
static inline int check_trace_flow(trace_check *c, size_t i) {
    const json_t *e = json_array_get(c->events, i), *id = json_object_get(e, "id");
    int64_t at = 0, pid = 0, tid = 0, other;
    int n_begins = 0, n_ends = 0, is_held = 0;
    if (!json_is_integer(id) && !json_is_string(id))
        return TRACE_FAULT("event %zu: a flow without 'id'", i);
    if (!trace_time(c, i, "ts", &at) || !check_trace_whole(c, i, "pid", &pid) ||
        !check_trace_whole(c, i, "tid", &tid))
        return 0;
    for (size_t k = 0; k < c->n_events; k++) {
        const json_t *o = json_array_get(c->events, k);
        if (!is_trace_same_flow(o, e)) continue;
        if (!trace_time(c, k, "ts", &other)) return 0;
        n_begins += *trace_text(o, "ph") == 's';
        n_ends += *trace_text(o, "ph") == 'f';
        if ((*trace_text(o, "ph") == 's' && other > at) ||
            (*trace_text(o, "ph") == 'f' && other < at))
            return TRACE_FAULT("event %zu: a flow goes back in time", i);
    }
    if (n_begins != 1 || n_ends < 1) return TRACE_FAULT("event %zu: a flow without both ends", i);
    for (size_t k = 0; k < c->n_slices; k++)
        is_held |= c->slices[k].pid == pid && c->slices[k].tid == tid && c->slices[k].begin <= at &&
                   at <= c->slices[k].end;
    return is_held ? 1 : TRACE_FAULT("event %zu: a flow outside of every slice", i);
}

/* --- all of it --- */

static inline int check_trace_counter(trace_check *c, size_t i) {
    const json_t *args = json_object_get(json_array_get(c->events, i), "args");
    const char *key;
    json_t *value;
    if (json_object_size(args) == 0) return TRACE_FAULT("event %zu: a counter of nothing", i);
    json_object_foreach((json_t *)args, key, value) if (!json_is_number(value)) return TRACE_FAULT(
        "event %zu: counter '%s' is no number", i, key);
    return 1;
}

static inline int check_trace_event(trace_check *c, size_t i) {
    const json_t *e = json_array_get(c->events, i), *args = json_object_get(e, "args");
    trace_slice s = {.place = i, .name = trace_text(e, "name")};
    if (!json_is_object(e)) return TRACE_FAULT("event %zu is no object", i);
    if (strlen(trace_text(e, "ph")) != 1) return TRACE_FAULT("event %zu: no 'ph'", i);
    const char ph = *trace_text(e, "ph");
    if (!check_trace_whole(c, i, "pid", &s.pid) || !check_trace_whole(c, i, "tid", &s.tid))
        return 0;
    if (!*s.name && ph != 'E') return TRACE_FAULT("event %zu: no 'name'", i);
    if (args && !json_is_object(args)) return TRACE_FAULT("event %zu: 'args' is no object", i);
    if (ph == 'M') return check_trace_metadata(c, i);
    if (!trace_time(c, i, "ts", &s.begin)) return 0;
    if (ph != 'C' && ph != 'E' && !json_is_string(json_object_get(e, "cat")))
        return TRACE_FAULT("event %zu: no 'cat'", i);
    switch (ph) {
    case 'X':
        return take_trace_complete(c, i, &s);
    case 'B':
        return (c->open[c->n_open++] = s, 1);
    case 'E':
        return take_trace_end(c, i, &s);
    case 'C':
        return check_trace_counter(c, i);
    case 's':
    case 't':
    case 'f':
        return 1; /* when all slices are known */
    case 'i':
        if (strlen(trace_text(e, "s")) == 1 && strchr("gpt", *trace_text(e, "s"))) return 1;
        return TRACE_FAULT("event %zu: an instant without a scope", i);
    default:
        return TRACE_FAULT("event %zu: 'ph' is '%c'", i, ph);
    }
}

static inline int check_trace_root(trace_check *c, const json_t *root) {
    const char *unit = trace_text(root, "displayTimeUnit");
    c->events = json_object_get(root, "traceEvents");
    if (!json_is_array(c->events)) return TRACE_FAULT("no array 'traceEvents'");
    if (strcmp(unit, "ms") != 0 && strcmp(unit, "ns") != 0)
        return TRACE_FAULT("'displayTimeUnit' is '%s'", unit);
    c->n_events = json_array_size(c->events);
    return 1;
}

/* NULL, or a sentence (in `fault`) on the first thing that is wrong. */
static inline const char *find_trace_fault(const json_t *root, char *fault, size_t bytes) {
    trace_check check = {.fault = fault, .fault_bytes = bytes}, *c = &check;
    int good = check_trace_root(c, root);
    c->slices = calloc(c->n_events + 1, sizeof *c->slices);
    c->open = calloc(c->n_events + 1, sizeof *c->open);
    for (size_t i = 0; good && i < c->n_events; i++) good = check_trace_event(c, i);
    good = good && check_trace_nesting(c);
    for (size_t i = 0; good && i < c->n_events; i++)
        if (is_trace_flow(json_array_get(c->events, i))) good = check_trace_flow(c, i);
    free(c->slices);
    free(c->open);
    return good ? NULL : fault;
}

#endif
