/* The plan's inside, for exec and the printers. See lockstep/plan.h. Read-only once made. */
#ifndef LS_PLAN_PLAN_H
#define LS_PLAN_PLAN_H
#include "base/json.h"
#include "comm/comm.h"
#include "graph/node.h"
#include "lockstep/plan.h"
#include "plan/pass/pass.h"

/* Where bytes of a rank live. */
#define LS_REGION_MAP(X)                                                                         \
    X(WEIGHTS, weights)     /* parameters */                                                     \
    X(OPTIMIZER, optimizer) /* optimizer state */                                                \
    X(BUFFERS, buffers)     /* other persistent state: running statistics, counters */           \
    X(KEPT, kept)           /* options.kept: the other buffer of the three above */              \
    X(GRADIENTS, gradients) /* lane sums: n_levels buffers of one lane's sums */                 \
    X(PREPARED, prepared)   /* made once a step from weights: bf16 copies */                     \
    X(STEP, step)           /* step inputs, results that cross update rounds */                  \
    X(SLOTS, activations)   /* what one lane's segments leave for each other: n_slots of them */ \
    X(SCRATCH, workspace)   /* within a segment: temporaries and kernel workspace */             \
    X(CHANNELS, communication) /* messages on their way between ranks */

typedef enum ls_region {
#define LS_REGION_ENUM(upper, lower) LS_REGION_##upper,
    LS_REGION_MAP(LS_REGION_ENUM)
#undef LS_REGION_ENUM
        LS_REGION_COUNT,
    LS_REGION_NONE = -1 /* not on this rank */
} ls_region;

typedef struct ls_place {
    ls_region region;
    size_t offset; /* within the region; within one slot or one gradient buffer */
    size_t bytes;
    size_t member_stride; /* a data-parallel member's view begins at offset + member * stride */
} ls_place;

typedef enum ls_segment_kind {
    LS_SEGMENT_PREPARE,
    LS_SEGMENT_FORWARD,
    LS_SEGMENT_BACKWARD, /* whole, or its input-gradient half under zero bubble */
    LS_SEGMENT_WEIGHT,   /* weight-gradient half under zero bubble */
    LS_SEGMENT_REDUCE,   /* starts the exchange of one bucket of lane sums */
    LS_SEGMENT_UPDATE    /* optimizer, one per round of exchanges */
} ls_segment_kind;

typedef struct ls_segment {
    ls_segment_kind kind;
    int round; /* UPDATE; REDUCE: the bucket */
    int64_t n_nodes;
    int32_t *nodes;            /* graph order */
    const ls_kernel **kernels; /* per node */
    size_t *workspace_offset;  /* per node, in SCRATCH */
    size_t scratch_bytes;
} ls_segment;

/* Bytes that something needs from `first` to `last`, in steps of some count. */
typedef struct ls_block {
    int64_t first, last;
    size_t bytes, offset;
    int merged_into; /* other block of the segment that holds it, or -1 */
} ls_block;

/* What a segment needs in SCRATCH: results that it alone reads and its kernels' workspace, by position in the segment. */
typedef struct ls_scratch {
    ls_block *blocks;
    int n_blocks;
    int *of_workspace; /* per node: its block, or -1 */
} ls_scratch;

/* One value that travels from a rank to another, `depth` messages buffered. */
typedef struct ls_channel {
    int from, to;
    ls_value value;
    size_t bytes;
    int depth;
    ls_segment_kind
        after; /* sent when this segment of `from` is done, received before the first reader's */
    int after_round;
    ls_segment_kind before;
    int before_round;
} ls_channel;

typedef enum ls_command_kind {
    LS_COMMAND_FEED, /* the caller fills the lane's inputs (lane -1: step inputs) */
    LS_COMMAND_RUN,
    LS_COMMAND_SEND,
    LS_COMMAND_RECV,
    LS_COMMAND_ADD,  /* gradient buffer `level` += buffer level + 1, in the fold's range */
    LS_COMMAND_ROUND /* gradient buffer `level` to the wire's format, in the fold's range */
} ls_command_kind;

