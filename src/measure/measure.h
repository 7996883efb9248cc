/* Measuring a machine: what `lockstep bench` does, for a profile (plan/cost/machine.h) and for the nodes of a plan.
 *
 * Every figure is the median of several runs of a set length, with the least and the most beside it; work is done on random
 * data. Thread-safety: one measurement at a time, or they measure each other. Collective only where it is said. */
#ifndef LS_MEASURE_MEASURE_H
#define LS_MEASURE_MEASURE_H
#include "base/thread.h"
#include "exec/program.h"
#include "lockstep/comm.h"
#include "plan/cost/machine.h"

/* Called before each figure: `done` of `total` figures are there, `what` comes next. */
typedef void (*ls_measure_progress_fn)(void *user, int done, int total, const char *what);

typedef struct ls_measure_options {
    int quick;                       /* fewer, shorter runs, smaller arrays */
    ls_measure_progress_fn progress; /* may be NULL */
    void *user;
} ls_measure_options;

typedef struct ls_meter {
    ls_measure_options options;
    ls_pool *pool;      /* all threads */
    int n_runs;         /* of each figure */
    double run_seconds; /* at least so long each */
    int done, total;    /* figures */
} ls_meter;

/* A pool of all CPUs; counts figures as they are asked for. */
LS_API ls_status ls_meter_init(ls_meter *meter, const ls_measure_options *options);
LS_API void ls_meter_deinit(ls_meter *meter);
/* Says what comes next. */
void ls_meter_tell(ls_meter *meter, const char *what);

/* Work of one thread, `rounds` times. `thread` is 0 .. threads - 1, each on a thread of its own. */
typedef void (*ls_work_fn)(void *user, int thread, int64_t rounds);
/* Rate of `threads` threads (1, or all of the meter's) at once: units of one thread's round, times threads, over the time from the
 * first start to the last end. */
ls_status ls_meter_rate(ls_meter *meter, int threads, ls_work_fn fn, void *user,
                        double units_per_round, ls_measure *out);
/* One round on each of `threads` threads. */
ls_status ls_meter_once(ls_meter *meter, int threads, ls_work_fn fn, void *user);
/* Sorts the values; n >= 1. Of more than twenty the twentieth part at either end is left out of least and most. */
LS_API ls_measure ls_measure_of(double *values, int n);
/* At quantile q (0 .. 1) of sorted values. */
LS_API double ls_quantile(const double *sorted, int n, double q);
/* Fills with numbers in [-1, 1) that nothing can compress or guess: zeros cost some processors less power. */
void ls_fill_random_f32(float *data, int64_t n, uint32_t seed);
void ls_fill_random_bf16(void *data, int64_t n, uint32_t seed);
void ls_fill_random_bytes(void *data, int64_t n, uint32_t seed);

/* The parts of a profile; each adds its rows to `machine`. */
LS_API ls_status ls_measure_gemm(ls_meter *meter, ls_machine *machine);
LS_API ls_status ls_measure_memory(ls_meter *meter, ls_machine *machine);
LS_API ls_status ls_measure_fork_join(ls_meter *meter, ls_machine *machine);
/* Efficiency of kernels on small models of each kind, forward, backward and update. */
LS_API ls_status ls_measure_kernels(ls_meter *meter, ls_machine *machine);
/* Ranks as threads of this process. */
LS_API ls_status ls_measure_exchange_threads(ls_meter *meter, ls_machine *machine);
/* Collective: between the ranks of `comm`. Rows are the same on every rank: the time of the slowest. */
LS_API ls_status ls_measure_exchange(ls_meter *meter, ls_comm *comm, ls_machine *machine);
/* A file of its own in `folder`, which is removed. */
LS_API ls_status ls_measure_disk(ls_meter *meter, const char *folder, ls_machine *machine);
/* gemm, memory, fork/join, kernels, threads. */
LS_API ls_status ls_measure_machine(ls_meter *meter, ls_machine *machine);

/* --- the nodes of a program ------------------------------------------------------------------------------------------ */

/* Nodes of a plan that are alike: op, attributes, types, kernel. */
typedef struct ls_node_row {
    const char *op, *kernel, *types, *attr; /* types: "bf16[4, 64], f32[64] -> bf16[4, 64]" */
    char kind[LS_MACHINE_CLASS_BYTES];      /* ls_cost_kind */
    ls_dtype dtype;                         /* of the roof */
    int64_t times;                          /* a step */
    double flops, bytes;                    /* each */
    double first; /* seconds of the launch within the step, operands where the step left them */
    ls_measure seconds; /* alone, again and again */
} ls_node_row;

typedef struct ls_node_table {
    ls_node_row *rows; /* the longest in all first; memory of the arena */
    int n_rows;
    double seconds;  /* of the sum over rows: times * median */
    ls_measure step; /* whole steps */
} ls_node_table;

/* Runs steps of a lowered program of one rank (weights initialised) and times every distinct node of lane 0 alone, on the values that the
 * step gives it: what a node wrote over its inputs is put back before it runs again, but for updates of persistent values. The program's
 * state is of no use afterwards. `run` feeds it. */
LS_API ls_status ls_measure_nodes(ls_meter *meter, ls_program *program, const ls_run_options *run,
                                  ls_arena *arena, ls_node_table *out);

#endif
