/* Gradients and scratch over what is not alive with them: where a rank runs one lane a step, the copies of weights and the activations of a layer
 * are read for the last time about when the gradients of that layer are made, the last layer first. Copies and activations lie in one
 * piece of memory, those that die last at the bottom; gradients that are made last lie at the bottom of theirs, which begins `shift` bytes
 * above, the least at which no gradient meets anything alive. Scratch lies wherever there is room as long as it is needed: where activations
 * are not made yet or dead, where gradients are not made yet, above all of them if it must. */
#include <stdlib.h>

#include "plan/plan.h"

enum { FOREVER = INT32_MAX };

typedef struct life {
    ls_value value; /* a root */
    int first, last;
    size_t old, offset, bytes; /* old: where it was placed */
} life;

typedef struct overlay {
    const ls_plan *plan;
    ls_rank_plan *rank;
    int *first, *last; /* per root: the first and last node that touches it, counted as they run */
    life *dying;       /* copies and activations */
    life *made;        /* gradients */
    int n_dying, n_made;
    ls_scratch *scratch; /* per segment */
    int *begin;          /* per segment: its first node, counted as they run */
} overlay;

static int is_lone(const ls_plan *plan, const ls_rank_plan *rank) {
    return plan->options.mode == LS_PLAN_TRAIN && plan->n_members == 1 && plan->n_ranks == 1 &&
           plan->n_buckets == 0 && rank->n_slots == 1 && rank->n_levels == 1 &&
           plan->options.lanes <= 1;
}

static void touch(overlay *o, ls_value v, int at) {
    const ls_value root = o->plan->roots[v];
    if (at < o->first[root]) o->first[root] = at;
    if (at > o->last[root]) o->last[root] = at;
}

static void touch_node(overlay *o, const ls_node *node, int at) {
    for (int k = 0; k < node->n_in; k++) touch(o, node->in[k], at);
    for (int k = 0; k < node->n_out; k++) touch(o, node->out[k], at);
}

/* Inputs are fed before anything runs; outputs may be fetched when all is over. */
static void find_lives(overlay *o) {
    const ls_graph *g = o->plan->graph;
    for (int64_t v = 0; v < g->n_values; v++) {
        const ls_value_kind kind = g->values[v].kind;
        const int is_fed = kind == LS_VALUE_INPUT || kind == LS_VALUE_STEP_INPUT;
        o->first[v] = is_fed ? 0 : FOREVER;
    }
    int at = 0;
    for (int64_t i = 0; i < o->rank->n_commands; i++) {
        const ls_command *c = &o->rank->commands[i];
        if (c->kind != LS_COMMAND_RUN) continue;
        const ls_segment *segment = &o->rank->segments[c->segment];
        const int64_t end = c->last ? c->last : segment->n_nodes;
        o->begin[c->segment] = at + 1;
        for (int64_t n = c->first; n < end; n++) touch_node(o, &g->nodes[segment->nodes[n]], ++at);
    }
    for (int64_t i = 0; i < g->n_outputs; i++)
        o->last[o->plan->roots[g->outputs[i].value]] = FOREVER;
}

static void collect(overlay *o) {
    const ls_graph *g = o->plan->graph;
    const size_t gradients = o->rank->folds[LS_FOLD_GRADIENTS].bytes;
    for (int64_t v = 0; v < g->n_values; v++) {
        const ls_place *place = &o->rank->places[v];
        const int is_sum = g->values[v].kind == LS_VALUE_ACCUM;
        life here = {(ls_value)v, o->first[v], o->last[v], place->offset, 0, place->bytes};
        if (is_sum && place->region == LS_REGION_GRADIENTS && place->offset < gradients)
            o->made[o->n_made++] = here;
        if (!is_sum && o->plan->roots[v] == (ls_value)v &&
            (place->region == LS_REGION_SLOTS || place->region == LS_REGION_PREPARED))
            o->dying[o->n_dying++] = here;
    }
}

static int compare_values(const life *x, const life *y) {
    return (x->value > y->value) - (x->value < y->value);
}

