#include <string.h>

#include "base/json.h"
#include "op/op.h"
#include "plan/plan.h"

static const char *const region_names[LS_REGION_COUNT] = {
#define LS_REGION_NAME(upper, lower) #lower,
    LS_REGION_MAP(LS_REGION_NAME)
#undef LS_REGION_NAME
};
static const char *const segment_names[] = {"prepare", "forward", "backward",
                                            "weight",  "reduce",  "update"};
static const char *const schedule_names[] = {"1f1b", "gpipe", "zero_bubble"};
static const char *const recompute_names[] = {"auto",      "none",  "cheap",
                                              "attention", "layer", "bytes"};
static const char *const precision_names[] = {"f32", "bf16", "f16"};

static void print_bucket(const ls_command *c, ls_text *out) {
    if (c->fold >= LS_FOLD_BUCKETS) ls_text_append(out, ", bucket %d", c->fold - LS_FOLD_BUCKETS);
    ls_text_append(out, "\n");
}

static void print_command(const ls_plan *plan, const ls_rank_plan *rank, const ls_command *c,
                          ls_text *out) {
    switch (c->kind) {
    case LS_COMMAND_FEED:
        if (c->lane < 0)
            ls_text_append(out, "    feed step inputs\n");
        else
            ls_text_append(out, "    feed lane %d -> slot %d\n", c->lane, c->slot);
        return;
    case LS_COMMAND_RUN: {
        const ls_segment *s = &rank->segments[c->segment];
        ls_text_append(out, "    run %s", segment_names[s->kind]);
        if (s->kind == LS_SEGMENT_UPDATE)
            ls_text_append(out, " round %d\n", s->round);
        else if (s->kind == LS_SEGMENT_REDUCE)
            ls_text_append(out, " bucket %d\n", s->round);
        else if (c->lane >= 0 && c->last)
            ls_text_append(out, " lane %d slot %d sum %d, nodes %d to %d of %lld\n", c->lane,
                           c->slot, c->level, c->first, c->last - 1, (long long)s->n_nodes);
        else if (c->lane >= 0)
            ls_text_append(out, " lane %d slot %d sum %d\n", c->lane, c->slot, c->level);
        else
            ls_text_append(out, "\n");
        return;
    }
    case LS_COMMAND_ADD:
        if (c->fold == LS_FOLD_NUMBERS) return; /* with the gradients */
        ls_text_append(out, "    add sum %d += sum %d", c->level, c->level + 1);
        print_bucket(c, out);
        return;
    case LS_COMMAND_ROUND:
        ls_text_append(out, "    round sum %d to %s", c->level, ls_wire_names[plan->options.wire]);
        print_bucket(c, out);
        return;
    case LS_COMMAND_SEND:
    case LS_COMMAND_RECV: {
        const ls_channel *ch = &plan->channels[c->channel];
        const int send = c->kind == LS_COMMAND_SEND;
        const char *name = ls_graph_name(plan->graph, ch->value);
        ls_text_append(out, "    %s %s rank %d: ", send ? "send" : "recv", send ? "to" : "from",
                       send ? ch->to : ch->from);
        if (*name)
            ls_text_append(out, "%s", name);
        else
            ls_text_append(out, "%%%d", ch->value);
        ls_text_append(out, " (%zu bytes)", ch->bytes);
        if (c->lane >= 0) ls_text_append(out, " lane %d slot %d", c->lane, c->slot);
        ls_text_append(out, "\n");
        return;
    }
    }
}

static void print_bytes(const ls_plan *plan, const ls_rank_plan *rank, ls_text *out) {
    ls_text_append(out, "  bytes:\n");
    for (int i = 0; i < LS_REGION_COUNT; i++)
        if (i != LS_REGION_KEPT || plan->options.kept)
            ls_text_append(out, "    %-14s %15zu\n", region_names[i], rank->bytes[i]);
    if (rank->overlaid_bytes) /* counted twice above */
        ls_text_append(out, "    %-14s %15lld\n", "overlaid", -(long long)rank->overlaid_bytes);
    ls_text_append(out, "    %-14s %15lld\n", "total",
                   (long long)ls_plan_bytes(plan, rank->stage * plan->n_members));
    ls_text_append(out, "  slots: %d of %zu bytes; lane sums: %d of %zu bytes\n", rank->n_slots,
                   rank->slot_bytes, rank->n_levels, rank->gradient_bytes);
    if (plan->options.kept)
        ls_text_append(out,
                       "  state kept twice: a step reads one buffer of %zu bytes, its updates "
                       "write the other\n",
                       ls_rank_kept_bytes(rank));
}

