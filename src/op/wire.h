/* Wire formats (ls_wire) as arithmetic: rounding of sums, and pieces as bytes.
 *
 * f32   as it is.
 * bf16  rounded to nearest even; two bytes an element. NaN becomes the one quiet NaN.
 * int8  blocks of 32 elements, counted from the tensor's (or piece's) first, share one scale 2^k: k is the least of -126 .. 121 for
 *       which amax / 2^k <= 127; an element is rounded to nearest even of x / 2^k and kept within 127. 64 signed bytes, then two
 *       bytes k + 127 (255: the block is NaN, because it held NaN or infinity). After MXINT8, OCP Microscaling Formats 1.0.
 * A unit is LS_SHARD_UNIT elements; elements past a tensor's end are zeros. Rounding is idempotent: what is rounded has
 * amax / 2^k in [64, 127], so k stays, and its elements are whole multiples of 2^k. -0 becomes 0 in int8.
 * The functions here are the reference, plain loops; kernels are in op/wire_cpu.h and give the same bits. Local, reentrant. */
#ifndef LS_OP_WIRE_H
#define LS_OP_WIRE_H
#include "comm/comm.h"
#include <stddef.h>
#include <stdint.h>

enum { LS_WIRE_BLOCK = 32 };

/* Bytes of `count` elements on the way: whole units for bf16 and int8. */
LS_API size_t ls_wire_bytes(int wire, int64_t count);
/* y may be x. */
LS_API void ls_wire_round(int wire, const float *x, int64_t count, float *y);
/* bf16, int8: ls_wire_bytes() of them. f32: a copy. */
LS_API void ls_wire_encode(int wire, const float *x, int64_t count, void *out);
LS_API void ls_wire_decode(int wire, const void *bytes, int64_t count, float *y);

/* A sum over operands: the binary tree over their index (neighbours, then pairs of neighbours, ...), leaves, nodes and root rounded. */
typedef struct ls_wire_sum {
    int wire;
    int encoded; /* operands are ls_wire_encode()d, not f32; never with wire f32 */
    int n;       /* operands: a power of two */
    int stride;  /* operand r is views[r * stride] */
    const ls_comm_view
        *views; /* may be where the result goes: elements are read before they are written */
} ls_wire_sum;

/* One level's functions. Ranges start at a multiple of LS_SHARD_UNIT and end at one or at the operands' end. */
typedef struct ls_wire_fns {
    /* y[0 .. count): elements begin .. begin + count of the sum. */
    void (*sum)(const ls_wire_sum *sum, int64_t begin, int64_t count, float *y);
    void (*encode)(int wire, const float *x, int64_t count, void *out);
} ls_wire_fns;
extern LS_API const ls_wire_fns ls_wire_fns_ref;

#endif
