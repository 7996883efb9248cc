/* What a node costs by its op's own rule, and in time on a measured machine. Local, reentrant. */
#ifndef LS_PLAN_COST_COST_H
#define LS_PLAN_COST_COST_H
#include "plan/cost/machine.h"
#include "plan/plan.h"

/* The op's rule, or the default one. */
LS_API ls_cost ls_cost_of(const ls_sig *sig);
/* dtype that decides which multiply-add rate is the roof: of the first float operand. */
LS_API ls_dtype ls_cost_dtype(const ls_sig *sig);
/* Nodes whose kernels are equally good: "matmul bf16 nt", "gelu f32". */
LS_API void ls_cost_kind(const ls_sig *sig, char out[LS_MACHINE_CLASS_BYTES]);
/* Handing a node's work to the threads: nothing for one thread, and for work that is not worth it. */
LS_API double ls_cost_overhead(const ls_machine *machine, const ls_cost *cost, int threads);

/* Nodes of one kind in a step of one rank, or lane sums, or a collective. */
typedef struct ls_predict_row {
    char kind[LS_MACHINE_CLASS_BYTES];
    int64_t times;       /* a step */
    double flops, bytes; /* a step */
    double roof_seconds, seconds;
    double efficiency; /* of the machine's profile; the assumed one where that has none */
    int is_assumed, is_exchange;
    double compute_seconds; /* of roof_seconds: nodes whose flops take longer than their bytes */
} ls_predict_row;

typedef struct ls_prediction {
    ls_predict_row *rows; /* longest first; memory of the arena */
    int n_rows;
    double flops, compute_seconds, fold_seconds, exchange_seconds;
    double seconds; /* a step of the slowest rank: the sum; nothing is taken to overlap */
    double
        flops_roof; /* operations per second that rank could do at best, in the plan's precision */
    int threads;    /* that rank counts on */
} ls_prediction;

/* Without running anything. Ranks of one host share its threads and its memory's bandwidth. LS_ERR_UNSUPPORTED when the profile lacks
 * f32 multiply-adds or memory. */
LS_API ls_status ls_plan_predict(const ls_plan *plan, const ls_machine *machine, ls_arena *arena,
                                 ls_prediction *out);
/* A table for people; items: what a step does ("tokens"). */
LS_API void ls_prediction_print(const ls_prediction *prediction, const ls_machine *machine,
                                double items_per_step, const char *items, ls_text *out);
/* NULL when memory runs out. */
LS_API json_t *ls_prediction_json(const ls_prediction *prediction, const ls_machine *machine,
                                  double items_per_step);

#endif