static ls_status print_kernels(const ls_plan *plan, const ls_rank_plan *rank, ls_text *out) {
    for (int s = 0; s < rank->n_segments; s++) {
        const ls_segment *segment = &rank->segments[s];
        ls_text_append(out, "  kernels of %s:\n", segment_names[segment->kind]);
        for (int64_t i = 0; i < segment->n_nodes; i++) {
            const ls_node *node = &plan->graph->nodes[segment->nodes[i]];
            ls_type *in = ls_alloc(sizeof *in * (size_t)(node->n_in + 1));
            if (!in) return LS_ERR_NO_MEMORY;
            ls_type types[LS_MAX_OUT];
            ls_sig sig;
            ls_node_sig(plan->graph, node, in, types, &sig);
            char shape[128];
            ls_text_append(out, "    %%%d %s %s%s%s%s: ", node->out[0], node->op->name,
                           ls_dtype_name(types[0].dtype), ls_shape_print(&types[0].shape, shape),
                           *node->scope ? " in " : "", node->scope);
            const ls_status status =
                plan->options.reference_kernels
                    ? LS_OK
                    : ls_kernel_explain(&sig, plan->kernel_device, ls_cpu_isa(), out);
            ls_free(in);
            LS_TRY(status);
            ls_text_append(out, "\n");
        }
    }
    return LS_OK;
}

/* "ranks 0 to 1023 (1024)" of one stage: its data-parallel members run the same. */
static void print_stage(const ls_plan *plan, const ls_rank_plan *rank, ls_text *out) {
    const int first = rank->stage * plan->n_members;
    if (plan->n_members == 1)
        ls_text_append(out, "rank %d: stage %d\n", first, rank->stage);
    else
        ls_text_append(out, "ranks %d to %d: stage %d\n", first, first + plan->n_members - 1,
                       rank->stage);
}

/* "mesh: pp 1 x dp 4", and of each axis with several ranks the group that rank 0 is in. */
static void print_mesh(const ls_plan *plan, ls_text *out) {
    ls_text_append(out, "  mesh:");
    for (int a = 0; a < LS_AXIS_COUNT; a++)
        ls_text_append(out, "%s %s %d", a ? " x" : "", ls_axis_names[a],
                       ls_mesh_axis(&plan->mesh, (ls_axis)a));
    ls_text_append(out, "\n");
    for (int a = 0; a < LS_AXIS_COUNT; a++) {
        const int n = ls_mesh_axis(&plan->mesh, (ls_axis)a);
        if (n == 1) continue;
        int *group = ls_alloc(sizeof *group * (size_t)n);
        if (!group) return;
        ls_mesh_group(&plan->mesh, (ls_axis)a, 0, group);
        ls_text_append(out, "  axis %s: %d group%s of %d; rank 0 is with", ls_axis_names[a],
                       ls_plan_ranks(plan) / n, ls_plan_ranks(plan) == n ? "" : "s", n);
        for (int i = 0; i < n; i++) {
            if (n > 10 && i == 8) {
                ls_text_append(out, " ...");
                i = n - 1;
            }
            ls_text_append(out, " %d", group[i]);
        }
        ls_text_append(out, "\n");
        ls_free(group);
    }
}

static void print_fused(const ls_plan *plan, int explain, ls_text *out) {
    const ls_fuse_report *f = &plan->fused;
    if (plan->options.fuse == LS_FUSE_OFF)
        ls_text_append(out, "  fuse: off\n");
    else if (f->n_made == 0)
        ls_text_append(out, "  fuse: no nodes to fuse\n");
    else
        ls_text_append(out, "  fuse: %d nodes run as %d; a lane moves %.0f bytes less\n",
                       f->n_taken, f->n_made, f->bytes_saved);
    if (explain && f->text) ls_text_append(out, "%s", f->text);
}

