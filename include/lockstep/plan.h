/* The plan: what every rank will run, in which order, in which bytes, before anything runs.
 *
 * ls_plan_make takes the forward graph of one lane (outputs "loss" and "count" when training) through the passes and gives
 * segments, a schedule, a static memory layout and a cost for every rank. Nothing is allocated on a device and no kernel runs.
 * Bytes are exact: a run allocates what its plan says. Thread-safety: a finished plan is read-only. Local. */
#ifndef LOCKSTEP_PLAN_H
#define LOCKSTEP_PLAN_H
#include "lockstep/comm.h"
#include "lockstep/graph.h"
#include "lockstep/optim.h"
#include <stdint.h>

typedef struct ls_plan ls_plan;

/* Mesh axes: how many ranks along each; 0 counts as 1. The world is their product: ranks are numbered as the elements of an
 * array [pp][dp][ep][cp][tp], the last axis fastest, so that the axes that talk most have neighbouring ranks. */
typedef struct ls_mesh {
    int dp, tp, pp, cp, ep;
} ls_mesh;
typedef enum ls_axis {
    LS_AXIS_PP,
    LS_AXIS_DP,
    LS_AXIS_EP,
    LS_AXIS_CP,
    LS_AXIS_TP,
    LS_AXIS_COUNT
} ls_axis;
extern LS_API const char *const ls_axis_names[]; /* "pp", "dp", ... */
LS_API int ls_mesh_size(const ls_mesh *mesh);
LS_API int ls_mesh_axis(const ls_mesh *mesh, ls_axis axis); /* ranks along it */
LS_API int ls_mesh_index(const ls_mesh *mesh, ls_axis axis,
                         int rank); /* position of a rank along it */
/* Ranks of the group that `rank` is in along `axis`, in order; ranks_out holds ls_mesh_axis of them. */
LS_API void ls_mesh_group(const ls_mesh *mesh, ls_axis axis, int rank, int *ranks_out);

typedef enum ls_plan_mode {
    LS_PLAN_TRAIN,  /* forward, backward, lane sums, optimizer */
    LS_PLAN_FORWARD /* forward and lane sums only: evaluation, generation */
} ls_plan_mode;

typedef enum ls_precision { LS_PRECISION_F32, LS_PRECISION_BF16, LS_PRECISION_F16 } ls_precision;

typedef enum ls_pipeline_kind {
    LS_PIPELINE_1F1B, /* one forward, one backward (PipeDream-flush, arXiv 2006.09503); plain accumulation on one stage */
    LS_PIPELINE_GPIPE,      /* all forwards, then all backwards (arXiv 1811.06965) */
    LS_PIPELINE_ZERO_BUBBLE /* weight gradients deferred into the bubbles (ZB-H1, arXiv 2401.10241) */
} ls_pipeline_kind;

typedef enum ls_recompute {
    /* Forward results made again in the backward pass instead of kept: no result changes. */
    LS_RECOMPUTE_AUTO, /* CHEAP where a rank trains one lane a step, which does 8,000 operations for each element
                          made again and no longer keeps a byte for each parameter; otherwise NONE */
    LS_RECOMPUTE_NONE,
    /* results of norms and activations in the layers, whose arguments are kept anyway: few FLOPs for many bytes */
    LS_RECOMPUTE_CHEAP,
    LS_RECOMPUTE_ATTENTION, /* attention results are made again in the backward pass */
    LS_RECOMPUTE_LAYER,     /* every unit between the first and the last keeps its input only */
    LS_RECOMPUTE_BYTES /* as many layers as it takes to keep activations of a lane under recompute_bytes */
} ls_recompute;

typedef enum ls_fuse {
    LS_FUSE_ON, /* elementwise chains and the neighbours of norms run as one node, in cache: no result changes */
    LS_FUSE_OFF /* node by node, for comparison */
} ls_fuse;

