/* Passes: graph in, graph out. Each takes *graph, and replaces it (destroying the old one) on success; on failure *graph is as it
 * was. Local. */
#ifndef LS_PLAN_PASS_H
#define LS_PLAN_PASS_H
#include "graph/node.h"
#include "lockstep/optim.h"
#include "lockstep/plan.h"

/* Compute in bf16 or f16: matrices of f32 parameters get a low-precision copy made once a step; masters, one-dimensional parameters and
 * statistics stay f32. Runs on the forward graph. */
ls_status ls_pass_precision(ls_graph **graph, ls_precision precision);
/* Adds the gradient of output "loss" and the lane sums "sum/loss" and "sum/count". */
ls_status ls_pass_backward(ls_graph *graph, ls_grad_parts *parts);
ls_status ls_pass_lane_sums(ls_graph *graph);
/* A tied embedding's two parts of the gradient become one: the rows that were looked up are added to what the head made. */
ls_status ls_pass_join_tied(ls_graph *graph, ls_grad_parts *parts);
/* A head whose logits of one lane take more than logits_bytes becomes cross_entropy_head; 0: none does. Runs on the pruned
 * graph. */
ls_status ls_pass_head(ls_graph **graph, int64_t logits_bytes);
/* Makes forward results again in the backward pass instead of keeping them: changes no result. Runs on the graph with gradient and update,
 * before anything sums a node's work over lanes or ranks. The report says what was done; with `auto`, why or why not. */
typedef struct ls_recompute_report {
    ls_recompute kind; /* what `auto` chose: cheap or none; otherwise what was asked for */
    int n_nodes;       /* made again in a lane */
    int64_t elements;  /* of their first results */
    int64_t bytes;     /* that a lane no longer keeps for its backward pass */
    double flops;      /* of a lane, without those */
    int64_t n_parameters;
} ls_recompute_report;
ls_status ls_pass_recompute(ls_graph **graph, const ls_plan_options *options,
                            ls_recompute_report *report);
/* Elementwise chains become one node, norms take in their elementwise neighbours: no result changes. Runs on the whole graph. */
typedef struct ls_fuse_options {
    int one_stage;   /* no pipeline: nodes of different units may become one */
    int zero_bubble; /* backward nodes are run in two halves */
    ls_arena *arena; /* of the report */
} ls_fuse_options;
typedef struct ls_fuse_report {
    int n_taken, n_made; /* nodes that became one, and how many those are */
    double bytes_saved;  /* that a lane need not move */
    const char *text;    /* a line each; NULL for none */
} ls_fuse_report;
ls_status ls_pass_fuse(ls_graph **graph, const ls_fuse_options *options, ls_fuse_report *report);
/* Moves nodes that read persistent values only to phase PREPARE. */
ls_status ls_pass_hoist(ls_graph *graph);
/* Removes nodes whose results nobody reads. */
ls_status ls_pass_prune(ls_graph **graph);
/* Cuts the training step among the members of mesh axis dp (or, FORWARD, only gathers what is kept in pieces): collectives become
 * nodes. Runs after everything that looks at whole parameters. */
typedef struct ls_dp_options {
    int size, lanes, zero, fast, staged, training;
    ls_wire wire;
    int64_t bucket_bytes;
} ls_dp_options;
ls_status ls_pass_data_parallel(ls_graph **graph, const ls_dp_options *options);
/* A weight that several products of a step read packed in one form is packed once, into a node of its own. Runs after the weights are
 * gathered, on the level of instructions of this machine. Changes no result. */
typedef struct ls_layout_options {
    int lanes; /* that a rank runs while what is prepared lasts: a step, or several runs without update */
    int least_reads; /* of a pack: 2 or more */
    ls_arena *arena; /* of the report */
} ls_layout_options;
typedef struct ls_layout_report {
    int n_weights, n_forms; /* laid out, and in how many forms all together */
    int64_t bytes;          /* that the forms take */
    double before, after;   /* bytes of weights that a rank packs in a step */
    const char *text;       /* a line each; NULL for none */
} ls_layout_report;
ls_status ls_pass_layout(ls_graph **graph, const ls_layout_options *options,
                         ls_layout_report *report);
/* Low-precision copies of weights that lie whole in this rank's memory are made again by every unit's forward and backward pass that reads
 * them, not once a step, if a lane does at least `least_work` floating-point operations for each copied weight. Runs after `layout`: what is
 * packed once a step is not read by lanes. Changes no result. */
typedef struct ls_copies_report {
    int n_weights, n_casts; /* copied, and how often all together a lane */
    int64_t bytes;          /* that the copies would take all through the step */
} ls_copies_report;
ls_status ls_pass_copies(ls_graph **graph, double least_work, ls_copies_report *report);
/* Every lane sum gets an f32 source of its own, made in the lane's last segment. Last of the passes: it appends nodes out of phase order. */
ls_status ls_pass_deposit(ls_graph *graph, int training, int zero_bubble);

#endif
