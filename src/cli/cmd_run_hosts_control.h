/* The controller of an elastic run: what its parts share. Local. */
#ifndef LS_CLI_CMD_RUN_HOSTS_CONTROL_H
#define LS_CLI_CMD_RUN_HOSTS_CONTROL_H
#include "cli/cmd_run.h"
#include "cli/cmd_run_hosts_job.h"
#include "cli/cmd_run_hosts_list.h"
#include "cli/cmd_run_recover.h"
#include <signal.h>

typedef enum ls_hosts_why {
    LS_HOSTS_ENDED, /* by itself */
    LS_HOSTS_LOST,  /* a host of it is no longer there */
    LS_HOSTS_MOVED, /* asked to leave: more hosts, or other ones */
    LS_HOSTS_STUCK  /* ended here: mpirun waited for ranks that were not there */
} ls_hosts_why;

typedef struct ls_hosts_checkpoint {
    dev_t device;
    ino_t inode;
} ls_hosts_checkpoint;

struct ls_hosts_control {
    const ls_cmd_call *call;
    const ls_hosts_options *options;
    ls_ranks_recovery recovery;
    int64_t lanes;    /* of the configuration */
    int says_threads; /* the words or the configuration say threads= */
    ls_launcher_kind kind;
    char *mpirun;
    char program[4096], agent[4200]; /* the agent as mpirun gets it; "" = its own */
    int script;                      /* descriptor of what that agent is; -1 = a program */
    char offer[96], run[33];
    ls_hosts_list list;
    ls_hosts_job job;
    ls_run_host **members; /* of the job; world.n_hosts of them */
    ls_world world;
    ls_hosts_why why;
    int64_t attempt, base, best, n_told_changes;
    int from_disk; /* the keepers do not cover a step as new as the newest checkpoint */
    ls_recover_result *history;
    ls_hosts_checkpoint old; /* was in the run's folder before the run: it is not the run's */
    int64_t n_stuck;
    int signals;       /* descriptor of a signalfd */
    int stop, n_stops; /* SIGINT or SIGTERM that came, and how often */
    char news[600];    /* why the next attempt is made; "" = the first */
    sigset_t old_mask;
};

/* One turn: waits a moment for signals, looks after hosts and job. */
void ls_hosts_control_tick(ls_hosts_control *self);

/* Waits until there are hosts, and chooses members and world. LS_ERR_COMM when none came in time; LS_ERR_INTERRUPTED. */
ls_status ls_hosts_control_gather(ls_hosts_control *self);
/* What there is to go on from: .base, .from_disk. */
ls_status ls_hosts_control_find_base(ls_hosts_control *self);
/* Remembers what is in the run's folder before the first attempt. */
void ls_hosts_control_note_checkpoint(ls_hosts_control *self);
/* Tells the living keepers who they are; again whenever one has come or gone. */
ls_status ls_hosts_control_tell_peers(ls_hosts_control *self);
/* Tells the keepers and starts the ranks. */
ls_status ls_hosts_control_start(ls_hosts_control *self);
/* Until nothing of the job lives any more; .why, .news. */
void ls_hosts_control_watch(ls_hosts_control *self);

#endif
