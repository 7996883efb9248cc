/* lockstep plan: what a run will do and hold, before it does. */
#include <string.h>

#include "base/fs.h"
#include "cli/run_options.h"
#include "lockstep/graph.h"

typedef struct plan_options {
    int explain;
    const char *graph, *dot, *svg;
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

/* The training plan's JSON with bytes.total raised by what evaluation adds: what the run allocates. */
static ls_status print_json(const ls_cmd_call *call, const ls_plan *train, const ls_plan *eval) {
    char *text = NULL;
    json_t *root = NULL;
    LS_TRY(ls_plan_print_json(train, &text));
    const ls_status status = ls_json_parse(text, strlen(text), "plan", &root);
    ls_free(text);
    LS_TRY(status);
    json_t *bytes = json_object_get(root, "bytes");
    const int64_t total = ls_train_planned_bytes(train, eval);
    if (json_object_set_new(bytes, "evaluation", json_integer(total - ls_plan_bytes(train, 0))) ||
        json_object_set_new(bytes, "total", json_integer(total))) {
        json_decref(root);
        root = NULL;
    }
    return ls_cli_print_json(call, root);
}

static ls_status print_text(const ls_cmd_call *call, const ls_plan *train, const ls_plan *eval,
                            int explain) {
    char *text = NULL;
    LS_TRY(ls_plan_print(train, explain, &text));
    fputs(text, call->out);
    ls_free(text);
    const int64_t total = ls_train_planned_bytes(train, eval), own = ls_plan_bytes(train, 0);
    if (eval)
        fprintf(call->out, "evaluation (shares the weights): %lld bytes\n",
                (long long)(total - own));
    fprintf(call->out, "total: %lld bytes\n", (long long)total);
    return LS_OK;
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
    if (status == LS_OK)
        status =
            call->json ? print_json(call, train, eval) : print_text(call, train, eval, o->explain);
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
    {0},
};

const ls_cmd ls_cmd_plan = {
    .usage = "CONFIG [KEY=VALUE...]",
    .about = "Parameters, FLOPs, bytes by kind and the schedule of a run, from the very graph, "
             "allocator and schedule that will\n"
             "run. Nothing is allocated or computed. The total equals what `train` allocates "
             "(train --json: allocated_bytes).",
    .min_args = 1,
    .max_args = 1,
    .takes_config = 1,
    .has_json = 1,
    .options = options,
    .options_bytes = sizeof(plan_options),
    .run = run_plan,
};
