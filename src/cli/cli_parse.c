/* Parses a verb's command line by its table, with getopt_long. */
#include "base/config.h"
#include "cli/cli.h"
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CODE = 256 /* codes of long options, past every letter */, MOST_OPTIONS = 64 };

static const ls_cli_option common_options[] = {
    {"json", 0, LS_CLI_FLAG, offsetof(ls_cli_common, json), NULL, "print one JSON value", 0, 0},
    {"quiet", 'q', LS_CLI_FLAG, offsetof(ls_cli_common, quiet), NULL,
     "no progress, only warnings and errors", 0, 0},
    {"verbose", 'v', LS_CLI_FLAG, offsetof(ls_cli_common, verbose), NULL,
     "say more on standard error", 0, 0},
    {"help", 'h', LS_CLI_FLAG, offsetof(ls_cli_common, help), NULL,
     "print this help and do nothing", 0, 0},
};
enum { N_COMMON = sizeof common_options / sizeof common_options[0] };

size_t ls_cli_own_offset(void) {
    const size_t align = _Alignof(max_align_t);
    return (sizeof(ls_cli_common) + align - 1) / align * align;
}

ls_status ls_cli_all_options(const ls_cmd *cmd, ls_cli_option **out) {
    int n = 0;
    while (cmd && cmd->options && cmd->options[n].name) n++;
    ls_cli_option *all = ls_alloc((size_t)(n + N_COMMON + 1) * sizeof *all);
    if (!all) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < n; i++) {
        all[i] = cmd->options[i];
        all[i].offset += ls_cli_own_offset();
    }
    for (int i = 0; i < N_COMMON; i++) {
        const int is_json = common_options[i].offset == offsetof(ls_cli_common, json);
        if (!is_json || (cmd && cmd->has_json)) all[n++] = common_options[i];
    }
    *out = all;
    return LS_OK;
}

static ls_status fail_value(const char *where, const ls_cli_option *option, const char *text,
                            const char *kind) {
    if (option->min == 0 && option->max == 0)
        return LS_FAIL(LS_ERR_INVALID, "%s: --%s wants %s, found '%s'", where, option->name, kind,
                       text);
    return LS_FAIL(LS_ERR_INVALID, "%s: --%s wants %s from %.15g to %.15g, found '%s'", where,
                   option->name, kind, option->min, option->max, text);
}

static int in_range(const ls_cli_option *option, double value) {
    return (option->min == 0 && option->max == 0) || (value >= option->min && value <= option->max);
}

static ls_status store_value(const char *where, const ls_cli_option *option, const char *text,
                             char *memory) {
    void *member = memory + option->offset;
    char *end = NULL;
    errno = 0;
    if (option->type == LS_CLI_FLAG) {
        *(int *)member = 1;
    } else if (option->type == LS_CLI_OPTIONAL) {
        *(const char **)member = text ? text : "";
    } else if (option->type == LS_CLI_STRING) {
        *(const char **)member = text;
    } else if (option->type == LS_CLI_INT) {
        const long long value = strtoll(text, &end, 10);
        if (end == text || *end || errno || isspace((unsigned char)*text) ||
            !in_range(option, (double)value))
            return fail_value(where, option, text, "an integer");
        *(int64_t *)member = value;
    } else {
        const double value = strtod(text, &end);
        if (end == text || *end || !isfinite(value) || isspace((unsigned char)*text) ||
            !in_range(option, value))
            return fail_value(where, option, text, "a number");
        *(double *)member = value;
    }
    return LS_OK;
}

/* key=value with a key of the configuration's alphabet: a path such as ./a=b is not one. */
static int is_assignment(const char *text) {
    size_t n = 0;
    while (islower((unsigned char)text[n]) || isdigit((unsigned char)text[n]) || text[n] == '_' ||
           text[n] == '.')
        n++;
    return n > 0 && text[n] == '=' && islower((unsigned char)text[0]);
}

typedef struct ls_cli_parser {
    const ls_cli_path *path;
    const ls_cli_option *options;
    int n_options;
    struct option long_options[MOST_OPTIONS + 1];
    char letters[3 * MOST_OPTIONS + 3];
    char given[MOST_OPTIONS];
    char *memory;
    const char **args, **assignments; /* room for argc each */
    int n_args, n_assignments;
} ls_cli_parser;

