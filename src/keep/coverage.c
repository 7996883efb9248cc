/* What several keepers hold together. */
#include "base/alloc.h"
#include "base/clock.h"
#include "keep/keep_ranges.h"
#include "keep/keep_wire.h"
#include "lockstep/tensor.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char what[] = "a keeper's inventory";

typedef struct listed_segment {
    int64_t rank, job, tensors, steps[2];
    const json_t *parts;
} listed_segment;

typedef struct tensor_cover {
    int64_t count;
    ls_keep_ranges ranges;
} tensor_cover;

typedef struct cover {
    listed_segment *segments;
    int64_t n_segments, segments_capacity;
    json_t *index; /* name: place in tensors */
    tensor_cover *tensors;
    int64_t n_tensors, tensors_capacity, n_expected;
} cover;

static ls_status read_segment(const json_t *from, listed_segment *out) {
    json_t *steps, *parts;
    LS_TRY(ls_json_get_int(from, what, "rank", &out->rank));
    LS_TRY(ls_json_get_int(from, what, "job", &out->job));
    LS_TRY(ls_json_get_array(from, what, "steps", &steps));
    LS_TRY(ls_json_get_array(from, what, "parts", &parts));
    out->tensors = json_integer_value(json_object_get(from, "tensors"));
    for (size_t b = 0; b < 2; b++) {
        const json_t *step = json_array_get(steps, b);
        if (!json_is_integer(step)) return LS_FAIL(LS_ERR_FORMAT, "%s: \"steps\" are two", what);
        out->steps[b] = json_integer_value(step);
    }
    out->parts = parts;
    return LS_OK;
}

static ls_status read_inventory(cover *c, const json_t *inventory) {
    json_t *segments;
    const json_t *segment;
    size_t i;
    LS_TRY(ls_json_get_array(inventory, what, "segments", &segments));
    json_array_foreach(segments, i, segment) {
        LS_TRY(ls_array_reserve((void **)&c->segments, &c->segments_capacity, c->n_segments + 1,
                                sizeof *c->segments));
        LS_TRY(read_segment(segment, &c->segments[c->n_segments]));
        c->n_segments++;
    }
    return LS_OK;
}

static int holds(const listed_segment *segment, int64_t step) {
    return segment->steps[0] == step || segment->steps[1] == step;
}

/* A newer job's segment of the same rank replaces this one once it holds a state; as long as it holds this step too, both count: the
 * newer may hold other parts, and not every rank of its job may have got so far. */
static int is_replaced(const cover *c, const listed_segment *segment, int64_t step) {
    for (int64_t i = 0; i < c->n_segments; i++) {
        const listed_segment *newer = &c->segments[i];
        if (newer->rank == segment->rank && newer->job > segment->job && !holds(newer, step) &&
            (newer->steps[0] >= 0 || newer->steps[1] >= 0))
            return 1;
    }
    return 0;
}

static ls_status count_elements(const json_t *shape, int64_t *out) {
    const json_t *dim;
    size_t i;
    *out = 1;
    json_array_foreach(shape, i, dim) {
        if (!json_is_integer(dim) || json_integer_value(dim) < 0 ||
            __builtin_mul_overflow(*out, json_integer_value(dim), out))
            return LS_FAIL(LS_ERR_FORMAT, "%s: a shape that is none", what);
    }
    return LS_OK;
}

static ls_status find_tensor(cover *c, const char *name, int64_t count, tensor_cover **out) {
    const json_t *at = json_object_get(c->index, name);
    if (at) {
        *out = &c->tensors[json_integer_value(at)];
        if ((*out)->count == count) return LS_OK;
        return LS_FAIL(LS_ERR_FORMAT, "%s: '%s' has %lld elements and %lld elsewhere: two runs",
                       what, name, (long long)count, (long long)(*out)->count);
    }
    LS_TRY(ls_array_reserve((void **)&c->tensors, &c->tensors_capacity, c->n_tensors + 1,
                            sizeof *c->tensors));
    if (json_object_set_new(c->index, name, json_integer(c->n_tensors)) != 0)
        return LS_FAIL(LS_ERR_NO_MEMORY, "out of memory while adding up inventories");
    c->tensors[c->n_tensors] = (tensor_cover){.count = count};
    *out = &c->tensors[c->n_tensors++];
    return LS_OK;
}