/* Nothing where there is nothing to lay out. */
static void print_layout(const ls_plan *plan, int explain, ls_text *out) {
    const ls_layout_report *l = &plan->layout;
    if (plan->options.pack == LS_PACKING_OFF)
        ls_text_append(out, "  pack: off\n");
    else if (l->n_forms > 0)
        ls_text_append(out,
                       "  pack: %d weight%s laid out ahead in %d form%s of this machine's level, "
                       "%s: %lld bytes; a step packs %.0f bytes of weights instead of %.0f\n",
                       l->n_weights, l->n_weights == 1 ? "" : "s", l->n_forms,
                       l->n_forms == 1 ? "" : "s", ls_isa_name(ls_cpu_isa()), (long long)l->bytes,
                       l->after, l->before);
    if (explain && l->text) ls_text_append(out, "%s", l->text);
}

static void print_choice(const ls_recompute_report *r, ls_text *out) {
    ls_text_append(out, "  recompute: %s (auto)", recompute_names[r->kind]);
    if (r->n_nodes && r->kind == LS_RECOMPUTE_NONE)
        ls_text_append(out, ": cheap would run %d nodes again in a lane and spare %lld bytes",
                       r->n_nodes, (long long)r->bytes);
    else if (r->n_nodes)
        ls_text_append(out, ": %d nodes run again in a lane: %lld bytes are not kept", r->n_nodes,
                       (long long)r->bytes);
    if (r->n_nodes)
        ls_text_append(out, ", %.2f a parameter; a lane does %.0f operations an element of theirs",
                       (double)r->bytes / (double)r->n_parameters, r->flops / (double)r->elements);
    ls_text_append(out, "\n");
}

static void print_recompute(const ls_plan *plan, ls_text *out) {
    const ls_recompute_report *r = &plan->again;
    if (plan->options.mode != LS_PLAN_TRAIN) return;
    if (plan->options.recompute == LS_RECOMPUTE_AUTO)
        print_choice(r, out);
    else if (r->n_nodes)
        ls_text_append(out,
                       "  recompute: %s: %d nodes run again in a lane: %lld bytes are not kept\n",
                       recompute_names[r->kind], r->n_nodes, (long long)r->bytes);
}

/* Nothing where a lane reads no copies made once a step or made anew. */
static void print_copies(const ls_plan *plan, ls_text *out) {
    const ls_copies_report *c = &plan->copies;
    if (c->n_weights > 0)
        ls_text_append(out,
                       "  cast_weights: use: copies of %d weights are made %d times a lane, where "
                       "they are read: %lld bytes are not kept\n",
                       c->n_weights, c->n_casts, (long long)c->bytes);
    else if (plan->options.cast_weights == LS_CASTING_USE)
        ls_text_append(out, "  cast_weights: use: no copies that lanes alone read\n");
}

static void print_data_parallel(const ls_plan *plan, ls_text *out) {
    const ls_plan_options *o = &plan->options;
    if (plan->n_members == 1) {
        if (o->zero > 0) ls_text_append(out, "  zero %d: one rank, nothing to cut\n", o->zero);
        return;
    }
    ls_text_append(out, "  zero %d, buckets of %lld bytes%s, %s\n", o->zero,
                   (long long)plan->bucket_bytes, o->bucket_bytes ? "" : " (by the link's cost)",
                   o->hosts > 1 ? "pieces staged for other hosts" : "memory shared by all ranks");
    int64_t pieces = 0;
    for (int64_t v = 0; v < plan->graph->n_values; v++)
        if (plan->graph->values[v].kind == LS_VALUE_PARAM && plan->graph->values[v].piece)
            pieces += plan->graph->values[v].piece;
    if (pieces)
        ls_text_append(out,
                       "  a rank keeps %lld of %lld parameters: of each tensor lanes/ranks = "
                       "%d of %d chunks of whole units of %d\n",
                       (long long)pieces, (long long)plan->n_parameters, o->lanes / plan->n_members,
                       o->lanes, LS_SHARD_UNIT);
}