/* getopt's tables. The leading "-:" keeps argv's order, whatever POSIXLY_CORRECT says, and tells a missing value apart. */
static void make_getopt_tables(ls_cli_parser *parser) {
    char *letter = parser->letters;
    *letter++ = '-';
    *letter++ = ':';
    for (int i = 0; i < parser->n_options; i++) {
        const ls_cli_option *option = &parser->options[i];
        const int has_value = option->type != LS_CLI_FLAG;
        const int value = option->type == LS_CLI_OPTIONAL ? optional_argument
                          : has_value                     ? required_argument
                                                          : no_argument;
        parser->long_options[i] = (struct option){option->name, value, NULL, FIRST_CODE + i};
        if (!option->letter) continue;
        *letter++ = option->letter;
        if (has_value) *letter++ = ':';
        if (value == optional_argument) *letter++ = ':';
    }
}

static const ls_cli_option *find_option(const ls_cli_parser *parser, int code) {
    for (int i = 0; i < parser->n_options; i++)
        if (code == FIRST_CODE + i || (code > 0 && code == parser->options[i].letter))
            return &parser->options[i];
    return NULL;
}

static ls_status fail_option(const ls_cli_parser *parser, int code, const char *word) {
    const char *where = parser->path->name;
    const ls_cli_option *option = find_option(parser, optopt);
    if (code == ':' && option)
        return LS_FAIL(LS_ERR_INVALID, "%s: --%s wants a value %s", where, option->name,
                       option->value ? option->value : "");
    if (option && option->type == LS_CLI_FLAG)
        return LS_FAIL(LS_ERR_INVALID, "%s: --%s takes no value, found '%s'", where, option->name,
                       word);
    if (word[0] != '-' || word[1] != '-')
        return LS_FAIL(LS_ERR_INVALID, "%s: option '-%c' is not known; see `lockstep help %s`",
                       where, optopt, where);
    const char *names[MOST_OPTIONS];
    char name[64];
    for (int i = 0; i < parser->n_options; i++) names[i] = parser->options[i].name;
    (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
    const char *near = ls_nearest_name(name, names, parser->n_options);
    if (near)
        return LS_FAIL(LS_ERR_INVALID, "%s: option '--%s' is not known; did you mean '--%s'?",
                       where, name, near);
    return LS_FAIL(LS_ERR_INVALID, "%s: option '--%s' is not known; see `lockstep help %s`", where,
                   name, where);
}

static void take_word(ls_cli_parser *parser, const char *word) {
    if (parser->path->cmd->takes_config && is_assignment(word))
        parser->assignments[parser->n_assignments++] = word;
    else
        parser->args[parser->n_args++] = word;
}

static ls_status read_words(ls_cli_parser *parser, int argc, char **argv) {
    optind = 0; /* glibc: start afresh */
    opterr = 0;
    int code;
    while ((code = getopt_long(argc, argv, parser->letters, parser->long_options, NULL)) != -1) {
        if (code == 1) {
            take_word(parser, optarg);
            continue;
        }
        const ls_cli_option *option = code == '?' || code == ':' ? NULL : find_option(parser, code);
        if (!option) return fail_option(parser, code, argv[optind - 1]);
        LS_TRY(store_value(parser->path->name, option, optarg, parser->memory));
        parser->given[option - parser->options] = 1;
    }
    while (optind < argc) take_word(parser, argv[optind++]);
    return LS_OK;
}

static int is_in_list(const char *list, const char *name) {
    const size_t length = strlen(name);
    for (const char *at = list; at; at = strchr(at, ','), at += at != NULL)
        if (strncmp(at, name, length) == 0 && (at[length] == ',' || !at[length])) return 1;
    return 0;
}

/* "--recover or --hosts FILE" */
static void print_list(const ls_cli_parser *parser, const char *list, ls_text *out) {
    for (int i = 0; i < parser->n_options; i++) {
        const ls_cli_option *option = &parser->options[i];
        if (!is_in_list(list, option->name)) continue;
        ls_text_append(out, "%s--%s%s%s", out->size ? " or " : "", option->name,
                       option->value ? " " : "", option->value ? option->value : "");
    }
}

/* An option that would change nothing is refused. */
static ls_status check_company(const ls_cli_parser *parser, const ls_cli_company *company) {
    int asked = 0, found = 0;
    for (int i = 0; i < parser->n_options; i++) {
        if (!parser->given[i]) continue;
        asked |= strcmp(parser->options[i].name, company->name) == 0;
        found |= is_in_list(company->with, parser->options[i].name);
    }
    if (!asked || found) return LS_OK;
    ls_text list = {0};
    print_list(parser, company->with, &list);
    ls_status status = list.status;
    if (status == LS_OK)
        status = LS_FAIL(LS_ERR_INVALID,
                         "%s: --%s goes with %s, which was not given; give it too, or leave --%s "
                         "out",
                         parser->path->name, company->name, list.data, company->name);
    ls_text_deinit(&list);
    return status;
}

static ls_status check_companies(const ls_cli_parser *parser) {
    const ls_cli_company *company = parser->path->cmd->company;
    for (; company && company->name; company++) LS_TRY(check_company(parser, company));
    return LS_OK;
}

static ls_status check_count(const ls_cli_parser *parser) {
    const ls_cmd *cmd = parser->path->cmd;
    const char *usage = cmd->usage ? cmd->usage : "";
    if (cmd->actions) return LS_OK;
    if (parser->n_args < cmd->min_args)
        return LS_FAIL(LS_ERR_INVALID, "%s: an argument is missing; usage: lockstep %s %s",
                       parser->path->name, parser->path->name, usage);
    if (cmd->max_args >= 0 && parser->n_args > cmd->max_args)
        return LS_FAIL(LS_ERR_INVALID, "%s: argument '%s' is one too many; usage: lockstep %s%s%s",
                       parser->path->name, parser->args[cmd->max_args], parser->path->name,
                       *usage ? " " : "", usage);
    return LS_OK;
}

/* One block: the common struct, the verb's struct, the two lists of words. */
static ls_status alloc_memory(ls_cli_parser *parser, int argc) {
    const ls_cmd *cmd = parser->path->cmd;
    const size_t align = _Alignof(max_align_t);
    const size_t own = (cmd->options_bytes + align - 1) / align * align;
    const size_t words = (size_t)argc * sizeof(char *);
    parser->memory = ls_alloc(ls_cli_own_offset() + own + 2 * words);
    if (!parser->memory) return LS_ERR_NO_MEMORY;
    char *after = parser->memory + ls_cli_own_offset() + own;
    parser->args = (const char **)(void *)after;
    parser->assignments = (const char **)(void *)(after + words);
    if (cmd->defaults)
        memcpy(parser->memory + ls_cli_own_offset(), cmd->defaults, cmd->options_bytes);
    return LS_OK;
}

static ls_status parse_words(ls_cli_parser *parser, int argc, char **argv) {
    while (parser->options[parser->n_options].name) parser->n_options++;
    if (parser->n_options > MOST_OPTIONS)
        return LS_FAIL(LS_ERR_INTERNAL, "%s has %d options, the frame takes %d", parser->path->name,
                       parser->n_options, MOST_OPTIONS);
    make_getopt_tables(parser);
    LS_TRY(alloc_memory(parser, argc));
    LS_TRY(read_words(parser, argc, argv));
    const ls_cli_common *common = (const ls_cli_common *)(void *)parser->memory;
    if (common->help) return LS_OK;
    LS_TRY(check_companies(parser));
    return check_count(parser);
}

ls_status ls_cli_parse(const ls_cli_path *path, int argc, char **argv, ls_cli_parsed *out) {
    ls_cli_option *options;
    LS_TRY(ls_cli_all_options(path->cmd, &options));
    ls_cli_parser parser = {.path = path, .options = options};
    const ls_status status = parse_words(&parser, argc, argv);
    ls_free(options);
    if (status != LS_OK) {
        ls_free(parser.memory);
        return status;
    }
    ls_cli_common *common = (ls_cli_common *)(void *)parser.memory;
    *out = (ls_cli_parsed){
        .common = common,
        .memory = parser.memory,
        .call = {.cmd = path->cmd,
                 .options = parser.memory + ls_cli_own_offset(),
                 .args = parser.args,
                 .n_args = parser.n_args,
                 .assignments = parser.assignments,
                 .n_assignments = parser.n_assignments,
                 .json = common->json,
                 .quiet = common->quiet,
                 .out = stdout},
    };
    return LS_OK;
}

void ls_cli_parsed_deinit(ls_cli_parsed *parsed) {
    ls_free(parsed->memory);
}