static ls_status add_part(cover *c, const json_t *part) {
    const char *name;
    json_t *shape;
    int64_t first, count, whole;
    tensor_cover *tensor;
    LS_TRY(ls_json_get_string(part, what, "name", &name));
    LS_TRY(ls_json_get_array(part, what, "shape", &shape));
    LS_TRY(ls_json_get_int(part, what, "first", &first));
    LS_TRY(ls_json_get_int(part, what, "count", &count));
    LS_TRY(count_elements(shape, &whole));
    if (first < 0 || count < 0 || first > whole || count > whole - first)
        return LS_FAIL(LS_ERR_FORMAT, "%s: elements of '%s' beyond its end", what, name);
    LS_TRY(find_tensor(c, name, whole, &tensor));
    return ls_keep_ranges_add(&tensor->ranges, first, first + count);
}

static void forget_tensors(cover *c) {
    for (int64_t i = 0; i < c->n_tensors; i++) ls_keep_ranges_deinit(&c->tensors[i].ranges);
    c->n_tensors = c->n_expected = 0;
    if (c->index) json_object_clear(c->index);
}

static ls_status is_covered(cover *c, int64_t step, int *out) {
    ls_keep_range gap;
    forget_tensors(c);
    for (int64_t i = 0; i < c->n_segments; i++) {
        const listed_segment *segment = &c->segments[i];
        const json_t *part;
        size_t p;
        if (!holds(segment, step) || is_replaced(c, segment, step)) continue;
        if (segment->tensors > c->n_expected) c->n_expected = segment->tensors;
        json_array_foreach(segment->parts, p, part) LS_TRY(add_part(c, part));
    }
    *out = c->n_tensors > 0 && c->n_tensors >= c->n_expected;
    for (int64_t i = 0; *out && i < c->n_tensors; i++)
        *out = !ls_keep_ranges_gap(&c->tensors[i].ranges, 0, c->tensors[i].count, &gap);
    return LS_OK;
}

/* The newest step below `below` that anybody holds, or -1. */
static int64_t step_below(const cover *c, int64_t below) {
    int64_t best = -1;
    for (int64_t i = 0; i < c->n_segments; i++)
        for (int b = 0; b < 2; b++)
            if (c->segments[i].steps[b] < below && c->segments[i].steps[b] > best)
                best = c->segments[i].steps[b];
    return best;
}

ls_status ls_keeper_best_step(json_t *const *inventories, int n, int64_t *step_out) {
    cover c = {.index = json_object()};
    ls_status status = LS_OK;
    int64_t step = INT64_MAX;
    int found = 0;
    if (!c.index) status = LS_FAIL(LS_ERR_NO_MEMORY, "out of memory while adding up inventories");
    for (int i = 0; status == LS_OK && i < n; i++) status = read_inventory(&c, inventories[i]);
    while (status == LS_OK && !found && step >= 0) {
        step = step_below(&c, step);
        if (step >= 0) status = is_covered(&c, step, &found);
    }
    forget_tensors(&c);
    json_decref(c.index);
    ls_free(c.tensors);
    ls_free(c.segments);
    if (status == LS_OK) *step_out = found ? step : -1;
    return status;
}

/* --- asking --- */

static ls_status hear_inventory(int fd, json_t **out) {
    ls_keep_frame frame;
    LS_TRY(ls_keep_say(fd, LS_SAY_INVENTORY, NULL, 0, -1));
    LS_TRY(ls_keep_hear(fd, &frame, NULL));
    if (frame.kind != LS_SAY_JSON)
        return LS_FAIL(LS_ERR_COMM, "a keeper answered message %d when asked what it holds",
                       frame.kind);
    char *text = ls_alloc(frame.bytes + 1);
    if (!text) return LS_ERR_NO_MEMORY;
    ls_status status = ls_keep_hear_bytes(fd, text, frame.bytes);
    if (status == LS_OK) status = ls_json_parse(text, frame.bytes, what, out);
    ls_free(text);
    return status;
}

ls_status ls_keeper_ask(const char *address, const char *cookie, double timeout_seconds,
                        json_t **out) {
    ls_keep_hello hello = {.who = LS_KEEP_IS_READER, .rank = -1, .job = -1};
    struct timeval limit = {.tv_sec = (time_t)timeout_seconds};
    int fd = -1;
    limit.tv_usec = (suseconds_t)((timeout_seconds - (double)limit.tv_sec) * 1e6) + 1;
    if (strlen(cookie) != sizeof hello.cookie - 1)
        return LS_FAIL(LS_ERR_INVALID, "a keeper's cookie is %d hexadecimal digits",
                       LS_KEEPER_COOKIE - 1);
    memcpy(hello.cookie, cookie, sizeof hello.cookie);
    LS_TRY(ls_keep_dial_tcp(address, timeout_seconds, &fd));
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    ls_status status = ls_keep_greet(fd, &hello);
    if (status == LS_OK) status = hear_inventory(fd, out);
    if (status == LS_ERR_COMM) (void)ls_error_prefix(status, "keeper %s", address);
    (void)close(fd);
    return status;
}