/* The last to die first. */
static int by_death(const void *a, const void *b) {
    const life *x = a, *y = b;
    if (x->last != y->last) return x->last > y->last ? -1 : 1;
    return compare_values(x, y);
}

/* The last to be made first. */
static int by_birth(const void *a, const void *b) {
    const life *x = a, *y = b;
    if (x->first != y->first) return x->first > y->first ? -1 : 1;
    return compare_values(x, y);
}

static size_t lay_out(life *lives, int n, size_t align) {
    size_t end = 0;
    for (int i = 0; i < n; i++) {
        lives[i].offset = end;
        end += ls_align_up(lives[i].bytes ? lives[i].bytes : 1, align);
    }
    return end;
}

static int by_old_place(const void *a, const void *b) {
    const life *x = a, *y = b;
    return (x->old > y->old) - (x->old < y->old);
}

/* The sum whose memory a value shares; NULL for what is no gradient. `made` lies by old place. */
static life *find_sum(const overlay *o, ls_value v) {
    const ls_place *place = &o->rank->places[v];
    const life key = {.old = place->offset};
    if (place->region != LS_REGION_GRADIENTS) return NULL;
    return bsearch(&key, o->made, (size_t)o->n_made, sizeof key, by_old_place);
}

/* A sum's memory is touched from the first of its values on: its source, or what the source is made of in place. */
static void find_births(overlay *o) {
    qsort(o->made, (size_t)o->n_made, sizeof *o->made, by_old_place);
    for (int64_t v = 0; v < o->plan->graph->n_values; v++) {
        life *sum = find_sum(o, (ls_value)v);
        if (sum && o->first[v] < sum->first) sum->first = o->first[v];
    }
}

/* What shared a sum's place goes with it. */
static void move_sums(overlay *o) {
    qsort(o->made, (size_t)o->n_made, sizeof *o->made, by_old_place);
    for (int64_t v = 0; v < o->plan->graph->n_values; v++) {
        const life *sum = find_sum(o, (ls_value)v);
        if (sum) o->rank->places[v].offset = sum->offset;
    }
}

/* What is alive when a gradient is made, all that dies then or later, lies below all that is dead; those made earlier meet more of it. */
static size_t find_shift(const overlay *o) {
    size_t shift = 0, end = 0;
    int n_living = 0;
    for (int i = 0; i < o->n_made; i++) {
        for (; n_living < o->n_dying && o->dying[n_living].last >= o->made[i].first; n_living++)
            end = o->dying[n_living].offset + o->dying[n_living].bytes;
        if (end > o->made[i].offset + shift) shift = end - o->made[i].offset;
    }
    return ls_align_up(shift, LS_SUM_ALIGN);
}

/* What has its place before scratch: the living, the gradients, and the numbers that are summed with these but are none: nothing is known
 * of them, so they live all the time, above everything. */
static int list_placed(const overlay *o, size_t shift, ls_block *blocks, ls_block **placed) {
    const ls_rank_plan *r = o->rank;
    const size_t numbers = r->folds[LS_FOLD_NUMBERS].offset;
    int n = 0;
    for (int i = 0; i < o->n_dying; i++) {
        const life *d = &o->dying[i];
        blocks[n++] = (ls_block){d->first, d->last, d->bytes, d->offset, -1};
    }
    for (int i = o->n_made - 1; i >= 0; i--) {
        const life *m = &o->made[i];
        blocks[n++] = (ls_block){m->first, FOREVER, m->bytes, m->offset + shift, -1};
    }
    blocks[n++] = (ls_block){0, FOREVER, r->gradient_bytes - numbers, numbers + shift, -1};
    for (int i = 0; i < n; i++) {
        blocks[i].bytes = ls_align_up(blocks[i].bytes, LS_PLACE_ALIGN);
        placed[i] = &blocks[i];
    }
    return n;
}