ls_status ls_plan_print(const ls_plan *plan, int explain, char **text_out) {
    ls_text text = {0};
    const ls_plan_options *o = &plan->options;
    const int n = ls_plan_ranks(plan);
    ls_text_append(&text,
                   "plan: %d rank%s, %d lane%s, precision %s, schedule %s, %d thread%s a "
                   "rank, mode %s, wire %s\n",
                   n, n == 1 ? "" : "s", o->lanes, o->lanes == 1 ? "" : "s",
                   precision_names[o->precision], schedule_names[o->schedule], o->threads,
                   o->threads == 1 ? "" : "s", o->fast ? "fast" : "exact", ls_wire_names[o->wire]);
    print_mesh(plan, &text);
    print_data_parallel(plan, &text);
    print_recompute(plan, &text);
    print_fused(plan, explain, &text);
    print_layout(plan, explain, &text);
    print_copies(plan, &text);
    ls_text_append(&text, "  parameters: %lld\n  flops per step: %.6g\n",
                   (long long)plan->n_parameters, plan->flops_per_step);
    ls_plan_print_head(plan, &text);
    ls_status status = LS_OK;
    for (int r = 0; status == LS_OK && r < plan->n_ranks; r++) {
        const ls_rank_plan *rank = &plan->ranks[r];
        print_stage(plan, rank, &text);
        print_bytes(plan, rank, &text);
        ls_text_append(&text, "  schedule:\n");
        for (int64_t i = 0; i < rank->n_commands; i++)
            print_command(plan, rank, &rank->commands[i], &text);
        ls_plan_print_collectives(plan, rank, &text);
        if (explain) status = print_kernels(plan, rank, &text);
    }
    if (status == LS_OK) status = text.status;
    if (status != LS_OK) {
        ls_text_deinit(&text);
        return status;
    }
    *text_out = text.data;
    return LS_OK;
}

/* Any of these may fail for want of memory: NULL then, with everything handed in released. */
static json_t *bytes_json(const ls_plan *plan, int first, int last) {
    json_t *bytes = json_object();
    int64_t total = 0;
    int failed = bytes == NULL;
    for (int i = 0; !failed && i < LS_REGION_COUNT; i++) {
        int64_t sum = 0;
        if (i == LS_REGION_KEPT && !plan->options.kept) continue;
        for (int r = first; r <= last; r++) sum += (int64_t)plan->ranks[r].bytes[i];
        total += sum;
        failed = json_object_set_new(bytes, region_names[i], json_integer(sum));
    }
    int64_t overlaid = 0; /* counted twice above */
    for (int r = first; r <= last; r++) overlaid += (int64_t)plan->ranks[r].overlaid_bytes;
    if (!failed && overlaid)
        failed = json_object_set_new(bytes, "overlaid", json_integer(-overlaid));
    if (!failed) failed = json_object_set_new(bytes, "total", json_integer(total - overlaid));
    if (!failed) return bytes;
    json_decref(bytes);
    return NULL;
}

static json_t *command_json(const ls_plan *plan, const ls_rank_plan *rank, const ls_command *c) {
    static const char *const names[] = {"feed", "run", "send", "recv", "add", "round"};
    json_t *item =
        json_pack("{s:s, s:i, s:i}", "do", names[c->kind], "lane", c->lane, "slot", c->slot);
    int failed = item == NULL;
    if (!failed && c->kind == LS_COMMAND_RUN)
        failed = json_object_set_new(item, "segment",
                                     json_string(segment_names[rank->segments[c->segment].kind]));
    if (!failed && (c->kind == LS_COMMAND_ADD || c->kind == LS_COMMAND_ROUND))
        failed = json_object_set_new(item, "level", json_integer(c->level));
    if (!failed && (c->kind == LS_COMMAND_SEND || c->kind == LS_COMMAND_RECV))
        failed = json_object_set_new(item, "bytes",
                                     json_integer((json_int_t)plan->channels[c->channel].bytes));
    if (!failed) return item;
    json_decref(item);
    return NULL;
}

static json_t *commands_json(const ls_plan *plan, const ls_rank_plan *rank) {
    json_t *list = json_array();
    int failed = list == NULL;
    for (int64_t i = 0; !failed && i < rank->n_commands; i++)
        failed = json_array_append_new(list, command_json(plan, rank, &rank->commands[i]));
    if (!failed) return list;
    json_decref(list);
    return NULL;
}

