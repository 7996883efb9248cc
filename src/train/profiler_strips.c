/* The timeline of one step of every rank: columns of equal time, each as what filled most of it. */
#include "train/profiler.h"

enum { COLUMNS = 860 };

static int family_of(const ls_profile_source *source, const ls_trace_event *e) {
    switch (e->kind) {
    case LS_TRACE_KERNEL:
        return ls_profile_family(source->session->train_plan->graph->nodes[e->node].op->name);
    case LS_TRACE_ADD:
    case LS_TRACE_ROUND:
        return LS_FAMILY_SUMS;
    case LS_TRACE_SEND:
    case LS_TRACE_RECV:
        return LS_FAMILY_RANKS;
    case LS_TRACE_FEED:
    case LS_TRACE_EVALUATE:
    case LS_TRACE_SAVE:
        return LS_FAMILY_HOST;
    default: /* holds others */
        return -1;
    }
}

typedef struct canvas {
    double (*time)[LS_PROFILE_FAMILIES]; /* [COLUMNS] ns */
    double column_ns;
    int64_t begin_ns;
} canvas;

/* An event's time to the columns it lies in. */
static void paint(canvas *c, const ls_trace_event *e, int family) {
    const double begin = (double)(e->begin_ns - c->begin_ns), w = c->column_ns;
    const double end = (double)(e->end_ns - c->begin_ns);
    int column = begin > 0 ? (int)(begin / w) : 0;
    for (; column < COLUMNS && column * w < end; column++) {
        const double from = begin > column * w ? begin : column * w;
        const double to = end < (column + 1) * w ? end : (column + 1) * w;
        if (to > from) c->time[column][family] += to - from;
    }
}

static int main_family(const canvas *c, int column) {
    double covered = 0;
    int best = LS_FAMILY_GAPS;
    for (int f = 0; f < LS_FAMILY_GAPS; f++) covered += c->time[column][f];
    double most = c->column_ns - covered;
    for (int f = 0; f < LS_FAMILY_GAPS; f++)
        if (c->time[column][f] > most) {
            most = c->time[column][f];
            best = f;
        }
    return best;
}

static ls_status make_pieces(const canvas *c, double end, ls_arena *arena, ls_profile_strip *out) {
    ls_profile_piece *pieces = ls_arena_alloc(arena, sizeof *pieces * COLUMNS);
    if (!pieces) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < COLUMNS && i * c->column_ns * 1e-9 < end; i++) {
        const int family = main_family(c, i);
        const double from = 1e-9 * i * c->column_ns, to = from + 1e-9 * c->column_ns;
        if (out->n_pieces > 0 && pieces[out->n_pieces - 1].family == family)
            pieces[out->n_pieces - 1].end = to < end ? to : end;
        else
            pieces[out->n_pieces++] = (ls_profile_piece){from, to < end ? to : end, family};
    }
    out->pieces = pieces;
    return LS_OK;
}

static const char *phase_text(const ls_profile_source *source, const ls_trace_event *e,
                              ls_arena *arena) {
    const ls_plan *plan = source->session->train_plan;
    const char *phase = ls_profile_phase_name(plan, e->index);
    if (e->lane < 0) return phase;
    return ls_arena_format(arena, "%s %d", phase, e->lane);
}

static ls_status make_phases(const ls_profile_source *source, const ls_rank_events *rank,
                             int64_t step, int64_t base, ls_arena *arena, ls_profile_strip *out) {
    ls_profile_phase_piece *phases = ls_arena_alloc(arena, sizeof *phases * (size_t)(rank->n + 1));
    if (!phases) return LS_ERR_NO_MEMORY;
    for (int64_t i = 0; i < rank->n; i++) {
        const ls_trace_event *e = &rank->events[i];
        if (e->kind != LS_TRACE_RUN || e->step != step) continue;
        const char *name = phase_text(source, e, arena);
        if (!name) return LS_ERR_NO_MEMORY;
        phases[out->n_phases++] = (ls_profile_phase_piece){1e-9 * (double)(e->begin_ns - base),
                                                           1e-9 * (double)(e->end_ns - base), name};
    }
    out->phases = phases;
    return LS_OK;
}

static ls_status make_strip(const ls_profile_source *source, int r, int64_t step, int64_t base,
                            double seconds, ls_arena *arena, ls_profile_strip *out) {
    const ls_rank_events *rank = &source->ranks[r];
    canvas c = {.begin_ns = base, .column_ns = 1e9 * seconds / COLUMNS};
    double end = 0;
    c.time = ls_arena_alloc(arena, sizeof *c.time * COLUMNS);
    if (!c.time) return LS_ERR_NO_MEMORY;
    for (int64_t i = 0; i < rank->n; i++) {
        const ls_trace_event *e = &rank->events[i];
        const int family = e->step == step ? family_of(source, e) : -1;
        if (family >= 0) paint(&c, e, family);
        if (e->step == step && e->kind == LS_TRACE_STEP) end = 1e-9 * (double)(e->end_ns - base);
    }
    *out = (ls_profile_strip){.rank = r, .host = ls_comm_host(source->session->comm, r)};
    LS_TRY(make_pieces(&c, end, arena, out));
    return make_phases(source, rank, step, base, arena, out);
}

/* From the first rank's beginning of the step to the last one's end. */
static void find_extent(const ls_profile_source *source, int64_t step, int64_t *begin_out,
                        int64_t *end_out) {
    int64_t begin = INT64_MAX, end = INT64_MIN;
    for (int r = 0; r < source->n_ranks; r++)
        for (int64_t i = 0; i < source->ranks[r].n; i++) {
            const ls_trace_event *e = &source->ranks[r].events[i];
            if (e->kind != LS_TRACE_STEP || e->step != step) continue;
            if (e->begin_ns < begin) begin = e->begin_ns;
            if (e->end_ns > end) end = e->end_ns;
        }
    *begin_out = begin;
    *end_out = end;
}

ls_status ls_profile_make_strips(const ls_profile_source *source, int64_t step, ls_arena *arena,
                                 ls_profile *out) {
    int64_t begin, end;
    find_extent(source, step, &begin, &end);
    if (begin >= end) return LS_OK;
    ls_profile_strip *strips = ls_arena_alloc(arena, sizeof *strips * (size_t)source->n_ranks);
    if (!strips) return LS_ERR_NO_MEMORY;
    out->strip_step = step + 1;
    out->strip_seconds = 1e-9 * (double)(end - begin);
    out->strips = strips;
    for (; out->n_strips < source->n_ranks; out->n_strips++)
        LS_TRY(make_strip(source, out->n_strips, step, begin, out->strip_seconds, arena,
                          &strips[out->n_strips]));
    return LS_OK;
}
