/* What the files of `lockstep bench` share. Local. */
#ifndef LS_CLI_CMD_BENCH_H
#define LS_CLI_CMD_BENCH_H
#include "cli/cli.h"
#include "measure/measure.h"

typedef struct ls_bench_options {
    int quick, no_store;
    const char *out, *disk, *plan, *machine;
} ls_bench_options;

/* The profile in a file, or the stored one of this machine. */
ls_status ls_cli_load_machine(const char *path, ls_machine *out);
/* A profile as tables. */
void ls_bench_print_machine(const ls_machine *machine, ls_text *out);
/* Only the collectives. */
void ls_bench_print_exchange(const ls_machine *machine, ls_text *out);
/* --plan. */
ls_status ls_bench_plan(const ls_cmd_call *call, ls_meter *meter);

#endif
