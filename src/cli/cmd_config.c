/* lockstep config: every key with its value and where it came from. */
#include "cli/run_options.h"

static ls_status run_show(const ls_cmd_call *call) {
    ls_train_config config;
    ls_config *values = NULL;
    char *text = NULL;
    json_t *list = NULL;
    LS_TRY(ls_cli_load_config(call, &config, &values));
    ls_status status =
        call->json ? ls_config_to_json(values, &list) : ls_config_print(values, &text);
    if (status == LS_OK && call->json) status = ls_cli_print_json(call, list);
    if (status == LS_OK && text) fputs(text, call->out);
    ls_free(text);
    ls_config_destroy(values);
    return status;
}

static ls_status run_docs(const ls_cmd_call *call) {
    char *text = NULL;
    LS_TRY(ls_train_config_document(&text));
    fputs(text, call->out);
    ls_free(text);
    return LS_OK;
}

static const ls_cmd show_action = {.name = "show",
                                   .help = "print each key, its value and its origin",
                                   .usage = "[CONFIG] [KEY=VALUE...]",
                                   .max_args = 1,
                                   .takes_config = 1,
                                   .has_json = 1,
                                   .run = run_show};
static const ls_cmd docs_action = {
    .name = "docs", .help = "print the reference of all keys as Markdown", .run = run_docs};
static const ls_cmd *const actions[] = {&show_action, &docs_action, NULL};

const ls_cmd ls_cmd_config = {.about = "Values come from defaults, the file, the environment "
                                       "(LOCKSTEP_...) and the command line; later ones win.",
                              .actions = actions};
