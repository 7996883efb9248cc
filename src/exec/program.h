/* The program's inside. See lockstep/program.h. */
#ifndef LS_EXEC_PROGRAM_H
#define LS_EXEC_PROGRAM_H
#include "base/thread.h"
#include "comm/comm.h"
#include "device/device.h"
#include "lockstep/program.h"
#include "plan/plan.h"

/* One kernel launch. Operand data pointers are set when it runs: region base (of the lane's slot, of the sum at hand) + offset. */
typedef struct ls_step {
    const ls_kernel *kernel;
    const ls_node *node;
    ls_sig sig;
    ls_tensor *operands; /* n_in inputs, then n_out results */
    ls_place *places;    /* of the operands */
    size_t workspace_offset;
    int makes_loss; /* makes the lane's loss */
    int gives; /* gives a gradient of this step to others, or writes what is persistent, or comes after such */
} ls_step;

typedef struct ls_lowered {
    ls_step *steps;
    int64_t n_steps;
} ls_lowered;

/* Rounding and adding a range of the gradient buffers. */
typedef struct ls_fold_steps {
    const ls_fold *fold;
    ls_step round, add;
} ls_fold_steps;

struct ls_program {
    const ls_plan *plan;
    const ls_rank_plan *rank;
    ls_device *device;
    ls_pool *pool;
    ls_comm *comm; /* NULL for one rank */
    ls_channel_end *channels;
    const ls_program *weights_of;
    ls_arena *arena;
    char *base[LS_REGION_COUNT]; /* device memory */
    ls_lowered *segments;        /* one per segment of the rank */
    ls_fold_steps *folds;        /* one per fold of the rank */
    ls_value loss;               /* root of output "loss" on this rank, or NONE */
    int member;                  /* of the data-parallel group */
    char *memory;                /* all regions, when peers may read them; else NULL */
    /* plan.options.kept. base[] of the persistent regions lies in kept[current], base[LS_REGION_KEPT] is the other one: there lie
     * the fresh versions, which updates made in this run. */
    char *kept[2];
    char *overlay;    /* of plan/overlay.c: the memory of four regions */
    char *kept_own;   /* both of them, when they are the device's memory */
    int current;      /* the one that holds the state; the last run wrote it */
    char *fresh;      /* per value: an update's result, or a view of one */
    char *written;    /* per root: an update of this rank writes it */
    ls_place *frozen; /* persistent values that nothing writes: equal in both buffers */
    int n_frozen;
    int frozen_differ; /* they were given since the last run */
    int gave;          /* before_update was called in this run */
    int is_prepared;   /* a run was completed: what is prepared is there */
};

typedef struct ls_lower_options {
    ls_device *device;
    ls_pool *pool;            /* NULL: one thread */
    ls_comm *comm;            /* data-parallel ranks; NULL for one */
    ls_channel_end *channels; /* pipeline stages; NULL for one */
    const ls_program *
        weights_of; /* use this program's parameters and buffers (it must outlive the new one), or NULL */
    char *kept
        [2]; /* plan.options.kept: ls_plan_kept_bytes each, memory that peers can read when the plan has several members, zeroed when
                    * it is new; it stays the caller's. NULL: the program allocates them */
} ls_lower_options;
LS_API ls_status ls_program_lower(const ls_plan *plan, int rank, const ls_lower_options *options,
                                  ls_program **out);
/* Channels of the plan for a transport; memory of `arena`. */
LS_API ls_status ls_plan_comm_channels(const ls_plan *plan, ls_arena *arena, ls_comm_channel **out);

/* Global number of the command's lane; -1 stays. */
int ls_program_lane(const ls_program *program, const ls_command *command);
/* Address of a part's first element in the buffer that holds the state. Whoever writes there after the first run calls
 * ls_program_set_current again. */
LS_API void *ls_program_part_address(const ls_program *program, const ls_plan_part *part);
/* The buffer that holds the state (0 or 1). Before the first run it may be set, when memory from elsewhere holds a state. */
LS_API int ls_program_current(const ls_program *program);
LS_API void ls_program_set_current(ls_program *program, int current);
/* What updates wrote becomes the state. */
void ls_program_swap(ls_program *program);
/* Where the program whose weights it shares has them now. */
void ls_program_follow(ls_program *program);
/* Values that nothing writes, from the current buffer to the other. */
void ls_program_copy_frozen(ls_program *program);
/* Address of a place for a lane's slot and sum buffer. */
void *ls_program_address(const ls_program *program, const ls_place *place, int slot, int level);
ls_status ls_program_launch(ls_program *program, ls_step *step, const ls_command *command,
                            const ls_run_options *options);
ls_status ls_program_feed(ls_program *program, const ls_command *command,
                          const ls_run_options *options);

#endif
