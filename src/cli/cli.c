/* Finds the verb, runs it, and turns its status into the error line and the exit status. */
#include "cli/cli.h"
#include "base/config.h"
#include "base/log.h"
#include <errno.h>
#include <string.h>

#define LS_CMD(name, help) extern const ls_cmd ls_cmd_##name;
#include "cli/cmd.def"
#undef LS_CMD

const ls_cli_verb ls_cli_verbs[] = {
#define LS_CMD(name, help) {#name, help, &ls_cmd_##name},
#include "cli/cmd.def"
#undef LS_CMD
};
const int ls_cli_n_verbs = sizeof ls_cli_verbs / sizeof ls_cli_verbs[0];

enum { MOST_NAMES = 64 };

/* The nearest name, or the first that the word begins: "vers" for "version". */
static const char *suggest(const char *word, const char *const *names, int n_names) {
    const char *near = ls_nearest_name(word, names, n_names);
    for (int i = 0; !near && *word && i < n_names; i++)
        if (strncmp(word, names[i], strlen(word)) == 0) near = names[i];
    return near;
}

static ls_status fail_unknown(const char *kind, const char *word, const char *owner,
                              const char *const *names, int n_names) {
    const char *near = suggest(word, names, n_names);
    if (near)
        return LS_FAIL(LS_ERR_INVALID, "%s '%s' is not known; did you mean '%s'?", kind, word,
                       near);
    return LS_FAIL(LS_ERR_INVALID, "%s '%s' is not known; see `lockstep help%s%s`", kind, word,
                   *owner ? " " : "", owner);
}

/* "inspect" for "checkpoint inspect". */
static ls_status fail_unknown_verb(const char *word, const char *const *names, int n_names) {
    for (int i = 0; i < ls_cli_n_verbs; i++) {
        const ls_cmd *const *action = ls_cli_verbs[i].cmd->actions;
        for (; action && *action; action++)
            if (strcmp(word, (*action)->name) == 0)
                return LS_FAIL(LS_ERR_INVALID, "verb '%s' is not known; did you mean '%s %s'?",
                               word, ls_cli_verbs[i].name, word);
    }
    return fail_unknown("verb", word, "", names, n_names);
}

static ls_status find_verb(const char *word, ls_cli_path *path) {
    const char *names[MOST_NAMES];
    int n_names = 0;
    for (int i = 0; i < ls_cli_n_verbs; i++) {
        const ls_cli_verb *verb = &ls_cli_verbs[i];
        if (n_names < MOST_NAMES) names[n_names++] = verb->name;
        if (strcmp(word, verb->name) != 0) continue;
        *path = (ls_cli_path){verb->cmd, verb->help, {0}};
        (void)snprintf(path->name, sizeof path->name, "%s", verb->name);
        return LS_OK;
    }
    return fail_unknown_verb(word, names, n_names);
}

static ls_status find_action(const char *word, ls_cli_path *path) {
    const char *names[MOST_NAMES];
    int n_names = 0;
    for (const ls_cmd *const *action = path->cmd->actions; *action; action++) {
        if (n_names < MOST_NAMES) names[n_names++] = (*action)->name;
        if (strcmp(word, (*action)->name) != 0) continue;
        const size_t used = strlen(path->name);
        (void)snprintf(path->name + used, sizeof path->name - used, " %s", word);
        path->cmd = *action;
        path->help = (*action)->help;
        return LS_OK;
    }
    char kind[96];
    (void)snprintf(kind, sizeof kind, "%s: action", path->name);
    return fail_unknown(kind, word, path->name, names, n_names);
}

ls_status ls_cli_find(const char *const *words, int n_words, ls_cli_path *out, int *n_used_out) {
    ls_cli_path path = {0};
    int n_used = 0;
    if (n_words > 0) {
        LS_TRY(find_verb(words[n_used++], &path));
        while (path.cmd->actions && n_used < n_words && words[n_used][0] != '-')
            LS_TRY(find_action(words[n_used++], &path));
    }
    *out = path;
    *n_used_out = n_used;
    return LS_OK;
}

