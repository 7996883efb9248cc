/* The nodes of a program, each kind timed alone: within a step, so that operands hold what they hold in a run. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "measure/measure.h"
#include "op/op.h"
#include "plan/cost/cost.h"

enum { MAX_RUNS = 101, STEPS = 3 };
/* A node that is slower than this is run the least number of times. */
static const double most_seconds = 0.15, quick_most_seconds = 0.04;

typedef struct node_timer {
    ls_meter *meter;
    ls_program *program;
    const ls_run_options *run;
    ls_arena *arena;
    ls_node_row *rows;
    int n_rows;
    int64_t capacity;
} node_timer;

/* --- what makes two nodes alike -------------------------------------------------------------------------------------- */

static void print_types(const ls_type *types, int n, ls_text *out) {
    enum { MOST = 6 };
    char shape[128];
    for (int i = 0; i < n && i < MOST; i++)
        ls_text_append(out, "%s%s%s", i ? ", " : "", ls_dtype_name(types[i].dtype),
                       ls_shape_print(&types[i].shape, shape));
    if (n > MOST) ls_text_append(out, ", %d more", n - MOST);
}

static ls_status describe(node_timer *t, const ls_step *step, ls_node_row *row) {
    const ls_sig *sig = &step->sig;
    ls_text types = {0}, attr = {0};
    print_types(sig->in, sig->n_in, &types);
    ls_text_append(&types, " -> ");
    print_types(sig->out, sig->n_out, &types);
    if (sig->op->print && sig->attr) sig->op->print(sig->attr, &attr);
    ls_status status = types.status != LS_OK ? types.status : attr.status;
    if (status == LS_OK) {
        row->types = ls_arena_strdup(t->arena, types.data);
        row->attr = ls_arena_strdup(t->arena, attr.data ? attr.data : "");
        if (!row->types || !row->attr) status = LS_ERR_NO_MEMORY;
    }
    ls_text_deinit(&types);
    ls_text_deinit(&attr);
    row->op = sig->op->name;
    row->kernel = step->kernel->name;
    return status;
}

static ls_node_row *find_row(node_timer *t, const ls_node_row *like) {
    for (int i = 0; i < t->n_rows; i++) {
        ls_node_row *row = &t->rows[i];
        if (row->op == like->op && row->kernel == like->kernel &&
            strcmp(row->types, like->types) == 0 && strcmp(row->attr, like->attr) == 0)
            return row;
    }
    return NULL;
}

/* --- one node, again and again --------------------------------------------------------------------------------------- */

static int overlap(const ls_tensor *a, const ls_tensor *b) {
    const char *x = a->data, *y = b->data;
    return x < y + ls_tensor_bytes(b) && y < x + ls_tensor_bytes(a);
}

/* Updates of persistent values may run again on their own results; what else is written over an input must be put back. */
static size_t saved_bytes(const ls_step *step) {
    size_t bytes = 0;
    int in_place = 0;
    if (step->sig.op->flags & LS_OP_UPDATE) return 0;
    for (int i = 0; i < step->sig.n_out; i++) {
        const ls_tensor *out = &step->operands[step->sig.n_in + i];
        bytes += ls_tensor_bytes(out);
        for (int k = 0; k < step->sig.n_in; k++) in_place |= overlap(out, &step->operands[k]);
    }
    return in_place ? bytes : 0;
}

static void move_outputs(const ls_step *step, char *saved, int put_back) {
    for (int i = 0; i < step->sig.n_out; i++) {
        const ls_tensor *out = &step->operands[step->sig.n_in + i];
        const size_t bytes = ls_tensor_bytes(out);
        if (put_back)
            memcpy(out->data, saved, bytes);
        else
            memcpy(saved, out->data, bytes);
        saved += bytes;
    }
}

static ls_status launch_timed(node_timer *t, ls_step *step, const ls_command *command,
                              double *seconds_out) {
    const double begun = ls_clock_seconds();
    LS_TRY(ls_program_launch(t->program, step, command, t->run));
    *seconds_out = ls_clock_seconds() - begun;
    return LS_OK;
}

static void bind_operands(node_timer *t, ls_step *step, const ls_command *command) {
    for (int i = 0; i < step->sig.n_in + step->sig.n_out; i++)
        step->operands[i].data =
            ls_program_address(t->program, &step->places[i], command->slot, command->level);
}

static ls_status repeat(node_timer *t, ls_step *step, const ls_command *command, char *saved,
                        ls_node_row *row) {
    const ls_meter *meter = t->meter;
    const double most = meter->options.quick ? quick_most_seconds : most_seconds;
    double seconds[MAX_RUNS], spent = 0;
    int n = 0;
    LS_TRY(launch_timed(t, step, command, &row->first));
    while (n < MAX_RUNS &&
           (n < 2 || spent < meter->run_seconds || (n < meter->n_runs && spent < most))) {
        if (saved) move_outputs(step, saved, 1);
        LS_TRY(launch_timed(t, step, command, &seconds[n]));
        spent += seconds[n++];
    }
    row->seconds = ls_measure_of(seconds, n);
    return LS_OK;
}

