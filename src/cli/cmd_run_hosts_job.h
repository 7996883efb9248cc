/* The ranks of one attempt of an elastic run: an mpirun, and what it says. Local. */
#ifndef LS_CLI_CMD_RUN_HOSTS_JOB_H
#define LS_CLI_CMD_RUN_HOSTS_JOB_H
#include "cli/cmd_run_hosts.h"
#include <sys/types.h>

typedef struct ls_hosts_variable {
    const char *name, *value; /* NULL = not set */
} ls_hosts_variable;

typedef struct ls_hosts_job {
    char id[64]; /* LOCKSTEP_RUN_JOB of its ranks */
    ls_launcher_kind kind;
    ls_world world;
    pid_t mpirun;    /* 0 = none runs */
    int exit_status; /* of mpirun, 128 + n for signal n; once it has ended */
    int was_killed;  /* by ls_hosts_job_kill */
    int is_unwanted; /* its end was asked for: what mpirun has to say about that is not passed on */
    double since;
    int output;      /* descriptor for rank 0's standard output */
    int errors;      /* read end of its standard error; -1 = closed */
    char text[4096]; /* of a line that has not ended yet */
    size_t used;
} ls_hosts_job;

/* Starts mpirun with these variables in its environment; it hands them, and every other LOCKSTEP_ variable, to the ranks. `launch` is
 * completed here (.variables). Afterwards look at it with ls_hosts_job_check until .mpirun is 0. */
ls_status ls_hosts_job_start(ls_hosts_job *job, ls_launch *launch,
                             const ls_hosts_variable *variables, int n);
/* Passes on what mpirun and the ranks say on standard error, and sees whether mpirun has ended. */
void ls_hosts_job_check(ls_hosts_job *job);
/* SIGTERM to mpirun, SIGKILL `grace_seconds` later; returns when it has ended. Its ranks may still live. */
void ls_hosts_job_kill(ls_hosts_job *job, double grace_seconds);

#endif
