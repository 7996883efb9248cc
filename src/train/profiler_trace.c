/* trace.json: every event of every rank. A rank is a process, its run loop the one thread. Numbers begin with 1: viewers take process 0
 * for the kernel's. */
#include <stdio.h>
#include <string.h>

#include "observe/trace_file.h"
#include "op/op.h"
#include "train/profiler.h"

enum { THREAD = 1 };

typedef struct writer {
    const ls_profile_source *source;
    ls_trace_file *file;
    ls_arena *arena;
    ls_text name, args;
    /* Per node of the graph, made at first use: the text that all its events share. */
    char **shared;
    ls_cost *costs;
    int64_t base_ns;
} writer;

static void put_text(ls_text *out, const char *key, const char *value) {
    ls_text_append(out, "%s\"%s\":", out->size ? "," : "", key);
    ls_json_append_string(out, value);
}

static void put_int(ls_text *out, const char *key, int64_t value) {
    ls_text_append(out, "%s\"%s\":%lld", out->size ? "," : "", key, (long long)value);
}

static void put_number(ls_text *out, const char *key, double value) {
    ls_text_append(out, "%s\"%s\":%.6g", out->size ? "," : "", key, value);
}

static const ls_kernel *kernel_of(const ls_plan *plan, const ls_trace_event *e) {
    const ls_segment *segment = &plan->ranks[0].segments[e->index];
    for (int64_t i = 0; i < segment->n_nodes; i++)
        if (segment->nodes[i] == e->node) return segment->kernels[i];
    return NULL;
}

static ls_status share_node(writer *w, const ls_trace_event *e) {
    const ls_plan *plan = w->source->session->train_plan;
    const ls_node *node = &plan->graph->nodes[e->node];
    ls_type *types = ls_arena_alloc(w->arena, sizeof *types * (size_t)(node->n_in + node->n_out));
    const ls_kernel *kernel = kernel_of(plan, e);
    const char *printed;
    ls_sig sig;
    ls_text text = {0};
    if (!types) return LS_ERR_NO_MEMORY;
    ls_node_sig(plan->graph, node, types, types + node->n_in, &sig);
    ls_profile_node_cost(&sig, &w->costs[e->node]);
    LS_TRY(ls_profile_node_types(&sig, w->arena, &printed));
    put_text(&text, "op", node->op->name);
    put_text(&text, "scope", node->scope);
    put_text(&text, "types", printed);
    put_text(&text, "kernel", kernel ? kernel->name : "");
    put_text(&text, "phase", ls_profile_phase_name(plan, e->index));
    put_int(&text, "node", e->node);
    ls_status status = text.status;
    w->shared[e->node] = status == LS_OK ? ls_arena_strdup(w->arena, text.data) : NULL;
    if (status == LS_OK && !w->shared[e->node]) status = LS_ERR_NO_MEMORY;
    ls_text_deinit(&text);
    return status;
}

static ls_status describe_kernel(writer *w, const ls_trace_event *e) {
    const ls_node *node = &w->source->session->train_plan->graph->nodes[e->node];
    const double seconds = 1e-9 * (double)(e->end_ns - e->begin_ns);
    if (!w->shared[e->node]) LS_TRY(share_node(w, e));
    const ls_cost *cost = &w->costs[e->node];
    const double bytes = cost->bytes_read + cost->bytes_written;
    ls_text_append(&w->name, "%s%s%s", node->op->name, *node->scope ? " " : "", node->scope);
    ls_text_append(&w->args, "%s", w->shared[e->node]);
    put_int(&w->args, "slot", e->slot);
    put_number(&w->args, "flops", cost->flops);
    put_number(&w->args, "bytes", bytes);
    if (seconds > 0) {
        put_number(&w->args, "GFLOP/s", 1e-9 * cost->flops / seconds);
        put_number(&w->args, "GB/s", 1e-9 * bytes / seconds);
        put_number(&w->args, "threads", 1 + 1e-9 * (double)e->busy_ns / seconds);
    }
    return LS_OK;
}

static void describe_fold(writer *w, const ls_trace_event *e) {
    ls_text_append(&w->name, e->kind == LS_TRACE_ADD ? "add lane sums" : "round lane sums");
    put_int(&w->args, "level", e->level);
    put_int(&w->args, "fold", e->index);
    put_int(&w->args, "bytes", e->bytes);
}

static void describe_message(writer *w, const ls_trace_event *e) {
    const ls_channel *channel = &w->source->session->train_plan->channels[e->index];
    const int sends = e->kind == LS_TRACE_SEND;
    ls_text_append(&w->name, sends ? "send to rank %d" : "receive from rank %d",
                   sends ? channel->to : channel->from);
    put_int(&w->args, "bytes", e->bytes);
}

