/* The keeper of a host: a thread (of `lockstep run`, or of `lockstep keep` on another host) that holds the segments of keep/keep.h, answers
 * ranks and other keepers, and with two copies brings each commit to its neighbour.
 *
 * Local ranks reach it by a Unix socket in the abstract namespace (they hand over the descriptor of their segment), everybody else by TCP. A
 * connection begins with a secret cookie that the supervisor made; without it the connection is closed.
 * Thread-safety: call from one thread. Local. */
#ifndef LS_KEEP_KEEPER_H
#define LS_KEEP_KEEPER_H
#include "base/json.h"
#include "lockstep/status.h"
#include <stdint.h>

enum { LS_KEEPER_COOKIE = 33 }; /* 32 hexadecimal digits and a NUL */

typedef struct ls_keeper ls_keeper;

typedef struct ls_keeper_options {
    const char
        *name; /* of the Unix socket; NULL = one of its own. The same on every host of a run */
    const char *cookie; /* NULL = a new one */
    int listens;        /* also on TCP, for other hosts */
} ls_keeper_options;

LS_API ls_status ls_keeper_start(const ls_keeper_options *options, ls_keeper **out);
LS_API void ls_keeper_stop(ls_keeper *keeper); /* gives all memory back; NULL is fine */
/* What ranks of this host need in LOCKSTEP_KEEPER: "NAME COOKIE". Belongs to the keeper. */
LS_API const char *ls_keeper_offer(const ls_keeper *keeper);
LS_API int ls_keeper_port(const ls_keeper *keeper); /* TCP; 0 = does not listen */
LS_API const char *ls_keeper_cookie(const ls_keeper *keeper);
/* The other keepers of the run, "HOST:PORT HOST:PORT ..." in the order of hosts, this one included at `mine`: where parts can be read, and
 * with copies = 2 the next one in the ring takes the copies. */
LS_API ls_status ls_keeper_set_peers(ls_keeper *keeper, const char *peers, int mine, int copies);
/* A job begins: its number, which its ranks have in LOCKSTEP_ATTEMPT, grows from attempt to attempt; ranks of earlier ones are refused from here
 * on. A rank, or another keeper, that comes with a higher number begins its job too. Segments of jobs before the one that was restored from are given back once all
 * ranks of this one have committed. */
LS_API ls_status ls_keeper_begin_job(ls_keeper *keeper, int64_t job, int n_ranks);
/* {"segments": [{"rank", "job", "size", "pid", "steps": [a, b] (-1 = torn), "copy": bool, "bytes",
 *   "parts": [{"name", "dtype", "shape", "first", "count"}]}]} */
LS_API ls_status ls_keeper_inventory(ls_keeper *keeper, json_t **out);
/* The same of a keeper elsewhere, "HOST:PORT". LS_ERR_COMM when it is not there (within timeout_seconds). */
LS_API ls_status ls_keeper_ask(const char *address, const char *cookie, double timeout_seconds,
                               json_t **out);
/* The newest step whose parts, all inventories taken together, cover every element of every tensor; -1 = none. A segment with a newer job
 * replaces the same rank's older one. */
LS_API ls_status ls_keeper_best_step(json_t *const *inventories, int n, int64_t *step_out);

#endif
