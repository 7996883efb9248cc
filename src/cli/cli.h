/* The program's frame: a verb is a table of options, a line of usage and a function that returns ls_status.
 *
 * A verb lives in src/cli/cmd_<verb>.c as `const ls_cmd ls_cmd_<verb>` and has a line in cmd.def. A verb with actions
 * (lockstep checkpoint hash DIR) lists them as further ls_cmd in .actions and has no .run of its own. Parsing, help, man
 * pages and completion all come from these tables. Results go to standard output; errors, logs and progress to standard
 * error. A verb may print, but never exits: it returns a status, and the frame prints the message once. Local. */
#ifndef LS_CLI_CLI_H
#define LS_CLI_CLI_H
#include "base/alloc.h"
#include "base/json.h"
#include "lockstep/status.h"
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum ls_cli_type {
    LS_CLI_FLAG,     /* int: 1 when given */
    LS_CLI_INT,      /* int64_t */
    LS_CLI_FLOAT,    /* double */
    LS_CLI_STRING,   /* const char *, points into argv */
    LS_CLI_OPTIONAL, /* const char *, points into argv; the value is only taken after '=', and is "" when there is none */
} ls_cli_type;

typedef struct ls_cli_option {
    const char *name; /* long name without dashes; NULL ends a table */
    char letter;      /* short form, 0 for none; h, q and v are taken */
    ls_cli_type type;
    size_t offset;     /* of the member in the verb's options struct */
    const char *value; /* what stands for the value in help: FILE, N; NULL for a flag */
    const char *help;  /* one line, units included */
    double min, max;   /* INT and FLOAT: inclusive; both 0 = unbounded */
} ls_cli_option;

/* An option that does something beside others only. */
typedef struct ls_cli_company {
    const char *name; /* without dashes; NULL ends a table */
    const char *with; /* one of these has to be given too: "recover,hosts" */
} ls_cli_company;

typedef struct ls_cli_argument {
    const char *name; /* CONFIG; NULL ends a table */
    const char *help;
} ls_cli_argument;

typedef struct ls_cmd_call ls_cmd_call;

typedef struct ls_cmd ls_cmd;
struct ls_cmd {
    const char *name;                 /* of an action; a verb's own name comes from cmd.def */
    const char *help;                 /* one line, of an action; a verb's comes from cmd.def */
    const char *usage;                /* after the name, without options: "CONFIG [KEY=VALUE...]" */
    const char *about;                /* paragraphs for help and man page; may be NULL */
    const ls_cli_argument *arguments; /* help on what usage names; may be NULL */
    int min_args, max_args;           /* positional arguments; max_args -1 = any number */
    int takes_config;                 /* KEY=VALUE arguments are collected in .assignments */
    int has_json;                     /* --json is accepted and sets .json */
    const ls_cli_option *options;     /* ends with a NULL name; may be NULL */
    const ls_cli_company *company;    /* of options; may be NULL */
    size_t options_bytes;             /* size of the options struct */
    const void *defaults;             /* of the options struct; NULL = all zero */
    const ls_cmd *const *actions;     /* NULL-terminated; NULL = this verb runs itself */
    ls_status (*run)(const ls_cmd_call *call);
};

/* What a verb's run function gets. Everything belongs to the frame and lives until run returns. */
struct ls_cmd_call {
    const ls_cmd *cmd;
    const void *options; /* the verb's options struct */
    const char *const *args;
    int n_args;
    const char *const *assignments; /* "key=value", in order */
    int n_assignments;
    int json;  /* --json was given: one JSON value on standard output */
    int quiet; /* -q: no progress */
    FILE *out; /* standard output */
    int *
        exit_status; /* a verb may say how the program ends (0 = as its status says): for another program that failed, or 75 of a run
                      * that can go on */
};

/* Prints one JSON value and a newline on call->out. Takes the reference to `value` (NULL = out of memory). */
ls_status ls_cli_print_json(const ls_cmd_call *call, json_t *value);

/* The whole program: parses, runs, prints the error line; returns the exit status. */
int ls_cli_main(int argc, char **argv);

/* --- below: the frame's own parts --- */

typedef struct ls_cli_verb {
    const char *name, *help;
    const ls_cmd *cmd;
} ls_cli_verb;

extern const ls_cli_verb ls_cli_verbs[]; /* in cmd.def's order */
extern const int ls_cli_n_verbs;

/* A verb or an action, with the names that lead to it: "checkpoint hash". */
typedef struct ls_cli_path {
    const ls_cmd *cmd; /* NULL = the program itself */
    const char *help;  /* one line */
    char name[64];
} ls_cli_path;

/* Follows as many of the words as name verbs and actions; *n_used_out of them were used. An unknown verb is an error that
 * names the nearest. */
ls_status ls_cli_find(const char *const *words, int n_words, ls_cli_path *out, int *n_used_out);

/* The options every verb has (--help, --quiet, --verbose) or may have (--json), and the verb's own, in one table that
 * ends with a NULL name. The struct behind it is ls_cli_common followed, at .own, by the verb's own struct. */
typedef struct ls_cli_common {
    int help, quiet, verbose, json;
} ls_cli_common;
ls_status ls_cli_all_options(const ls_cmd *cmd, ls_cli_option **out);
/* Where the verb's own struct stands behind the common one. */
size_t ls_cli_own_offset(void);

/* The call of argv[0..argc-1] (argv[0] is the last word of the verb). Free with ls_cli_call_destroy. */
typedef struct ls_cli_parsed {
    ls_cmd_call call;
    ls_cli_common *common;
    void *memory;
} ls_cli_parsed; /* .call.exit_status is left to the caller */
ls_status ls_cli_parse(const ls_cli_path *path, int argc, char **argv, ls_cli_parsed *out);
void ls_cli_parsed_deinit(ls_cli_parsed *parsed);

/* Texts made of the tables. path->cmd NULL = the program. */
ls_status ls_cli_write_help(const ls_cli_path *path, ls_text *text);
ls_status ls_cli_write_man(const ls_cli_path *path, ls_text *text);
ls_status ls_cli_write_bash_completion(ls_text *text);
ls_status ls_cli_write_zsh_completion(ls_text *text);

#endif
