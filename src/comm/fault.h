/* One injected fault, for tests and `lockstep chaos`: a decorator with the table of functions of the transport below it.
 *
 * LOCKSTEP_FAULT="kind=skip,rank=3,step=5,call=2" makes rank 3 leave out a collective. Keys:
 *   kind     die      SIGKILL to itself
 *            stop     SIGSTOP to itself
 *            skip     does not start the call and goes on as if it had happened
 *            extra    makes a call that nobody else makes
 *            shape, dtype, op, step   announces the call with another one
 *            slow     sleeps `seconds` before this and every later call, or `count` calls in all
 *            nan      writes a NaN where its own part begins, at the next reduce_scatter of f32 or bf16: into a gradient
 *            disk     from here on every write of a file fails with ENOSPC, or `count` operations on files
 *            torn     the `count`-th write of a file from here (the first) leaves half of its bytes, and then SIGKILL to itself
 *            flip         changes one bit of what it gives to the next sum of gradients
 *            flip_share   changes one bit of its own piece at the next all_gather: of weights, or of sums
 *            flip_state   changes one bit of its weights before `step`, between two steps
 *   The last three are silent: nothing fails, the run is just wrong (hash_every, `lockstep replay`). flip_state needs hash_every.
 *   rank     which rank does it (0)
 *   step, call   the first call of a later step, or of this one with so many calls of the step before it (0, 0)
 *   seconds  for slow (3)
 *   count    for slow, disk and torn (0)
 *   attempt  of a run that is started again after a crash (LOCKSTEP_ATTEMPT): 0, 1, ... or `all` (0)
 *   stamp    a file that gets the value of ls_clock_seconds, taken just before the fault
 * Thread-safety: as the ls_comm it wraps. Local. */
#ifndef LS_COMM_FAULT_H
#define LS_COMM_FAULT_H
#include "lockstep/comm.h"
#include <stddef.h>
#include <stdint.h>

typedef enum ls_fault_kind {
    LS_FAULT_NONE,
    LS_FAULT_DIE,
    LS_FAULT_STOP,
    LS_FAULT_SKIP,
    LS_FAULT_EXTRA,
    LS_FAULT_SHAPE,
    LS_FAULT_DTYPE,
    LS_FAULT_OP,
    LS_FAULT_STEP,
    LS_FAULT_SLOW,
    LS_FAULT_NAN,
    LS_FAULT_DISK,
    LS_FAULT_TORN,
    LS_FAULT_LOUD_END, /* kinds below it are noticed by the run itself */
    LS_FAULT_FLIP = LS_FAULT_LOUD_END,
    LS_FAULT_FLIP_SHARE,
    LS_FAULT_FLIP_STATE,
    LS_FAULT_COUNT
} ls_fault_kind;
extern LS_API const char *const ls_fault_names[]; /* "none", "die", ..., NULL */

typedef struct ls_fault {
    ls_fault_kind kind;
    int rank;
    uint64_t step;
    int64_t call;
    int64_t attempt; /* -1 = all */
    int64_t count;   /* 0 = all later ones; of torn the first */
    double seconds;
    char stamp[256]; /* "" = none */
} ls_fault;

/* "kind=die,rank=3,step=5". LS_ERR_CONFIG names what is wrong. */
LS_API ls_status ls_fault_parse(const char *text, ls_fault *out);

/* Puts the decorator around *comm when LOCKSTEP_FAULT asks for a fault of this rank; otherwise leaves it alone. On failure *comm
 * is as before. Closing the decorator closes what it wraps. */
LS_API ls_status ls_comm_fault_wrap(ls_comm **comm);
/* The same with a fault given. */
LS_API ls_status ls_comm_fault_wrap_with(ls_comm **comm, const ls_fault *fault);
/* The transport's own comm: of a decorator the one it wraps, of any other itself (NULL too). What a transport keeps behind its
 * ls_comm is found there. */
LS_API const ls_comm *ls_comm_fault_inner(const ls_comm *comm);
/* flip_state: is it time? 1 once; the caller then changes a bit of the state that it keeps. `step` as in calls: steps done before. */
LS_API int ls_comm_fault_takes_state(ls_comm *comm, uint64_t step);
/* Changes one bit in the middle of so many bytes. */
LS_API void ls_fault_flip(void *data, size_t bytes);

#endif