typedef enum ls_packing {
    /* A weight is packed once a step for the products that read it packed alike: no result changes. */
    LS_PACKING_AUTO, /* where there are at least eight of them: fewer hardly pay for a pack that lies in memory */
    LS_PACKING_ALL, /* where there are at least two */
    LS_PACKING_OFF  /* every product packs for itself */
} ls_packing;

typedef enum ls_casting {
    /* When bf16 and f16 copies of weights are made: no result changes. */
    LS_CASTING_AUTO, /* training with one lane on a rank that does 6,000 operations a weight (a thousand tokens):
                        where they are read; otherwise once a step */
    LS_CASTING_STEP, /* once a step, kept for all lanes */
    LS_CASTING_USE /* right before the layer's forward and backward pass that reads them, and not kept */
} ls_casting;

typedef struct ls_plan_options {
    ls_plan_mode mode;
    const char *
        device; /* "cpu", "fake", "cuda": decides which kernels are looked at ("fake" plans for the CPU) */
    int threads; /* per rank: kernels' workspace depends on it */
    int lanes;   /* power of two; a multiple of the mesh's dp */
    ls_precision precision;
    ls_pipeline_kind schedule;
    ls_recompute recompute;
    int64_t recompute_bytes;
    ls_fuse fuse;
    ls_packing pack;
    ls_casting cast_weights;
    int repeats; /* FORWARD: runs that will share what is prepared (ls_run_options.prepared); 0: 1 */
    /* A lane whose logits take more makes them block by block, with loss and gradients, and stores none; 0: never. Changes no bit. FORWARD:
     * for evaluation, which fetches sums: output "logits" is dropped. */
    int64_t logits_bytes;
    int reference_kernels;         /* use the reference kernel of every op (tests) */
    const ls_optim_options *optim; /* TRAIN: required */
    double static_count;           /* TRAIN: targets counted in a full global batch */
    /* Data parallelism (ZeRO: arXiv 1910.02054): what is cut among the ranks of axis dp. 0: nothing; 1: masters of the weights
     * and optimizer state; 2: and gradients; 3: and the weights that lanes compute with, gathered unit by unit ahead of use. */
    int zero;
    int shard_lanes; /* FORWARD: lanes of the training run whose pieces it reads; 0: lanes */
    ls_wire wire;    /* rounding of every node of the lane tree */
    int fast;        /* sums between ranks in the transport's own order: not exact */
    int hosts;       /* ranks are on so many hosts; 0 or 1: they share memory */
    int kept; /* TRAIN: persistent values have two buffers; a run reads one, its updates write the other, then they change places. A process
                * that dies in the middle leaves the state before the step intact. CPU only */
    int64_t
        bucket_bytes; /* tensors exchanged together; 0: chosen by the link's latency and bandwidth */
    double link_latency_us,
        link_gbps; /* 0: of shared memory, or of a usual network when hosts > 1 */
} ls_plan_options;

/* `model` is read, not kept. */
LS_API ls_status ls_plan_make(const ls_graph *model, const ls_mesh *mesh,
                              const ls_plan_options *options, ls_plan **out);
LS_API void ls_plan_destroy(ls_plan *plan);
LS_API int ls_plan_ranks(const ls_plan *plan);
/* Bytes rank `rank` will allocate on its device, all kinds together. */
LS_API int64_t ls_plan_bytes(const ls_plan *plan, int rank);
/* Human text; `explain` adds the kernel of every node and why others were refused. Free with ls_free. */
LS_API ls_status ls_plan_print(const ls_plan *plan, int explain, char **text_out);
/* JSON text: parameters, flops, bytes.{weights,gradients,optimizer,buffers,prepared,activations,step,workspace,communication,total}, per rank too; with options.kept also
 * "kept": true and bytes.kept; "pack" where weights are packed once a step. */
LS_API ls_status ls_plan_print_json(const ls_plan *plan, char **text_out);
/* The graph after all passes; belongs to the plan. */
LS_API const ls_graph *ls_plan_graph(const ls_plan *plan);

#endif
