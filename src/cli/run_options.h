/* What the verbs about runs share. Local. */
#ifndef LS_CLI_RUN_OPTIONS_H
#define LS_CLI_RUN_OPTIONS_H
#include "base/config.h"
#include "cli/cli.h"
#include "lockstep/train.h"

/* Configuration of `lockstep VERB CONFIG [KEY=VALUE...]`; args may be empty (defaults and assignments only). */
ls_status ls_cli_load_config(const ls_cmd_call *call, ls_train_config *config, ls_config **values);

/* A checkpoint named on the command line: a checkpoint folder, or a run's folder (its latest). */
typedef struct ls_cli_checkpoint {
    char *path; /* of the checkpoint folder */
    ls_train_config config;
    ls_config *values;
} ls_cli_checkpoint;
ls_status ls_cli_open_checkpoint(const char *dir, const ls_cmd_call *call, ls_cli_checkpoint *out);
void ls_cli_close_checkpoint(ls_cli_checkpoint *checkpoint);

/* Options of `train` and `resume`. */
typedef struct ls_cli_train_options {
    const char *profile; /* NULL: none; "": <out>/profile */
} ls_cli_train_options;
extern const ls_cli_option ls_cli_train_option_table[];

/* Joins the ranks that were started, trains and prints the report of `train` and `resume`. resume NULL: from the start. */
ls_status ls_cli_train(const ls_cmd_call *call, const ls_train_config *config,
                       const ls_config *values, const char *resume);

/* The same as one rank of `comm` (NULL: alone); only the first prints. */
ls_status ls_cli_train_on(const ls_cmd_call *call, const ls_train_config *config,
                          const ls_config *values, const char *resume, ls_comm *comm);

/* A JSON number, or null when it is not finite. */
json_t *ls_cli_json_real(double value);

#endif