static int compare_offsets(const void *a, const void *b) {
    const ls_block *x = *(ls_block *const *)a, *y = *(ls_block *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Blocks of all segments, each with the steps of the whole run instead of its segment's. */
static int list_scratch(const overlay *o, ls_block *blocks, ls_block **order) {
    int n = 0;
    for (int s = 0; s < o->rank->n_segments; s++)
        for (int b = 0; b < o->scratch[s].n_blocks; b++) {
            if (o->scratch[s].blocks[b].merged_into >= 0) continue;
            blocks[n] = o->scratch[s].blocks[b];
            blocks[n].first += o->begin[s];
            blocks[n].last += o->begin[s];
            order[n] = &blocks[n];
            n++;
        }
    return n;
}

static void move_scratch(const overlay *o, const ls_block *blocks) {
    int n = 0;
    for (int s = 0; s < o->rank->n_segments; s++)
        for (int b = 0; b < o->scratch[s].n_blocks; b++)
            if (o->scratch[s].blocks[b].merged_into < 0)
                o->scratch[s].blocks[b].offset = blocks[n++].offset;
}

/* All of it laid out with gradients from `shift` on; stays as it is where that takes no less memory than apart. */
static ls_status lay_over(overlay *o, size_t shift, ls_arena *arena) {
    ls_rank_plan *r = o->rank;
    size_t most = (size_t)(o->n_dying + o->n_made + 1);
    for (int s = 0; s < r->n_segments; s++) most += (size_t)o->scratch[s].n_blocks;
    ls_block *blocks = ls_arena_alloc(arena, sizeof *blocks * most);
    ls_block **placed = ls_arena_alloc(arena, sizeof(ls_block *) * most);
    ls_block **order = ls_arena_alloc(arena, sizeof(ls_block *) * most);
    if (!blocks || !placed || !order) return LS_ERR_NO_MEMORY;
    const int n_placed = list_placed(o, shift, blocks, placed);
    qsort(placed, (size_t)n_placed, sizeof(ls_block *), compare_offsets);
    const int n = list_scratch(o, blocks + n_placed, order);
    const size_t bytes = ls_blocks_place(order, n, placed, n_placed);
    const size_t apart = r->bytes[LS_REGION_PREPARED] + r->bytes[LS_REGION_SLOTS] +
                         r->bytes[LS_REGION_GRADIENTS] + r->bytes[LS_REGION_SCRATCH];
    if (bytes >= apart) return LS_OK;
    for (int i = 0; i < o->n_dying; i++) r->places[o->dying[i].value].offset = o->dying[i].offset;
    move_sums(o);
    move_scratch(o, blocks + n_placed);
    r->overlay_shift = shift;
    r->overlay_bytes = bytes;
    r->overlaid_bytes = apart - bytes;
    return LS_OK;
}

/* The least shift at which the numbers, too, lie above all that dies. */
static size_t choose_shift(overlay *o) {
    qsort(o->dying, (size_t)o->n_dying, sizeof *o->dying, by_death);
    find_births(o);
    qsort(o->made, (size_t)o->n_made, sizeof *o->made, by_birth);
    const size_t below = lay_out(o->dying, o->n_dying, LS_PLACE_ALIGN);
    (void)lay_out(o->made, o->n_made, LS_SUM_ALIGN);
    const size_t shift = find_shift(o), numbers = o->rank->folds[LS_FOLD_NUMBERS].offset;
    return below > numbers + shift ? ls_align_up(below - numbers, LS_SUM_ALIGN) : shift;
}

ls_status ls_plan_overlay(const ls_plan *plan, ls_rank_plan *rank, ls_scratch *scratch,
                          ls_arena *arena) {
    const size_t n = (size_t)plan->graph->n_values + 1;
    overlay o = {.plan = plan, .rank = rank, .scratch = scratch};
    if (!is_lone(plan, rank)) return LS_OK;
    o.first = ls_arena_alloc(arena, sizeof *o.first * n);
    o.last = ls_arena_alloc(arena, sizeof *o.last * n);
    o.dying = ls_arena_alloc(arena, sizeof *o.dying * n);
    o.made = ls_arena_alloc(arena, sizeof *o.made * n);
    o.begin = ls_arena_alloc(arena, sizeof *o.begin * (size_t)(rank->n_segments + 1));
    if (!o.first || !o.last || !o.dying || !o.made || !o.begin) return LS_ERR_NO_MEMORY;
    find_lives(&o);
    collect(&o);
    return lay_over(&o, choose_shift(&o), arena);
}
