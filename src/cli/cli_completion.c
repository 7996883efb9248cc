/* Completion scripts for bash and zsh, made of the verb tables. */
#include "cli/cli.h"

static ls_status write_words(ls_text *text, const char *name, const ls_cmd *cmd) {
    ls_cli_option *options;
    LS_TRY(ls_cli_all_options(cmd, &options));
    ls_text_append(text, "        %s) candidates=\"", name);
    for (const ls_cmd *const *action = cmd->actions; action && *action; action++)
        ls_text_append(text, "%s ", (*action)->name);
    for (const ls_cli_option *option = options; option->name; option++)
        ls_text_append(text, "%s--%s", option == options ? "" : " ", option->name);
    ls_text_append(text, "\" ;;\n");
    ls_free(options);
    return text->status;
}

static ls_status write_cases(ls_text *text) {
    for (int i = 0; i < ls_cli_n_verbs; i++) {
        const ls_cmd *cmd = ls_cli_verbs[i].cmd;
        LS_TRY(write_words(text, ls_cli_verbs[i].name, cmd));
        for (const ls_cmd *const *action = cmd->actions; action && *action; action++) {
            char name[96];
            (void)snprintf(name, sizeof name, "\"%s %s\"", ls_cli_verbs[i].name, (*action)->name);
            LS_TRY(write_words(text, name, *action));
        }
    }
    return text->status;
}

static void write_verbs(ls_text *text) {
    for (int i = 0; i < ls_cli_n_verbs; i++)
        ls_text_append(text, "%s%s", i ? " " : "", ls_cli_verbs[i].name);
}

ls_status ls_cli_write_bash_completion(ls_text *text) {
    ls_text_append(text,
                   "# bash completion of lockstep, made by `lockstep help --completion bash`\n"
                   "_lockstep() {\n"
                   "    local current=${COMP_WORDS[COMP_CWORD]} candidates=\"\"\n"
                   "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                   "        candidates=\"");
    write_verbs(text);
    ls_text_append(text,
                   " --help --version\"\n"
                   "    else\n"
                   "        _lockstep_words \"${COMP_WORDS[1]} ${COMP_WORDS[2]}\"\n"
                   "        [ -n \"$candidates\" ] && [ \"$COMP_CWORD\" -gt 2 ] || _lockstep_words "
                   "\"${COMP_WORDS[1]}\"\n"
                   "    fi\n"
                   "    COMPREPLY=($(compgen -W \"$candidates\" -- \"$current\"))\n"
                   "}\n"
                   "_lockstep_words() {\n"
                   "    case $1 in\n");
    LS_TRY(write_cases(text));
    ls_text_append(text, "    esac\n"
                         "}\n"
                         "complete -o default -F _lockstep lockstep\n");
    return text->status;
}

ls_status ls_cli_write_zsh_completion(ls_text *text) {
    ls_text_append(text, "#compdef lockstep\n"
                         "# zsh completion of lockstep, made by `lockstep help --completion zsh`\n"
                         "_lockstep() {\n"
                         "    local candidates\n"
                         "    if (( CURRENT == 2 )); then\n"
                         "        compadd -- ");
    write_verbs(text);
    ls_text_append(text, " --help --version\n"
                         "        return\n"
                         "    fi\n"
                         "    _lockstep_words \"$words[2] $words[3]\"\n"
                         "    [[ -n $candidates && $CURRENT -gt 3 ]] || _lockstep_words "
                         "\"$words[2]\"\n"
                         "    compadd -- ${=candidates}\n"
                         "    _files\n"
                         "}\n"
                         "_lockstep_words() {\n"
                         "    case $1 in\n");
    LS_TRY(write_cases(text));
    ls_text_append(text, "    esac\n"
                         "}\n"
                         "_lockstep \"$@\"\n");
    return text->status;
}
