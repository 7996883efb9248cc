/* Gradients over what is dead when they are made: where a rank runs one lane a step, the copies of weights and the activations of a layer
 * are read for the last time about when the gradients of that layer are made, the last layer first. Copies and activations lie in one
 * piece of memory, those that die last at the bottom; gradients that are made last lie at the bottom of theirs, which begins `shift` bytes
 * above, the least at which no gradient meets anything alive. */
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
        for (int64_t n = c->first; n < end; n++) touch_node(o, &g->nodes[segment->nodes[n]], ++at);
    }
    for (int64_t i = 0; i < g->n_outputs; i++)
        o->last[o->plan->roots[g->outputs[i].value]] = FOREVER;
}

/* A sum's memory is touched from the first of its values on: its source, or what the source is made of in place. */
static int birth_at(const overlay *o, size_t offset) {
    int first = FOREVER;
    for (int64_t v = 0; v < o->plan->graph->n_values; v++) {
        const ls_place *place = &o->rank->places[v];
        if (place->region == LS_REGION_GRADIENTS && place->offset == offset && o->first[v] < first)
            first = o->first[v];
    }
    return first;
}

static void collect(overlay *o) {
    const ls_graph *g = o->plan->graph;
    const size_t gradients = o->rank->folds[LS_FOLD_GRADIENTS].bytes;
    for (int64_t v = 0; v < g->n_values; v++) {
        const ls_place *place = &o->rank->places[v];
        const int is_sum = g->values[v].kind == LS_VALUE_ACCUM;
        life here = {(ls_value)v, o->first[v], o->last[v], place->offset, 0, place->bytes};
        if (is_sum && place->region == LS_REGION_GRADIENTS && place->offset < gradients) {
            here.first = birth_at(o, place->offset);
            o->made[o->n_made++] = here;
        }
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

/* What shared a sum's place goes with it. */
static void move_sums(const overlay *o) {
    for (int64_t v = 0; v < o->plan->graph->n_values; v++) {
        ls_place *place = &o->rank->places[v];
        if (place->region != LS_REGION_GRADIENTS) continue;
        for (int i = 0; i < o->n_made; i++)
            if (o->made[i].old == place->offset) {
                place->offset = o->made[i].offset;
                break;
            }
    }
}

/* End of what is alive at `at`: all that dies then or later lies below all that is dead. */
static size_t end_of_living(const overlay *o, int at) {
    size_t end = 0;
    for (int i = 0; i < o->n_dying && o->dying[i].last >= at; i++)
        end = o->dying[i].offset + o->dying[i].bytes;
    return end;
}

static size_t find_shift(const overlay *o) {
    size_t shift = 0;
    for (int i = 0; i < o->n_made; i++) {
        const size_t end = end_of_living(o, o->made[i].first);
        if (end > o->made[i].offset + shift) shift = end - o->made[i].offset;
    }
    return ls_align_up(shift, LS_SUM_ALIGN);
}

/* Of the numbers that are summed with the gradients but are none nothing is known: they lie above everything. */
static void lay_over(overlay *o) {
    ls_rank_plan *r = o->rank;
    qsort(o->dying, (size_t)o->n_dying, sizeof *o->dying, by_death);
    qsort(o->made, (size_t)o->n_made, sizeof *o->made, by_birth);
    const size_t below = lay_out(o->dying, o->n_dying, LS_PLACE_ALIGN);
    (void)lay_out(o->made, o->n_made, LS_SUM_ALIGN);
    size_t shift = find_shift(o);
    const size_t numbers = r->folds[LS_FOLD_NUMBERS].offset;
    if (below > numbers + shift) shift = ls_align_up(below - numbers, LS_SUM_ALIGN);
    if (shift >= below) return; /* nothing is dead in time */
    for (int i = 0; i < o->n_dying; i++) r->places[o->dying[i].value].offset = o->dying[i].offset;
    move_sums(o);
    r->overlay_shift = shift;
    r->overlay_bytes = shift + r->gradient_bytes;
    r->overlaid_bytes = below - shift;
}

ls_status ls_plan_overlay(const ls_plan *plan, ls_rank_plan *rank, ls_arena *arena) {
    const size_t n = (size_t)plan->graph->n_values + 1;
    overlay o = {.plan = plan, .rank = rank};
    if (!is_lone(plan, rank)) return LS_OK;
    o.first = ls_arena_alloc(arena, sizeof *o.first * n);
    o.last = ls_arena_alloc(arena, sizeof *o.last * n);
    o.dying = ls_arena_alloc(arena, sizeof *o.dying * n);
    o.made = ls_arena_alloc(arena, sizeof *o.made * n);
    if (!o.first || !o.last || !o.dying || !o.made) return LS_ERR_NO_MEMORY;
    find_lives(&o);
    collect(&o);
    lay_over(&o);
    return LS_OK;
}