ls_status ls_cli_print_json(const ls_cmd_call *call, json_t *value) {
    if (!value) return LS_FAIL(LS_ERR_NO_MEMORY, "out of memory while building the JSON answer");
    char *text;
    const ls_status status = ls_json_dump(value, 0, &text, NULL);
    json_decref(value);
    LS_TRY(status);
    (void)fprintf(call->out, "%s\n", text); /* a full disk shows when the frame closes the stream */
    ls_free(text);
    return LS_OK;
}

static ls_status print_text(ls_status made, ls_text *text) {
    if (made == LS_OK) made = text->status;
    if (made == LS_OK) (void)fwrite(text->data, 1, text->size, stdout);
    ls_text_deinit(text);
    return made;
}

static ls_status print_help(const ls_cli_path *path) {
    ls_text text = {0};
    const ls_status status = ls_cli_write_help(path, &text);
    return print_text(status, &text);
}

static ls_status fail_without_action(const ls_cli_path *path) {
    char names[256] = "";
    for (const ls_cmd *const *action = path->cmd->actions; *action; action++) {
        const size_t used = strlen(names);
        (void)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "",
                       (*action)->name);
    }
    return LS_FAIL(LS_ERR_INVALID, "%s: an action is missing; see `lockstep help %s` (%s)",
                   path->name, path->name, names);
}

static ls_status run_path(const ls_cli_path *path, int argc, char **argv, int *exit_status) {
    ls_cli_parsed parsed;
    LS_TRY(ls_cli_parse(path, argc, argv, &parsed));
    parsed.call.exit_status = exit_status;
    if (parsed.common->verbose) ls_log_set_level(LS_LOG_DEBUG);
    if (parsed.common->quiet) ls_log_set_level(LS_LOG_WARN);
    ls_status status;
    if (parsed.common->help)
        status = print_help(path);
    else if (path->cmd->actions)
        status = fail_without_action(path);
    else
        status = path->cmd->run(&parsed.call);
    ls_cli_parsed_deinit(&parsed);
    return status;
}

/* What does not reach standard output (a full disk, a closed pipe) is a failure of the verb. */
static ls_status close_output(ls_status status) {
    const int failed = ferror(stdout);
    const int closed = fflush(stdout);
    if (status != LS_OK || (!failed && closed == 0)) return status;
    return LS_FAIL(errno == ENOSPC ? LS_ERR_NO_SPACE : LS_ERR_IO,
                   "standard output could not be written: %s", strerror(errno));
}

static void print_json_error(ls_status status, const char *message) {
    json_t *error = json_pack("{s:{s:s,s:i,s:s}}", "error", "status", ls_status_words(status),
                              "exit", ls_status_exit_code(status), "message", message);
    char *text = NULL;
    if (error && ls_json_dump(error, 0, &text, NULL) == LS_OK) (void)fprintf(stdout, "%s\n", text);
    (void)fflush(stdout);
    ls_free(text);
    json_decref(error);
}

static void print_error(ls_status status, int json) {
    const char *message = ls_error_message();
    if (!*message) message = ls_status_words(status);
    (void)fprintf(stderr, "lockstep: error: %s\n", message);
    if (json) print_json_error(status, message);
}

/* --json counts even where the rest of the line cannot be parsed, so that a script gets the error it asked for. */
static int wants_json(int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0) return 1;
    return 0;
}

int ls_cli_main(int argc, char **argv) {
    char help_verb[] = "help", version_verb[] = "version", program[] = "lockstep";
    char *alone[] = {program, help_verb, NULL};
    if (argc < 2) {
        argc = 2;
        argv = alone;
    }
    if (strcmp(argv[1], "--version") == 0) argv[1] = version_verb;
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) argv[1] = help_verb;
    const int json = wants_json(argc, argv);
    ls_cli_path path;
    int n_used, exit_status = 0;
    ls_status status = ls_cli_find((const char *const *)argv + 1, argc - 1, &path, &n_used);
    if (status == LS_OK) status = run_path(&path, argc - n_used, argv + n_used, &exit_status);
    const ls_status closed = close_output(status);
    if (closed != LS_OK) print_error(closed, json);
    return exit_status && closed == status ? exit_status : ls_status_exit_code(closed);
}
