/* What the campaigns of lockstep chaos share: kinds by name, what a run printed, pauses, the table of blows. Local. */
#ifndef LS_CLI_CMD_CHAOS_TELL_H
#define LS_CLI_CMD_CHAOS_TELL_H
#include "base/json.h"
#include "lockstep/status.h"
#include <stdint.h>
#include <stdio.h>

/* Names parted by commas -> bits, the first name's bit 0. NULL = all. `names` ends with NULL. */
ls_status ls_chaos_kinds_parse(const char *text, const char *const *names, uint32_t *out);

/* Memory for what rank 0 of a run prints. */
enum { LS_CHAOS_HASH = 65 };
ls_status ls_chaos_output_open(int *fd_out);
ls_status ls_chaos_output_clear(int fd);
/* The only `weights sha256:` in it. */
ls_status ls_chaos_output_hash(int fd, char hash_out[LS_CHAOS_HASH]);

/* Seconds from a blow to the next step. */
typedef struct ls_chaos_pauses {
    double *seconds;
    int64_t n, capacity;
} ls_chaos_pauses;
ls_status ls_chaos_pauses_add(ls_chaos_pauses *pauses, double seconds);
/* Sorts them; 0 and 0 when there are none. */
void ls_chaos_pauses_sum_up(ls_chaos_pauses *pauses, double *median_out, double *slowest_out);
void ls_chaos_pauses_deinit(ls_chaos_pauses *pauses);

/* How often what was met by what: a row for each instant. */
typedef struct ls_chaos_table {
    const char *const *instants, *const *kinds; /* end with NULL */
    const int64_t *counts;                      /* [instant][kind] */
    uint32_t counted;                           /* kinds that the sum at the end of a row takes */
    const char *sum;                            /* its name */
} ls_chaos_table;
void ls_chaos_table_print(const ls_chaos_table *table, FILE *out);
json_t *ls_chaos_table_json(const ls_chaos_table *table); /* NULL = out of memory */

#endif