static json_t *rank_json(const ls_plan *plan, int r) {
    const ls_rank_plan *rank = &plan->ranks[r];
    json_t *item = json_pack("{s:i, s:i, s:i, s:i}", "rank", r, "stage", rank->stage, "slots",
                             rank->n_slots, "sums", rank->n_levels);
    int failed = item == NULL;
    if (!failed) failed = json_object_set_new(item, "bytes", bytes_json(plan, r, r));
    if (!failed) failed = json_object_set_new(item, "schedule", commands_json(plan, rank));
    if (!failed) failed = json_object_set_new(item, "members", json_integer(plan->n_members));
    if (!failed)
        failed = json_object_set_new(item, "collectives", ls_plan_collectives_json(plan, rank));
    if (!failed) return item;
    json_decref(item);
    return NULL;
}

/* Bytes packed a step by one rank, with the pass and without. */
static json_t *layout_json(const ls_layout_report *l) {
    return json_pack("{s:i, s:i, s:I, s:f, s:f}", "weights", l->n_weights, "forms", l->n_forms,
                     "bytes", (json_int_t)l->bytes, "packed_a_step", l->after, "packed_without",
                     l->before);
}

/* What is made again in a lane, and bytes not kept for that. */
static json_t *recompute_json(const ls_plan *plan) {
    const ls_recompute_report *r = &plan->again;
    return json_pack("{s:s, s:b, s:i, s:I}", "kind", recompute_names[r->kind], "auto",
                     plan->options.recompute == LS_RECOMPUTE_AUTO, "nodes",
                     r->kind == LS_RECOMPUTE_NONE ? 0 : r->n_nodes, "bytes",
                     r->kind == LS_RECOMPUTE_NONE ? (json_int_t)0 : (json_int_t)r->bytes);
}

/* Made anew where lanes read them, and bytes not kept for that. */
static json_t *copies_json(const ls_copies_report *c) {
    return json_pack("{s:i, s:i, s:I}", "weights", c->n_weights, "casts_a_lane", c->n_casts,
                     "bytes", (json_int_t)c->bytes);
}

static json_t *plan_json(const ls_plan *plan) {
    const ls_plan_options *o = &plan->options;
    json_t *root =
        json_pack("{s:i, s:i, s:i, s:i, s:s, s:s, s:I, s:i, s:s, s:s, s:i, s:I, s:f}", "ranks",
                  ls_plan_ranks(plan), "pp", plan->n_ranks, "dp", plan->n_members, "zero", o->zero,
                  "wire", ls_wire_names[o->wire], "mode", o->fast ? "fast" : "exact",
                  "bucket_bytes", (json_int_t)plan->bucket_bytes, "lanes", o->lanes, "precision",
                  precision_names[o->precision], "schedule", schedule_names[o->schedule], "threads",
                  o->threads, "parameters", (json_int_t)plan->n_parameters, "flops_per_step",
                  plan->flops_per_step);
    json_t *ranks = json_array();
    int failed = root == NULL || ranks == NULL;
    if (!failed)
        failed = json_object_set_new(root, "bytes", bytes_json(plan, 0, plan->n_ranks - 1));
    if (!failed && o->kept) failed = json_object_set_new(root, "kept", json_true());
    if (!failed && plan->again.n_nodes)
        failed = json_object_set_new(root, "recompute", recompute_json(plan));
    if (!failed && plan->layout.n_forms)
        failed = json_object_set_new(root, "pack", layout_json(&plan->layout));
    if (!failed && plan->copies.n_weights)
        failed = json_object_set_new(root, "cast_weights", copies_json(&plan->copies));
    for (int r = 0; !failed && r < plan->n_ranks; r++)
        failed = json_array_append_new(ranks, rank_json(plan, r));
    if (!failed && json_object_set(root, "per_rank", ranks) == 0) {
        json_decref(ranks);
        return root;
    }
    json_decref(ranks);
    json_decref(root);
    return NULL;
}

ls_status ls_plan_print_json(const ls_plan *plan, char **text_out) {
    const int64_t refused = ls_alloc_n_refused();
    json_t *root = plan_json(plan);
    /* jansson keeps quiet about some refused allocations */
    if (!root || ls_alloc_n_refused() != refused) {
        json_decref(root);
        return LS_FAIL(LS_ERR_NO_MEMORY, "plan: out of memory while printing JSON");
    }
    const ls_status status = ls_json_dump(root, JSON_INDENT(2), text_out, NULL);
    json_decref(root);
    return status;
}
