/* A program: one rank's plan, lowered to flat lists of kernel, copy and message steps over memory that is allocated once.
 * Running it looks nothing up and allocates nothing.
 * Ownership: the plan, device and pool must outlive the program. Thread-safety: one thread at a time. lower, init, fetch are Local; run is
 * Collective over the plan's ranks. */
#ifndef LOCKSTEP_PROGRAM_H
#define LOCKSTEP_PROGRAM_H
#include "lockstep/plan.h"
#include "lockstep/tensor.h"
#include <stdint.h>

typedef struct ls_program ls_program;
typedef struct ls_trace ls_trace; /* src/exec/trace.h */

/* Fills `tensor` (device memory, shape and dtype as in the graph) for input `name` of `lane`; lane is -1 for step inputs. */
typedef ls_status (*ls_feed_fn)(void *user, const char *name, int64_t lane, ls_tensor *tensor);

typedef struct ls_run_options {
    uint64_t seed, step;
    ls_feed_fn feed;
    void *user;
    int check_loss; /* fail with LS_ERR_NUMERIC, before the update, when a lane's loss is not finite; the message names step,
                     * lane and the first op that made such a value */
    ls_status (*before_update)(
        void *
            user); /* or NULL. Called once in a TRAIN run, before this rank gives its first gradient to others and before
                                             * anything persistent is written: from here on the state of two runs ago may be overwritten */
    ls_trace *trace; /* or NULL. Records what runs when */
    /* FORWARD: persistent values are those of the program's last run, so what it made of them (copies, packed weights) is not made again. */
    int prepared;
} ls_run_options;

/* Draws every parameter and state value of this rank from its ls_init: a pure function of (seed, name, index). */
LS_API ls_status ls_program_init(ls_program *program, uint64_t seed);
/* The same for a program to which nothing was written or loaded since it was lowered: its memory is zero as the system gives it, so what
 * begins at zero is not written once more. */
LS_API ls_status ls_program_init_new(ls_program *program, uint64_t seed);
LS_API ls_status ls_program_run(ls_program *program, const ls_run_options *options);
/* Runs lanes again node by node and reports the first op with a non-finite result as LS_ERR_NUMERIC; LS_OK when there is none. Weights are not
 * touched. */
LS_API ls_status ls_program_diagnose(ls_program *program, const ls_run_options *options);
/* Collective for values that ranks keep in pieces (zero 1 and up), Local for others. Copies a persistent value, lane sum or fetched output by name to host memory of at least its bytes (type_out may be NULL). */
LS_API ls_status ls_program_fetch(ls_program *program, const char *name, void *host,
                                  size_t host_bytes);
/* The bytes of a persistent value in one or more parts, from the first on: `at` is where in it a part begins. `data` lasts for the call. */
typedef ls_status (*ls_program_read_fn)(void *user, size_t at, const void *data, size_t bytes);
/* The same as fetch without a copy: what lies in host memory is read where it lies. */
LS_API ls_status ls_program_read(ls_program *program, const char *name, ls_program_read_fn fn,
                                 void *user);
LS_API ls_status ls_program_fetch_f32(ls_program *program, const char *name,
                                      float *out); /* one element */
/* Overwrites a persistent value (or this rank's piece of it) from the whole tensor in host memory (dtype and shape must be those of the graph). */
LS_API ls_status ls_program_store(ls_program *program, const char *name, const ls_tensor *host);
/* Bytes this program holds on its device. Equals ls_plan_bytes less the channels, which the transport holds. */
LS_API int64_t ls_program_allocated_bytes(const ls_program *program);
LS_API void ls_program_destroy(ls_program *program);

#endif
