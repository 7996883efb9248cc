/* A job: the ranks of one host and the board in shared memory on which each says what it is doing.
 *
 * `lockstep run` makes the board before it starts ranks, and reads it while they run; under MPI the first rank of a host makes it. `lockstep
 * top` finds boards through files in the runtime folder ($XDG_RUNTIME_DIR, or /tmp, + "/lockstep-UID/PID.job") and maps them
 * through /proc/PID/fd. Thread-safety: the state of a rank may be read at any time from anywhere. Local. */
#ifndef LS_COMM_JOB_H
#define LS_COMM_JOB_H
#include "lockstep/comm.h"
#include <sys/types.h>

typedef struct ls_job ls_job;

typedef enum ls_rank_state {
    LS_RANK_ABSENT,  /* not started yet */
    LS_RANK_RUNNING, /* computing */
    LS_RANK_WAITING, /* in a collective, for a peer */
    LS_RANK_STOPPED, /* its process is stopped (SIGSTOP) */
    LS_RANK_DEAD,    /* its process is gone without a word */
    LS_RANK_FAILED,  /* it gave up: see message */
    LS_RANK_LEFT     /* done */
} ls_rank_state;
extern LS_API const char *const ls_rank_state_names[]; /* "absent", ..., NULL */

typedef struct ls_rank_report {
    int rank;
    pid_t pid;
    ls_rank_state state;
    char host[64];
    uint64_t step;    /* of its last collective */
    uint64_t n_calls; /* collectives started */
    char op[32];      /* its last collective */
    char scope[64];
    double idle_seconds; /* since it started that one */
    double wait_seconds; /* spent waiting for peers, in all */
    double
        lag_seconds; /* arrived later than the first arriver, in all: the straggler has the most */
    char message[512]; /* FAILED: why */
} ls_rank_report;

/* Board for `size` ranks in inheritable memory, registered in the runtime folder under `name`. */
LS_API ls_status ls_job_create(int size, const char *name, ls_job **out);
/* In the child, between fork and exec: tells the program it becomes which rank it is. */
LS_API ls_status ls_job_enter(ls_job *job, int rank);
/* Maps the board of a running job for reading. */
LS_API ls_status ls_job_attach(pid_t pid, ls_job **out);
/* Pids of the jobs of this user that are running on this host; free *pids_out with ls_free. */
LS_API ls_status ls_job_list(pid_t **pids_out, int *n_out);
/* Maps a board for taking part, for ranks that inherited nothing (under MPI: made by the first rank of the host). */
LS_API ls_status ls_job_join(pid_t pid, ls_job **out);
struct ls_board;
LS_API struct ls_board *ls_job_board(ls_job *job);
/* The first rank that failed, and the sentence about it; -1 when none has. */
LS_API int ls_job_failure(const ls_job *job, char sentence_out[1024]);
LS_API int ls_job_size(const ls_job *job);
LS_API const char *ls_job_name(const ls_job *job);
LS_API void ls_job_report(const ls_job *job, int rank, ls_rank_report *out);
LS_API void ls_job_destroy(ls_job *job); /* the creator also unregisters it; NULL is fine */

#endif
