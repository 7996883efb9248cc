/* What a controller (`lockstep run --hosts`) says to the keeper of a host through the keeper's standard input: a line each, answered
 * by a line of JSON on its standard output. Local. */
#ifndef LS_CLI_KEEP_PIPE_H
#define LS_CLI_KEEP_PIPE_H
#include "keep/keeper.h"
#include <stdio.h>

/* A controller says something every few seconds. When its host vanishes its pipe may stay open for hours: after so long without a line
 * the keeper ends, and so makes room for the next one of that name. */
#define LS_KEEP_PIPE_SECONDS 30

/* peers MINE COPIES HOST:PORT...   ls_keeper_set_peers             {"done": true}
 * job NUMBER RANKS                 ls_keeper_begin_job             {"done": true}
 * signal ID NUMBER                 ls_rank_processes_signal        {"ranks": N, "sent": N}
 * ping                             tells that the controller is there {"done": true}
 * anything else, or a failure                                      {"error": MESSAGE}
 * `line` is cut into words. Only what cannot be answered is a failure. */
ls_status ls_keep_pipe_obey(ls_keeper *keeper, char *line, FILE *out);

typedef struct ls_rank_processes {
    int n_ranks; /* that are there */
    int n_sent;  /* of them, those that got the signal */
} ls_rank_processes;
/* Signals the ranks of the job that was started with LOCKSTEP_RUN_JOB=`id`, on this host (a network namespace is a host). A number that
 * they may catch goes to those alone that do: before its handler stands, it would end a rank. 0 counts. */
ls_status ls_rank_processes_signal(const char *id, int number, ls_rank_processes *out);

#endif
