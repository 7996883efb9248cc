/* What lockstep run and lockstep chaos share. Local. */
#ifndef LS_CLI_CMD_RUN_H
#define LS_CLI_CMD_RUN_H
#include "cli/cli.h"

/* Finds the verb of `words` and parses the rest as it will, so that a mistake is told once and not by every rank. A train's
 * configuration is read too. Undo with ls_cli_parsed_deinit; `words` must stay. */
ls_status ls_ranks_check_words(const char *who, const char *const *words, int n_words,
                               ls_cli_path *path_out, ls_cli_parsed *parsed_out);

/* The words of a rank: those given, and threads=N where the verb takes it and N is above 0. Free with ls_free. */
typedef struct ls_ranks_words {
    const char **words; /* NULL-terminated */
    int n_words;
    char threads[32];
} ls_ranks_words;
ls_status ls_ranks_make_words(const ls_cmd_call *call, const ls_cli_path *path, int size,
                              int64_t threads, ls_ranks_words *out);

/* Ranks as threads of this process: `verb` is the parsed call of train or resume. */
ls_status ls_ranks_threads(int size, const ls_cli_path *path, const ls_cmd_call *verb);

#endif