enum { LS_FOLD_GRADIENTS, LS_FOLD_NUMBERS, LS_FOLD_BUCKETS };
/* A range of the gradient buffers that is rounded and added at once. */
typedef struct ls_fold {
    size_t offset, bytes;
    ls_wire wire; /* of the sums there */
} ls_fold;

typedef struct ls_command {
    ls_command_kind kind;
    int segment;     /* RUN: index into segments */
    int first, last; /* RUN: steps first .. last - 1; last 0 = all */
    int channel;     /* SEND, RECV: index into plan channels */
    int fold;        /* ADD, ROUND: index into the rank's folds */
    int lane;        /* this rank's lanes are numbered from 0: see ls_plan_lane */
    int slot, level;
} ls_command;

/* One stage of the pipeline; every data-parallel member of it runs the same. */
typedef struct ls_rank_plan {
    int rank, stage;
    ls_segment *segments;
    int n_segments;
    ls_command *commands;
    int64_t n_commands, commands_capacity;
    ls_place *places; /* per graph value */
    int n_slots, n_levels;
    ls_fold *folds; /* all gradients; the other sums; then one per bucket */
    int n_folds;
    size_t slot_bytes, gradient_bytes; /* of one slot, of one buffer */
    size_t bytes[LS_REGION_COUNT];
    /* Gradients and scratch over copies and activations that are not alive (plan/overlay.c): PREPARED, SLOTS and SCRATCH are one piece of
     * memory, in which GRADIENTS begins at overlay_shift; overlay_bytes for all four, overlaid_bytes less than they have apart. 0:
     * apart. */
    size_t overlay_shift, overlay_bytes, overlaid_bytes;
    int read_by_peers[LS_REGION_COUNT]; /* must lie in the transport's memory */
    double flops_per_lane;
} ls_rank_plan;

struct ls_plan {
    ls_arena *arena;
    ls_graph *graph; /* after all passes */
    ls_mesh mesh;
    ls_plan_options options;
    ls_device_kind kernel_device;
    int n_stages, n_units;
    int *unit_stage;       /* per unit + 1 (index 0 = unit -1) */
    ls_value *roots;       /* per value: the value whose memory it is */
    size_t *member_stride; /* per value: of its view of the root */
    size_t *room;          /* per root: bytes it needs for all members' views; 0: its own */
    int n_members;         /* of axis dp */
    int64_t bucket_bytes;  /* tensors exchanged together */
    int n_buckets;         /* of gradients, zero 0 and 1 */
    int *sum_bucket;       /* per value: bucket of a lane sum, or -1 */
    int n_ranks;           /* stages */
    ls_rank_plan *ranks;
    ls_channel *channels;
    int n_channels;
    int64_t channels_capacity;
    int64_t n_parameters;
    double flops_per_step;
    ls_recompute_report again;
    ls_fuse_report fused;
    ls_layout_report layout;
    ls_copies_report copies;
};

enum { LS_PLACE_ALIGN = 64, LS_SUM_ALIGN = 4 * LS_SHARD_UNIT, LS_KEPT_ALIGN = 4096 };
LS_API size_t ls_align_up(size_t bytes, size_t to);

/* Stages of ls_plan_make, in order. */
ls_status ls_plan_cut(ls_plan *plan);     /* units to stages, roots, halves */
ls_status ls_plan_segment(ls_plan *plan); /* nodes to segments, channels */
ls_status ls_plan_find_buckets(ls_plan *plan);
ls_status ls_plan_schedule(ls_plan *plan); /* commands, slots, levels */
ls_status ls_plan_place(ls_plan *plan);    /* memory */
/* Lays a rank's gradients and scratch over its copies and activations where it may; once those have places. `scratch`: per segment; its
 * blocks' offsets change. */