/* Name and arguments; returns the category. */
static ls_status describe(writer *w, const ls_trace_event *e, const char **category) {
    const ls_plan *plan = w->source->session->train_plan;
    w->name.size = w->args.size = 0;
    *category = "run";
    switch ((ls_trace_kind)e->kind) {
    case LS_TRACE_KERNEL:
        *category = ls_profile_families[ls_profile_family(plan->graph->nodes[e->node].op->name)];
        LS_TRY(describe_kernel(w, e));
        break;
    case LS_TRACE_RUN:
        *category = "phase";
        ls_text_append(&w->name, "%s", ls_profile_phase_name(plan, e->index));
        break;
    case LS_TRACE_ADD:
    case LS_TRACE_ROUND:
        *category = ls_profile_families[LS_FAMILY_SUMS];
        describe_fold(w, e);
        break;
    case LS_TRACE_SEND:
    case LS_TRACE_RECV:
        *category = ls_profile_families[LS_FAMILY_RANKS];
        describe_message(w, e);
        break;
    case LS_TRACE_FEED:
    case LS_TRACE_EVALUATE:
    case LS_TRACE_SAVE:
        *category = ls_profile_families[LS_FAMILY_HOST];
        ls_text_append(&w->name, e->kind == LS_TRACE_FEED       ? "data"
                                 : e->kind == LS_TRACE_EVALUATE ? "evaluation"
                                                                : "save");
        break;
    case LS_TRACE_PROGRAM:
        ls_text_append(&w->name, "program");
        break;
    default:
        ls_text_append(&w->name, "step %lld", (long long)e->step + 1);
    }
    put_int(&w->args, "step", e->step + 1);
    if (e->lane >= 0) put_int(&w->args, "lane", e->lane);
    if (e->lane >= 0 && (e->kind == LS_TRACE_RUN || e->kind == LS_TRACE_FEED))
        ls_text_append(&w->name, " lane %d", e->lane);
    return w->args.status != LS_OK ? w->args.status : w->name.status;
}

static ls_status write_rank(writer *w, int rank) {
    const ls_rank_events *r = &w->source->ranks[rank];
    char name[300];
    (void)snprintf(name, sizeof name, "rank %d, %s", rank,
                   ls_comm_host(w->source->session->comm, rank));
    LS_TRY(ls_trace_file_process(w->file, rank + 1, name));
    LS_TRY(ls_trace_file_thread(w->file, rank + 1, THREAD, "run loop"));
    /* What holds others comes first: events stand in the order of their ends. */
    for (int64_t i = r->n - 1; i >= 0; i--) {
        const ls_trace_event *e = &r->events[i];
        const char *category;
        LS_TRY(describe(w, e, &category));
        const ls_trace_span span = {.name = w->name.data,
                                    .category = category,
                                    .pid = rank + 1,
                                    .tid = THREAD,
                                    .begin_ns = e->begin_ns - w->base_ns,
                                    .end_ns = e->end_ns - w->base_ns,
                                    .args = w->args.data};
        LS_TRY(ls_trace_file_span(w->file, &span));
    }
    return LS_OK;
}

static int64_t find_base(const ls_profile_source *source) {
    int64_t base = INT64_MAX;
    for (int r = 0; r < source->n_ranks; r++)
        for (int64_t i = 0; i < source->ranks[r].n; i++)
            if (source->ranks[r].events[i].begin_ns < base)
                base = source->ranks[r].events[i].begin_ns;
    return base == INT64_MAX ? 0 : base;
}

static ls_status write_all(writer *w, const char *path) {
    const size_t n = (size_t)w->source->session->train_plan->graph->n_nodes + 1;
    int64_t dropped = 0;
    LS_TRY(ls_arena_create(&w->arena));
    w->shared = ls_arena_alloc(w->arena, sizeof *w->shared * n);
    w->costs = ls_arena_alloc(w->arena, sizeof *w->costs * n);
    if (!w->shared || !w->costs) return LS_ERR_NO_MEMORY;
    for (int r = 0; r < w->source->n_ranks; r++) dropped += w->source->ranks[r].n_dropped;
    ls_text_append(&w->args, "\"written_by\":\"lockstep %s\",\"ranks\":%d,\"dropped_events\":%lld",
                   LS_VERSION, w->source->n_ranks, (long long)dropped);
    LS_TRY(w->args.status);
    LS_TRY(ls_trace_file_open(path, w->args.data, &w->file));
    for (int r = 0; r < w->source->n_ranks; r++) LS_TRY(write_rank(w, r));
    ls_trace_file *file = w->file;
    w->file = NULL;
    return ls_trace_file_commit(file);
}

ls_status ls_profile_write_trace(const ls_profile_source *source, const char *path) {
    writer w = {.source = source, .base_ns = find_base(source)};
    const ls_status status = write_all(&w, path);
    ls_trace_file_abort(w.file);
    ls_arena_destroy(w.arena);
    ls_text_deinit(&w.name);
    ls_text_deinit(&w.args);
    return status;
}
