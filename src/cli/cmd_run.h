/* What lockstep run and lockstep chaos share. Local. */
#ifndef LS_CLI_CMD_RUN_H
#define LS_CLI_CMD_RUN_H
#include "cli/cli.h"

/* Finds the verb of `words` and parses the rest as it will, so that a mistake is told once and not by every rank. A train's
 * configuration is read too. Undo with ls_cli_parsed_deinit; `words` must stay. */
ls_status ls_ranks_check_words(const char *who, const char *const *words, int n_words,
                               ls_cli_path *path_out, ls_cli_parsed *parsed_out);

/* What of a run outlives its ranks. */
typedef struct ls_ranks_recovery {
    int is_run;      /* the verb is train or resume: started again after a crash */
    int64_t copies;  /* recover.copies of the ranks */
    int adds_copies; /* the words do not say so themselves: recover.copies=1 is added to them */
    int64_t first;   /* step of the checkpoint that is resumed; -1 = none */
    char out[1024];  /* the run's folder */
} ls_ranks_recovery;
/* `verb` is the parsed call of the ranks' words. */
ls_status ls_ranks_plan_recovery(const ls_cli_path *path, const ls_cmd_call *verb,
                                 ls_ranks_recovery *out);

/* The words of a rank: those given, threads=N where the verb takes it and N is above 0, and room for one more. Free .words with
 * ls_free. */
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
