/* Which parts the data of a run has, and where each lies: cut from the text, or in a file of its own. */
#include <string.h>

#include "train/source.h"

int ls_data_is_shard(const char *path) {
    const size_t n = strlen(path);
    return n > 4 && strcmp(path + n - 4, ".tok") == 0;
}

static const char *own_path(const ls_train_config *c, ls_split part) {
    if (part == LS_SPLIT_STOP) return c->data.stop_path;
    return part == LS_SPLIT_HELD ? c->data.held_path : NULL;
}

/* Nothing is cut from shards, and no part that has a file. */
static int is_cut(const ls_train_config *c, ls_split part) {
    return c->data.split && !own_path(c, part) && !ls_data_is_shard(c->data.path);
}

int ls_data_has_part(const ls_train_config *c, ls_split part) {
    if (part == LS_SPLIT_TRAIN) return 1;
    if (!ls_model_reads_tokens(c->model.kind)) return part == LS_SPLIT_HELD; /* test images */
    return own_path(c, part) != NULL || is_cut(c, part);
}

ls_split ls_data_watched_part(const ls_train_config *c) {
    return ls_model_reads_tokens(c->model.kind) ? LS_SPLIT_STOP : LS_SPLIT_HELD;
}

const char *ls_data_part_path(const ls_train_config *c, ls_split part) {
    const char *own = own_path(c, part);
    return own ? own : c->data.path;
}

/* A part that is cut takes its share of the end; one share is there for each. */
void ls_data_part_range(const ls_train_config *c, ls_split part, double *begin_out,
                        double *end_out) {
    const int cuts_stop = is_cut(c, LS_SPLIT_STOP), cuts_held = is_cut(c, LS_SPLIT_HELD);
    *begin_out = 0;
    *end_out = 1;
    if (own_path(c, part)) return;
    if (part == LS_SPLIT_TRAIN && (cuts_stop || cuts_held))
        *end_out = cuts_stop && cuts_held ? LS_SPLIT_STOP_BEGIN : LS_SPLIT_HELD_BEGIN;
    if (part == LS_SPLIT_STOP) ls_split_range(cuts_held ? part : LS_SPLIT_HELD, begin_out, end_out);
    if (part == LS_SPLIT_HELD) ls_split_range(part, begin_out, end_out);
}
