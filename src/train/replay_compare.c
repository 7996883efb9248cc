/* What a recorded step and the same step computed again tell together. */
#include <inttypes.h>

#include "base/alloc.h"
#include "train/replay.h"

static int is_same_layout(const ls_hash_record *a, const ls_hash_record *b) {
    return a->size == b->size && a->hosts == b->hosts && (a->zero == b->zero || a->size == 1);
}

static int count_wrong(const ls_hash_record *a, const ls_hash_record *b, int kind) {
    int n = 0;
    for (int r = 0; r < a->size; r++) n += a->ranks[r].of[kind] != b->ranks[r].of[kind];
    return n;
}

static ls_status list_wrong(const ls_hash_record *recorded, const ls_hash_record *replayed,
                            ls_replay_finding *out) {
    out->wrong = ls_alloc(sizeof *out->wrong * (size_t)out->n_wrong);
    if (!out->wrong) return LS_ERR_NO_MEMORY;
    int n = 0;
    for (int r = 0; r < recorded->size; r++)
        if (recorded->ranks[r].of[out->what] != replayed->ranks[r].of[out->what])
            out->wrong[n++] = r;
    out->first_wrong = out->wrong[0];
    out->recorded = recorded->ranks[out->first_wrong].of[out->what];
    out->replayed = replayed->ranks[out->first_wrong].of[out->what];
    return LS_OK;
}

ls_status ls_replay_compare(const ls_hash_record *recorded, const ls_hash_record *replayed,
                            ls_replay_finding *out) {
    *out = (ls_replay_finding){
        .last_right = -1, .step = recorded->step, .what = LS_REPLAY_RIGHT, .size = recorded->size};
    if (!is_same_layout(recorded, replayed)) {
        out->is_logical = 1;
        if (recorded->logical == replayed->logical) return LS_OK;
        out->what = LS_REPLAY_LOGICAL;
        out->recorded = recorded->logical;
        out->replayed = replayed->logical;
        return LS_OK;
    }
    for (int kind = 0; kind < LS_HASH_COUNT; kind++) {
        out->n_wrong = count_wrong(recorded, replayed, kind);
        if (out->n_wrong == 0) continue;
        out->what = kind;
        return list_wrong(recorded, replayed, out);
    }
    return LS_OK;
}

static void append_ranks(ls_text *text, const ls_replay_finding *f) {
    ls_text_append(text, "step %lld: rank%s", (long long)f->step, f->n_wrong > 1 ? "s" : "");
    for (int i = 0; i < f->n_wrong; i++)
        ls_text_append(text, "%s %d", i ? i + 1 == f->n_wrong ? " and" : "," : "", f->wrong[i]);
}

/* Since when; "" when it can be no other step. */
static void append_since(ls_text *text, const ls_replay_finding *f) {
    const int64_t right = f->last_right < 0 ? f->from : f->last_right;
    if (f->step - right > 1)
        ls_text_append(text, "; steps %lld to %lld have no record and may be where it began",
                       (long long)right + 1, (long long)f->step - 1);
}

static void append_difference(ls_text *text, const ls_replay_finding *f) {
    static const char *const words[LS_HASH_COUNT] = {
        "began with a state that is not what the steps before it make",
        "gave weights that are not its own",
        "gave a gradient that is not what its lanes compute",
        "gave a sum that is not that of the gradients",
        "wrote another state than the update makes",
    };
    if (f->what == LS_REPLAY_LOGICAL) {
        ls_text_append(text,
                       "step %lld: the state of the run is not what the step computes (recorded "
                       "%016" PRIx64 ", replayed %016" PRIx64
                       "); replay with --ranks %d tells which rank it is",
                       (long long)f->step, f->recorded, f->replayed, f->size);
        append_since(text, f);
        return;
    }
    append_ranks(text, f);
    ls_text_append(text, " %s (recorded %016" PRIx64 ", replayed %016" PRIx64 ")", words[f->what],
                   f->recorded, f->replayed);
    if (f->what == LS_HASH_BEGIN) append_since(text, f);
    if (f->n_wrong == f->size)
        ls_text_append(text, "; all ranks at once: perhaps another build, instruction set "
                             "(LOCKSTEP_ISA), data or configuration");
}

ls_status ls_replay_describe(const ls_replay_finding *f, char **text_out) {
    ls_text text = {0};
    if (f->what != LS_REPLAY_RIGHT)
        append_difference(&text, f);
    else if (f->is_logical)
        ls_text_append(&text, "step %lld: the state is right", (long long)f->step);
    else if (f->size == 1)
        ls_text_append(&text, "step %lld: the one rank is right", (long long)f->step);
    else
        ls_text_append(&text, "step %lld: all %d ranks are right", (long long)f->step, f->size);
    if (text.status != LS_OK) {
        ls_text_deinit(&text);
        return text.status;
    }
    *text_out = text.data;
    return LS_OK;
}
