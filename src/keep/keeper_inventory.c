/* What a keeper holds, as JSON. */
#include "keep/keeper_internal.h"
#include "lockstep/tensor.h"

static json_t *list_part(const ls_keep_header *image, const ls_keep_part *part) {
    json_t *shape = json_array();
    for (int i = 0; shape && i < part->n_dims; i++)
        (void)json_array_append_new(shape, json_integer(part->dims[i]));
    return json_pack("{s:s, s:s, s:o, s:I, s:I}", "name", ls_keep_part_name(image, part), "dtype",
                     ls_dtype_name((ls_dtype)part->dtype), "shape", shape, "first",
                     (json_int_t)part->first, "count", (json_int_t)part->count);
}

static json_t *list_parts(const ls_keep_header *image) {
    json_t *all = json_array();
    for (uint32_t i = 0; all && i < image->n_parts; i++) {
        if (json_array_append_new(all, list_part(image, &ls_keep_parts(image)[i])) == 0) continue;
        json_decref(all);
        return NULL;
    }
    return all;
}

static json_t *list_segment(const ls_keeper_segment *segment) {
    const ls_keep_header *image = segment->image, *mapped = segment->mapped;
    json_t *parts = list_parts(image);
    if (!parts) return NULL;
    return json_pack("{s:i, s:I, s:i, s:i, s:[I,I], s:b, s:I, s:i, s:o}", "rank", image->rank,
                     "job", (json_int_t)segment->job, "size", image->size, "pid",
                     (int)atomic_load(&mapped->pid), "steps",
                     (json_int_t)atomic_load(&mapped->steps[0]),
                     (json_int_t)atomic_load(&mapped->steps[1]), "copy", segment->is_copy, "bytes",
                     (json_int_t)image->bytes, "tensors", image->n_tensors, "parts", parts);
}

ls_status ls_keeper_list(const ls_keeper *keeper, json_t **out) {
    json_t *segments = json_array();
    uint64_t bytes = 0;
    for (const ls_keeper_segment *s = keeper->segments; segments && s; s = s->next) {
        bytes += s->image->bytes;
        if (json_array_append_new(segments, list_segment(s)) == 0) continue;
        json_decref(segments);
        segments = NULL;
    }
    json_t *all = segments ? json_pack("{s:I, s:I, s:o}", "job", (json_int_t)keeper->job, "bytes",
                                       (json_int_t)bytes, "segments", segments)
                           : NULL;
    if (!all) return LS_FAIL(LS_ERR_NO_MEMORY, "out of memory while listing what a keeper holds");
    *out = all;
    return LS_OK;
}
