/* State that outlives its process: a rank's side.
 *
 * A keeper (keep/keeper.h) on each host holds the memory in which ranks have their persistent values, as descriptors of shared
 * memory. A segment is a header page (what is in it, two commit words, two blobs) and two buffers (plan.options.kept). A run reads one
 * buffer and writes the other; `commit` says which step the new one holds. Whatever instant a rank is killed at, one of its two buffers
 * holds a step that every other rank holds too:
 *   - ls_keep_begin lets nobody give up the step before the last one until every rank has committed the last one, and its copy is made;
 *   - it is called before a rank gives its first gradient of a step, and nothing is written before all gradients are there.
 * The ranks of the next attempt find their old memory as it was (same rank, same layout: no byte is copied), or read the parts they
 * need from any keeper that has them (another number of ranks, another zero, another host).
 * Thread-safety: an ls_keep belongs to its rank's thread. */
#ifndef LS_KEEP_KEEP_H
#define LS_KEEP_KEEP_H
#include "comm/comm.h"
#include "plan/plan.h"
#include <stddef.h>
#include <stdint.h>

enum { LS_KEEP_BLOB = 4096 };

typedef struct ls_keep ls_keep;

/* Was this process started with a keeper (LOCKSTEP_KEEPER)? */
LS_API int ls_keep_is_offered(void);
/* Connects to the keeper of this host. Collective: fails on all when it fails on one. */
LS_API ls_status ls_keep_open(ls_comm *comm, ls_keep **out);
LS_API void ls_keep_close(ls_keep *keep); /* NULL is fine; the keeper keeps what was committed */

/* The two buffers for this rank of the plan (memory that peers of this host can read), its predecessor's where the layout is the same. They
 * live until ls_keep_close. Collective. */
LS_API ls_status ls_keep_memory(ls_keep *keep, const ls_plan *plan, int rank, char *buffers_out[2]);
/* The state that the keepers have for this attempt (LOCKSTEP_RESTORE, which the supervisor sets after asking all keepers), brought into
 * the buffer *current_out. *step_out -1: there is none, and the buffers hold nothing. blob_out: what was committed with it. Collective. */
LS_API ls_status ls_keep_restore(ls_keep *keep, int64_t *step_out, int *current_out,
                                 char blob_out[LS_KEEP_BLOB]);
/* Before the first gradient of a step is given (ls_run_options.before_update): waits until the last commit has all its copies, and until
 * every rank is here; then gives up the buffer that is not current. Collective. */
LS_API ls_status ls_keep_begin(ls_keep *keep);
/* `buffer` holds the state after `step` optimizer steps. blob: the trainer's own state, at most LS_KEEP_BLOB bytes. Local. */
LS_API ls_status ls_keep_commit(ls_keep *keep, int64_t step, int buffer, const void *blob,
                                size_t blob_bytes);

/* For how a run went. */
typedef struct ls_keep_stats {
    int attached;                         /* the predecessor's memory was taken over in place */
    int64_t read_bytes;                   /* copied from keepers at the restore, */
    int64_t read_remote;                  /* of them from other hosts */
    double restore_seconds, wait_seconds; /* waiting for copies on the neighbour host, in all */
} ls_keep_stats;
LS_API ls_keep_stats ls_keep_get_stats(const ls_keep *keep);

#endif