static ls_status time_node(node_timer *t, ls_step *step, const ls_command *command,
                           ls_node_row *row) {
    bind_operands(t, step, command);
    const size_t bytes = saved_bytes(step);
    char *saved = NULL;
    if (bytes > 0) {
        saved = ls_alloc_pages(bytes);
        if (!saved) return LS_ERR_NO_MEMORY;
        move_outputs(step, saved, 0);
    }
    const ls_status status = repeat(t, step, command, saved, row);
    if (saved) ls_free_pages(saved, bytes);
    return status;
}

static ls_status run_node(node_timer *t, ls_step *step, const ls_command *command) {
    ls_node_row like = {0};
    LS_TRY(describe(t, step, &like));
    ls_node_row *row = find_row(t, &like);
    if (row) return ls_program_launch(t->program, step, command, t->run);
    LS_TRY(ls_array_reserve((void **)&t->rows, &t->capacity, t->n_rows + 1, sizeof *t->rows));
    row = &t->rows[t->n_rows++];
    *row = like;
    const ls_cost cost = ls_cost_of(&step->sig);
    row->flops = cost.flops;
    row->bytes = cost.bytes_read + cost.bytes_written;
    row->dtype = ls_cost_dtype(&step->sig);
    ls_cost_kind(&step->sig, row->kind);
    return time_node(t, step, command, row);
}

/* --- a step of lane 0 ------------------------------------------------------------------------------------------------ */

static ls_status count_node(node_timer *t, const ls_step *step) {
    ls_node_row like = {0};
    LS_TRY(describe(t, step, &like));
    ls_node_row *row = find_row(t, &like);
    if (row) row->times++;
    return LS_OK;
}

static ls_status for_steps(node_timer *t, const ls_command *command, int counts) {
    const ls_lowered *segment = &t->program->segments[command->segment];
    const int64_t last = command->last ? command->last : segment->n_steps;
    for (int64_t i = command->first; i < last; i++) {
        ls_step *step = &segment->steps[i];
        LS_TRY(counts ? count_node(t, step) : run_node(t, step, command));
    }
    return LS_OK;
}

/* Other lanes run the same nodes: they are counted, not run. */
static ls_status run_lane(node_timer *t) {
    const ls_rank_plan *rank = t->program->rank;
    for (int64_t i = 0; i < rank->n_commands; i++) {
        const ls_command *c = &rank->commands[i];
        if (c->kind == LS_COMMAND_FEED && c->lane <= 0)
            LS_TRY(ls_program_feed(t->program, c, t->run));
        if (c->kind == LS_COMMAND_RUN && c->lane <= 0) LS_TRY(for_steps(t, c, 0));
    }
    for (int64_t i = 0; i < rank->n_commands; i++)
        if (rank->commands[i].kind == LS_COMMAND_RUN) LS_TRY(for_steps(t, &rank->commands[i], 1));
    return LS_OK;
}

static ls_status time_steps(node_timer *t, ls_measure *out) {
    double seconds[STEPS];
    for (int i = -1; i < STEPS; i++) {
        const double begun = ls_clock_seconds();
        LS_TRY(ls_program_run(t->program, t->run));
        if (i >= 0) seconds[i] = ls_clock_seconds() - begun;
    }
    *out = ls_measure_of(seconds, STEPS);
    return LS_OK;
}

static double total_of(const ls_node_row *row) {
    return (double)row->times * row->seconds.median;
}

static int compare_rows(const void *a, const void *b) {
    const double x = total_of(a), y = total_of(b);
    return (x < y) - (x > y);
}

static ls_status check_program(const ls_program *p) {
    if (ls_plan_ranks(p->plan) == 1 && !p->plan->options.kept) return LS_OK;
    return LS_FAIL(LS_ERR_UNSUPPORTED,
                   "nodes are timed on one rank that keeps its state once; this plan is for %d "
                   "ranks%s",
                   ls_plan_ranks(p->plan), p->plan->options.kept ? ", with recover.copies" : "");
}

ls_status ls_measure_nodes(ls_meter *meter, ls_program *program, const ls_run_options *run,
                           ls_arena *arena, ls_node_table *out) {
    node_timer t = {.meter = meter, .program = program, .run = run, .arena = arena};
    ls_node_table table = {0};
    LS_TRY(check_program(program));
    ls_status status = time_steps(&t, &table.step);
    if (status == LS_OK) status = run_lane(&t);
    if (status == LS_OK) {
        table.n_rows = t.n_rows;
        table.rows = ls_arena_alloc(arena, sizeof *table.rows * (size_t)(t.n_rows + 1));
        if (!table.rows) status = LS_ERR_NO_MEMORY;
    }
    if (status == LS_OK) {
        memcpy(table.rows, t.rows, sizeof *table.rows * (size_t)t.n_rows);
        qsort(table.rows, (size_t)t.n_rows, sizeof *table.rows, compare_rows);
        for (int i = 0; i < table.n_rows; i++) table.seconds += total_of(&table.rows[i]);
        *out = table;
    }
    ls_free(t.rows);
    return status;
}