ls_status ls_plan_overlay(const ls_plan *plan, ls_rank_plan *rank, ls_scratch *scratch,
                          ls_arena *arena);
/* Places n blocks, the largest first, each at the lowest offset where it meets nothing that lives at the same time. placed: n_placed
 * blocks by offset, with room for n more. Returns the end of all. */
size_t ls_blocks_place(ls_block **blocks, int n, ls_block **placed, int n_placed);
ls_status ls_plan_choose_kernels(ls_plan *plan);
ls_status ls_plan_count(ls_plan *plan); /* parameters and FLOPs */
/* Adds what the node computes by its op's cost. */
ls_status ls_plan_add_flops(const ls_graph *graph, const ls_node *node, double *flops);

/* Of a persistent value: the elements that this rank's memory holds the truth of. Pieces of other members may lie beside them (a gathered
 * copy); they are not part of the state. */
typedef struct ls_plan_part {
    const char *name; /* belongs to the plan */
    ls_role role;
    ls_type whole; /* of the logical tensor */
    int64_t first,
        count;     /* elements of the whole tensor, flattened in row-major order; count may be 0 */
    int is_shared; /* every member of the data-parallel group holds the same elements */
    ls_region region;
    size_t offset; /* of element `first` in the region, in bytes */
} ls_plan_part;
/* The parts of a rank, in graph order. Local. */
LS_API ls_status ls_plan_parts(const ls_plan *plan, int rank, ls_arena *arena,
                               ls_plan_part **parts_out, int *n_out);
/* Is a persistent value kept whole, though perhaps only a piece of it is current? */
int ls_plan_is_whole(const ls_value_info *info);
/* Elements of the whole tensor that are current at a member. */
void ls_plan_range(const ls_value_info *info, int member, int64_t *first_out, int64_t *count_out);
/* options.kept: bytes of one of the two buffers of persistent values (weights, optimizer, buffers), whole pages, and where a region
 * begins in it, a multiple of LS_PLACE_ALIGN. 0 without. */
LS_API size_t ls_plan_kept_bytes(const ls_plan *plan, int rank);
LS_API size_t ls_plan_kept_offset(const ls_plan *plan, int rank, ls_region region);
size_t ls_rank_kept_bytes(const ls_rank_plan *rank);
size_t ls_rank_kept_offset(const ls_rank_plan *rank, ls_region region);

/* Global number of member `member`'s lane `local`. */
LS_API int ls_plan_lane(const ls_plan *plan, int member, int local);
LS_API int ls_plan_stage_of_rank(const ls_plan *plan, int rank);
/* Bucket in which a lane sum is exchanged (zero 0, 1), or -1. */
int ls_plan_bucket_of(const ls_plan *plan, ls_value accum);
/* Stage of a lane node, by its unit. */
int ls_plan_stage_of(const ls_plan *plan, const ls_node *node);
/* What ranks exchange in one step, for the printers. */
typedef struct ls_exchange_row {
    const char *op, *scope; /* "reduce_scatter" */
    ls_segment_kind segment;
    int tensors, times; /* times a step */
    double bytes;       /* that one rank takes from others, each time */
} ls_exchange_row;
/* Rows of a rank in order; neighbours alike are one row. Arena memory. */
ls_status ls_plan_exchanges(const ls_plan *plan, const ls_rank_plan *rank, ls_arena *arena,
                            ls_exchange_row **rows_out, int *n_out);
/* What becomes of a large head and of a tied weight's gradient, a line each. */
void ls_plan_print_head(const ls_plan *plan, ls_text *out);
void ls_plan_print_collectives(const ls_plan *plan, const ls_rank_plan *rank, ls_text *out);
json_t *ls_plan_collectives_json(const ls_plan *plan, const ls_rank_plan *rank);
/* Segment of rank `rank` that runs node `n`, or -1. */
int ls_rank_segment_of(const ls_rank_plan *rank, int32_t node);

#endif
