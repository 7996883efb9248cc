/* lockstep plan: what a run will do and hold, before it does. */
#include <string.h>

#include "base/fs.h"
#include "cli/plan_prediction.h"
#include "cli/run_options.h"
#include "lockstep/graph.h"
#include "train/saving.h"

typedef struct plan_options {
    int explain;
    const char *graph, *dot, *svg, *machine;
} plan_options;

static ls_status write_text(const char *path, ls_status (*print)(const ls_graph *, char **),
                            const ls_graph *graph) {
    char *text = NULL;
    if (!path) return LS_OK;
    LS_TRY(print(graph, &text));
    const ls_status status = ls_file_write_atomic(path, text, strlen(text));
    ls_free(text);
    return status;
}

typedef struct save_bytes {
    int64_t all,
        most;     /* of a checkpoint: written by all ranks together, by the rank that writes most */
    int64_t copy; /* memory of each rank for saves in the background */
} save_bytes;

static ls_status count_save(const ls_train_config *config, const ls_plan *plan, save_bytes *out) {
    *out = (save_bytes){.copy = ls_saving_bytes(config, plan, 0)};
    for (int rank = 0; rank < ls_plan_ranks(plan); rank++) {
        const int64_t bytes = ls_ckpt_snapshot_bytes(plan, rank);
        if (bytes < 0) return LS_ERR_NO_MEMORY;
        out->all += bytes;
        if (bytes > out->most) out->most = bytes;
    }
    return LS_OK;
}

/* The training plan's JSON with bytes.total raised by what evaluation and saves in the background add: what the run allocates. */
static ls_status print_json(const ls_cmd_call *call, const ls_plan_times *times,
                            const ls_plan *eval, const save_bytes *save) {
    const ls_plan *train = times->plan;
    char *text = NULL;
    json_t *root = NULL;
    LS_TRY(ls_plan_print_json(train, &text));
    const ls_status status = ls_json_parse(text, strlen(text), "plan", &root);
    ls_free(text);
    LS_TRY(status);
    json_t *bytes = json_object_get(root, "bytes");
    const int64_t total = ls_train_planned_bytes(train, eval);
    if (json_object_set_new(bytes, "evaluation", json_integer(total - ls_plan_bytes(train, 0))) ||
        json_object_set_new(bytes, "save_copy", json_integer(save->copy)) ||
        json_object_set_new(bytes, "total", json_integer(total + save->copy)) ||
        json_object_set_new(root, "save",
                            json_pack("{s:I,s:I}", "bytes", (json_int_t)save->all, "rank_bytes",
                                      (json_int_t)save->most))) {
        json_decref(root);
        root = NULL;
    }
    const ls_status predicted = root ? ls_plan_times_json(times, root) : LS_OK;
    if (predicted == LS_OK) return ls_cli_print_json(call, root);
    json_decref(root);
    return predicted;
}

static ls_status print_text(const ls_cmd_call *call, const ls_plan_times *times,
                            const ls_plan *eval, const save_bytes *save) {
    const int explain = ((const plan_options *)call->options)->explain;
    const ls_plan *train = times->plan;
    char *text = NULL;
    LS_TRY(ls_plan_print(train, explain, &text));
    fputs(text, call->out);
    ls_free(text);
    const int64_t total = ls_train_planned_bytes(train, eval), own = ls_plan_bytes(train, 0);
    if (eval)
        fprintf(call->out, "evaluation (shares the weights): %lld bytes\n",
                (long long)(total - own));
    if (save->copy)
        fprintf(call->out, "copy of the state for saves in the background: %lld bytes\n",
                (long long)save->copy);
    fprintf(call->out, "total: %lld bytes\n", (long long)(total + save->copy));
    fprintf(call->out, "a save writes: %lld bytes, a rank at most %lld of them\n",
            (long long)save->all, (long long)save->most);
    return ls_plan_times_print(times, call->out);
}

static ls_status run_plan(const ls_cmd_call *call) {
    const plan_options *o = call->options;
    ls_train_config config;
    ls_config *values = NULL;
    ls_plan *train = NULL, *eval = NULL;
    LS_TRY(ls_cli_load_config(call, &config, &values));
    ls_status status = ls_train_plan(&config, &train, &eval);
    if (status == LS_OK) status = write_text(o->graph, ls_graph_print, ls_plan_graph(train));
    if (status == LS_OK) status = write_text(o->dot, ls_graph_print_dot, ls_plan_graph(train));
    if (status == LS_OK) status = write_text(o->svg, ls_graph_print_svg, ls_plan_graph(train));
    save_bytes save;
    if (status == LS_OK) status = count_save(&config, train, &save);
    if (status == LS_OK) {
        const ls_plan_times times = {&config, train, o->machine, (double)save.most};
        status = call->json ? print_json(call, &times, eval, &save)
                            : print_text(call, &times, eval, &save);
    }
    ls_plan_destroy(train);
    ls_plan_destroy(eval);
    ls_config_destroy(values);
    return status;
}

#define FILE_OPTION(member, words)                                                        \
    {                                                                                     \
        .name = #member, .type = LS_CLI_STRING, .offset = offsetof(plan_options, member), \
        .value = "FILE", .help = words                                                    \
    }
static const ls_cli_option options[] = {
    {.name = "explain",
     .letter = 'e',
     .type = LS_CLI_FLAG,
     .offset = offsetof(plan_options, explain),
     .help = "also the kernel of every op, and why others were refused"},
    FILE_OPTION(graph, "write the graph after all passes as text"),
    FILE_OPTION(dot, "write the graph for Graphviz"),
    FILE_OPTION(svg, "write the graph as a picture"),
    FILE_OPTION(machine, "predict times from this profile (of any machine; see lockstep bench)"),
    {0},
};

const ls_cmd ls_cmd_plan = {
    .usage = "CONFIG [KEY=VALUE...]",
    .about = "Parameters, FLOPs, bytes by kind and the schedule of a run, from the very graph, "
             "allocator and schedule that will\n"
             "run. Nothing is allocated or computed. The total equals what `train` allocates "
             "(train --json: allocated_bytes).\n"
             "With a machine profile (`lockstep bench` makes one) also the time of a step, by kind "
             "of node.",
    .min_args = 1,
    .max_args = 1,
    .takes_config = 1,
    .has_json = 1,
    .options = options,
    .options_bytes = sizeof(plan_options),
    .run = run_plan,
};
