/* Man pages in roff, made of the verb tables: lockstep(1), lockstep-train(1), lockstep-checkpoint(1) with its actions. */
#include "cli/cli.h"
#include <ctype.h>
#include <string.h>

/* roff takes a leading dot or quote as a request and a backslash as an escape; a bare '-' prints as a hyphen that
 * cannot be searched for. */
static void write_escaped(ls_text *text, const char *words) {
    int at_line_start = 1;
    for (; *words; words++) {
        if (at_line_start && (*words == '.' || *words == '\'')) ls_text_append(text, "\\&");
        if (*words == '\\' || *words == '-')
            ls_text_append(text, *words == '-' ? "\\-" : "\\e");
        else
            ls_text_append_bytes(text, words, 1);
        at_line_start = *words == '\n';
    }
}

static void write_tagged(ls_text *text, const char *name, const char *value, const char *help) {
    ls_text_append(text, ".TP\n\\fB");
    write_escaped(text, name);
    ls_text_append(text, "\\fR");
    if (value) ls_text_append(text, " \\fI%s\\fR", value);
    ls_text_append(text, "\n");
    write_escaped(text, help);
    ls_text_append(text, "\n");
}

static void write_options(ls_text *text, const ls_cli_option *options) {
    for (const ls_cli_option *option = options; option->name; option++) {
        char name[96];
        if (option->letter)
            (void)snprintf(name, sizeof name, "-%c, --%s", option->letter, option->name);
        else
            (void)snprintf(name, sizeof name, "--%s", option->name);
        write_tagged(text, name, option->value, option->help);
    }
}

static void write_heading(ls_text *text, const char *page, const char *name, const char *help) {
    ls_text_append(text, ".TH ");
    for (const char *letter = page; *letter; letter++)
        ls_text_append(text, "%c", toupper((unsigned char)*letter));
    ls_text_append(text, " 1 \"\" \"lockstep %s\" \"Lockstep\"\n.SH NAME\n", LS_VERSION);
    write_escaped(text, name);
    ls_text_append(text, " \\- ");
    write_escaped(text, help);
    ls_text_append(text, "\n");
}

static ls_status write_body(ls_text *text, const ls_cli_path *path) {
    const ls_cmd *cmd = path->cmd;
    ls_cli_option *options;
    LS_TRY(ls_cli_all_options(cmd, &options));
    ls_text_append(text, ".SH SYNOPSIS\n\\fBlockstep %s\\fR [OPTIONS] ", path->name);
    write_escaped(text, cmd->actions ? "ACTION" : cmd->usage ? cmd->usage : "");
    ls_text_append(text, "\n");
    if (cmd->about) {
        ls_text_append(text, ".SH DESCRIPTION\n");
        write_escaped(text, cmd->about);
        ls_text_append(text, "\n");
    }
    if (cmd->arguments) ls_text_append(text, ".SH ARGUMENTS\n");
    for (const ls_cli_argument *argument = cmd->arguments; argument && argument->name; argument++)
        write_tagged(text, argument->name, NULL, argument->help);
    if (cmd->actions) ls_text_append(text, ".SH ACTIONS\n");
    for (const ls_cmd *const *action = cmd->actions; action && *action; action++)
        write_tagged(text, (*action)->name, (*action)->usage, (*action)->help);
    ls_text_append(text, ".SH OPTIONS\n");
    write_options(text, options);
    ls_free(options);
    return text->status;
}

static void write_exit_statuses(ls_text *text) {
    ls_text_append(text, ".SH EXIT STATUS\n");
    for (int i = 0; i < LS_STATUS_COUNT; i++) {
        char number[16];
        (void)snprintf(number, sizeof number, "%d", ls_status_exit_code((ls_status)i));
        write_tagged(text, number, NULL, ls_status_words((ls_status)i));
    }
}

static void write_program(ls_text *text) {
    write_heading(text, "lockstep", "lockstep",
                  "train and run large models; the plan is the program");
    ls_text_append(text, ".SH SYNOPSIS\n\\fBlockstep\\fR VERB [OPTIONS] [ARGUMENTS]\n.SH VERBS\n");
    for (int i = 0; i < ls_cli_n_verbs; i++)
        write_tagged(text, ls_cli_verbs[i].name, NULL, ls_cli_verbs[i].help);
    write_exit_statuses(text);
}

ls_status ls_cli_write_man(const ls_cli_path *path, ls_text *text) {
    if (!path->cmd) {
        write_program(text);
        return text->status;
    }
    char page[80];
    (void)snprintf(page, sizeof page, "lockstep-%s", path->name);
    for (char *letter = page; *letter; letter++)
        if (*letter == ' ') *letter = '-';
    write_heading(text, page, page, path->help);
    return write_body(text, path);
}
