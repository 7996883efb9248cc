/* lockstep help: help texts, and the files an installation makes of the same tables. */
#include "cli/cli.h"
#include <string.h>

typedef struct help_options {
    int man, errors;
    const char *completion;
} help_options;

static const ls_cli_option options[] = {
    {"man", 0, LS_CLI_FLAG, offsetof(help_options, man), NULL, "print a man page instead", 0, 0},
    {"completion", 0, LS_CLI_STRING, offsetof(help_options, completion), "SHELL",
     "print the completion script for bash or zsh", 0, 0},
    {"errors", 0, LS_CLI_FLAG, offsetof(help_options, errors), NULL,
     "print the table of statuses as Markdown", 0, 0},
    {0},
};

static ls_status write_completion(const char *shell, ls_text *text) {
    if (strcmp(shell, "bash") == 0) return ls_cli_write_bash_completion(text);
    if (strcmp(shell, "zsh") == 0) return ls_cli_write_zsh_completion(text);
    return LS_FAIL(LS_ERR_INVALID, "help: --completion wants bash or zsh, found '%s'", shell);
}

static ls_status write_errors(ls_text *text) {
    ls_text_append(text, "| status | exit | words |\n|---|---|---|\n");
#define ERROR_ROW(name, exit_code, words) \
    ls_text_append(text, "| `LS_ERR_" #name "` | %d | %s |\n", exit_code, words);
    LS_STATUS_MAP(ERROR_ROW)
#undef ERROR_ROW
    return text->status;
}

static ls_status write_text(const ls_cmd_call *call, ls_text *text) {
    const help_options *own = call->options;
    if (own->errors) return write_errors(text);
    if (own->completion) return write_completion(own->completion, text);
    ls_cli_path path;
    int n_used;
    LS_TRY(ls_cli_find(call->args, call->n_args, &path, &n_used));
    if (n_used < call->n_args)
        return LS_FAIL(LS_ERR_INVALID, "help: '%s' has no action '%s'", path.name,
                       call->args[n_used]);
    return own->man ? ls_cli_write_man(&path, text) : ls_cli_write_help(&path, text);
}

static ls_status run_help(const ls_cmd_call *call) {
    ls_text text = {0};
    ls_status status = write_text(call, &text);
    if (status == LS_OK) status = text.status;
    if (status == LS_OK) (void)fwrite(text.data, 1, text.size, call->out);
    ls_text_deinit(&text);
    return status;
}

static const ls_cli_argument arguments[] = {
    {"VERB", "the verb to explain"},
    {"ACTION", "an action of that verb"},
    {0},
};

const ls_cmd ls_cmd_help = {
    .usage = "[VERB [ACTION]]",
    .arguments = arguments,
    .max_args = 2,
    .options = options,
    .options_bytes = sizeof(help_options),
    .run = run_help,
};
