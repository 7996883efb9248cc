/* Actions of `lockstep data` that live in files of their own. */
#ifndef LS_CLI_CMD_DATA_H
#define LS_CLI_CMD_DATA_H
#include "cli/cli.h"

extern const ls_cmd ls_cmd_data_prepare;

#endif
