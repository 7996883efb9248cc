/* The data-parallel pass's inside: what its files share. See data_parallel.c. */
#ifndef LS_PLAN_PASS_DATA_PARALLEL_H
#define LS_PLAN_PASS_DATA_PARALLEL_H
#include "op/collective.h"
#include "plan/pass/pass.h"

/* Tensors that travel together. Values are of the new graph. */
typedef struct dp_bucket {
    ls_collective_attr attr;
    ls_value from[LS_COMM_MAX_PARTS]; /* values of the old graph that they stand for */
    ls_value x[LS_COMM_MAX_PARTS];
    ls_value pending[LS_MAX_OUT];
    ls_value y[LS_COMM_MAX_PARTS];
    int64_t bytes;
    int first_unit;
} dp_bucket;

typedef struct dp_pass {
    const ls_dp_options *o;
    const ls_graph *from;
    ls_graph *to;
    ls_value *map; /* per old value: the new one; a piece, for what is sharded */
    ls_arena *arena;
    int n_tickets;
    /* gathering (zero >= 1) */
    char *sharded; /* per old value: kept as a piece */
    char *
        in_place; /* per old value: a sharded parameter that lanes read as it is (zero 1, 2): kept whole, gathered in place */
    ls_value *whole; /* per old value: gathered, for lane nodes */
    int *whole_run;  /* per old value: the run for which it was gathered; -1 never */
    int *node_run;   /* per old node: its run of lane nodes of one phase and unit; -1 none */
    int n_runs, run;
    dp_bucket **run_buckets; /* per run: its gathers under way; list by run_n */
    int *run_n;
    int gathered_all; /* zero 1, 2: done */
    /* reducing (zero >= 2) */
    char *grad_source; /* per old value: a lane's gradient that is summed */
    ls_value *reduced; /* per old value: my piece of it, summed over members */
    dp_bucket *open, *under_way;
    /* update */
    dp_bucket *norms; /* sums of squares waiting to be gathered */
} dp_pass;

/* This rank's piece of a value of the new graph, as a view. */
ls_value ls_dp_piece(dp_pass *p, ls_value x, int64_t count);
dp_bucket *ls_dp_bucket_open(dp_pass *p); /* NULL: out of memory */
ls_status ls_dp_bucket_add(dp_pass *p, dp_bucket *b, ls_value from, ls_value x, int64_t count);
int ls_dp_bucket_is_full(const dp_pass *p, const dp_bucket *b, int64_t more_bytes);
ls_status ls_dp_start(dp_pass *p, dp_bucket *b, const ls_op *start_op);
ls_status ls_dp_wait(dp_pass *p, dp_bucket *b, const ls_op *wait_op);

/* gather.c: what lane nodes read of sharded values. */
ls_status ls_dp_find_runs(dp_pass *p);
ls_status ls_dp_before_lane_node(dp_pass *p, const ls_node *node, int64_t index);
ls_status ls_dp_prepare_node(dp_pass *p, const ls_node *node);
ls_status ls_dp_emit_with_whole(dp_pass *p, const ls_node *node);

/* reduce.c: sums over members. */
ls_status ls_dp_after_lane_node(dp_pass *p, const ls_node *node); /* zero >= 2 */
ls_status ls_dp_end_lanes(dp_pass *p);                            /* zero >= 2 */
ls_status ls_dp_begin_update(dp_pass *p);
ls_status ls_dp_before_update_node(dp_pass *p, const ls_node *node);
ls_status ls_dp_sum_squares(dp_pass *p, const ls_node *node, int *handled);
int ls_dp_is_gradient(const ls_value_info *info);

#endif
