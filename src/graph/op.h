/* What an op is: its types, gradient, sharding rule, cost and kernels, and what a kernel sees when it runs.
 *
 * One op is one constant `const ls_op ls_op_<name>` in its room src/op/<name>/ and one line in src/op/op.def.
 * Everything here is read-only after start: thread-safe, Local. */
#ifndef LS_GRAPH_OP_H
#define LS_GRAPH_OP_H
#include "base/alloc.h"
#include "base/cpu.h"
#include "base/thread.h"
#include "comm/comm.h"
#include "device/device.h"
#include "lockstep/graph.h"
#include "lockstep/tensor.h"
#include <stddef.h>
#include <stdint.h>

enum { LS_MAX_OUT = LS_COMM_MAX_PARTS + 1 }; /* results of one node; inputs are not bounded */

typedef struct ls_type {
    ls_dtype dtype;
    ls_shape shape;
} ls_type;

typedef struct ls_op ls_op;

/* An op applied to types: what cost and kernels look at. */
typedef struct ls_sig {
    const ls_op *op;
    const void *attr; /* op->attr_bytes bytes, the op's own struct; NULL when 0 */
    int n_in, n_out;
    const ls_type *in;
    const ls_type *out;
} ls_sig;

/* Logical position of the work: the key of counter-based randomness. */
typedef struct ls_position {
    uint64_t seed;
    uint64_t step;
    int64_t lane;
} ls_position;

typedef struct ls_launch {
    const ls_sig *sig;
    const ls_tensor *in; /* n_in; data is read-only */
    ls_tensor *out;      /* n_out */
    void *workspace; /* 64-byte aligned, workspace_bytes(sig, threads) long, content undefined */
    ls_pool *pool;   /* may be NULL */
    ls_position position;
    /* Collective ops: */
    ls_comm *comm;     /* NULL: one rank alone */
    int64_t node;      /* number in the graph */
    const char *scope; /* where in the model; NULL outside a program */
} ls_launch;

/* One tile of an elementwise kernel's work: op/tile.h. */
struct ls_tile;
typedef void (*ls_tile_fn)(const struct ls_tile *tile);

typedef struct ls_kernel {
    const char
        *name; /* <op>_<dir>_<device>_<method>, e.g. "matmul_fwd_cpu_amx_32x32", "gelu_fwd_ref" */
    ls_device_kind device;
    ls_isa isa; /* least instruction-set level needed */
    /* NULL = accepts; otherwise the reason for --explain ("dtype f64", "inner dimension not a multiple of 32"). May be NULL: accepts all.
     * Must not depend on thread count. */
    const char *(*refuses)(const ls_sig *sig);
    size_t (*workspace_bytes)(const ls_sig *sig, int n_threads); /* NULL = none */
    ls_status (*launch)(const ls_launch *launch);
    /* Elementwise kernels: the function of one tile that launch runs over all of them; it takes the first *n_tiled_out inputs as tiles
     * and reads the others (scalars) itself. Fused chains are made of these. NULL: has none. */
    ls_tile_fn (*tile)(const ls_sig *sig, int *n_tiled_out);
} ls_kernel;

typedef struct ls_cost {
    double flops;
    double bytes_read;
    double bytes_written;
} ls_cost;

/* Gradient rule's view of one node. Builds nodes with public builders and fills din[i] for each i with wants[i]; leaving
 * LS_VALUE_NONE there means a zero gradient. */
typedef struct ls_grad {
    ls_graph *graph;
    const ls_sig *sig;
    const ls_value *in;   /* n_in */
    const ls_value *out;  /* n_out: the forward results may be reused */
    const ls_value *dout; /* n_out: LS_VALUE_NONE where nothing flows back */
    const int *wants;     /* n_in */
    ls_value *din;        /* n_in, all LS_VALUE_NONE at first */
} ls_grad;

/* Where a tensor is split along one mesh axis: a dim >= 0, or one of these. */
enum { LS_SHARD_REPLICATED = -1, LS_SHARD_PARTIAL = -2 /* every rank holds a term of the sum */ };

enum {
    LS_OP_RANDOM = 1 << 0,      /* result depends on ls_position */
    LS_OP_ELEMENTWISE = 1 << 1, /* out[0][i] depends on element i of equally shaped inputs only */
    LS_OP_KEEP_F32 = 1 << 2,    /* the precision pass leaves its float inputs as they are */
    LS_OP_UPDATE =
        1 << 3 /* aliased results are in-place updates of persistent values (optimizer steps) */
};

struct ls_op {
    const char *name;
    int min_in, max_in; /* max_in -1: any number */
    size_t attr_bytes;
    unsigned flags;
    /* Checks inputs and attributes, writes *n_out types. Messages name the op, what it wants and what it got. */
    ls_status (*infer)(const void *attr, int n_in, const ls_type *in, int *n_out, ls_type *out);
    /* NULL: not differentiable (asking is an error). */
    ls_status (*grad)(ls_grad *grad);
    /* Given the split of each input, says that of each output; LS_ERR_UNSUPPORTED when it would need communication.
     * NULL: any split input is unsupported. */
    ls_status (*shard)(const ls_sig *sig, const int *in_split, int *out_split);
    /* NULL: flops 0, every operand read or written once. */
    void (*cost)(const ls_sig *sig, ls_cost *out);
    /* Attributes as "key=value key=value"; also what the structural hash sees. NULL when attr_bytes is 0. */
    void (*print)(const void *attr, ls_text *out);
    /* Index of the input whose memory out `i` is (view, in-place update), or -1. NULL: none. */
    int (*alias)(const ls_sig *sig, int i);
    /* Bytes between the places of neighbouring members' results in the input's memory: a result that aliases begins at its input +
     * member * stride. NULL: 0. */
    size_t (*alias_stride)(const ls_sig *sig, int i);
    /* Bit i set: out[0] may be written over input i when that input is not needed again. */
    unsigned may_overwrite;
    const ls_kernel *const *kernels; /* best first, reference last, NULL-terminated */
};

/* Helpers for infer: fail with the op's name and what was found. */
LS_API ls_status ls_infer_float(const char *op, const char *operand, const ls_type *type);
LS_API ls_status ls_infer_same_shape(const char *op, const ls_type *a, const ls_type *b);
LS_API ls_status ls_infer_dims(const char *op, const char *operand, const ls_type *type,
                               int n_dims);
/* The common sharding rule of elementwise ops: all inputs split alike. */
LS_API ls_status ls_shard_elementwise(const ls_sig *sig, const int *in_split, int *out_split);
LS_API int64_t ls_type_count(const ls_type *type);
LS_API size_t ls_type_bytes(const ls_type *type);
LS_API void ls_cost_default(const ls_sig *sig, ls_cost *out);

#endif
