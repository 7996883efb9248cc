/* Help texts, made of the verb tables. */
#include "cli/cli.h"
#include <string.h>

enum { NAME_COLUMN = 26 };

static void write_row(ls_text *text, const char *name, const char *help) {
    ls_text_append(text, "  %-*s %s\n", NAME_COLUMN, name, help);
}

static void write_option(ls_text *text, const ls_cli_option *option) {
    char name[96];
    const int optional = option->type == LS_CLI_OPTIONAL;
    (void)snprintf(name, sizeof name, "%s%c%s --%s%s%s%s", option->letter ? "-" : " ",
                   option->letter ? option->letter : ' ', option->letter ? "," : " ", option->name,
                   optional        ? "[="
                   : option->value ? " "
                                   : "",
                   option->value ? option->value : "", optional ? "]" : "");
    write_row(text, name, option->help);
}

static void write_usage(const ls_cli_path *path, ls_text *text) {
    const ls_cmd *cmd = path->cmd;
    const char *words = cmd->actions ? "ACTION" : cmd->usage ? cmd->usage : "";
    ls_text_append(text, "usage: lockstep %s [OPTIONS]%s%s\n", path->name, *words ? " " : "",
                   words);
}

static void write_program(ls_text *text) {
    ls_text_append(
        text, "usage: lockstep VERB [OPTIONS] [ARGUMENTS]\n"
              "Trains, evaluates and runs models; every run is a plan that can be printed first.\n"
              "\nverbs:\n");
    for (int i = 0; i < ls_cli_n_verbs; i++)
        write_row(text, ls_cli_verbs[i].name, ls_cli_verbs[i].help);
    ls_text_append(text,
                   "\n`lockstep help VERB` and `lockstep VERB --help` explain a verb; `lockstep "
                   "--version` names this build.\n");
}

static void write_arguments(const ls_cmd *cmd, ls_text *text) {
    if (!cmd->arguments && !cmd->takes_config) return;
    int says_key = 0;
    ls_text_append(text, "\narguments:\n");
    for (const ls_cli_argument *argument = cmd->arguments; argument && argument->name; argument++) {
        write_row(text, argument->name, argument->help);
        says_key |= strcmp(argument->name, "KEY=VALUE") == 0;
    }
    if (cmd->takes_config && !says_key)
        write_row(text, "KEY=VALUE", "sets a configuration key, after the file");
}

ls_status ls_cli_write_help(const ls_cli_path *path, ls_text *text) {
    if (!path->cmd) {
        write_program(text);
        return text->status;
    }
    ls_cli_option *options;
    LS_TRY(ls_cli_all_options(path->cmd, &options));
    write_usage(path, text);
    ls_text_append(text, "%s: %s\n", path->name, path->help);
    if (path->cmd->about) ls_text_append(text, "\n%s\n", path->cmd->about);
    if (path->cmd->actions) ls_text_append(text, "\nactions:\n");
    for (const ls_cmd *const *action = path->cmd->actions; action && *action; action++)
        write_row(text, (*action)->name, (*action)->help);
    write_arguments(path->cmd, text);
    ls_text_append(text, "\noptions:\n");
    for (const ls_cli_option *option = options; option->name; option++) write_option(text, option);
    ls_free(options);
    return text->status;
}
