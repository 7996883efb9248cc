/* What the case harness cannot see of attention: messages, sharding, independence of neighbours, no look ahead. */
#include "base/alloc.h"
#include "op/attention/attention.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

typedef struct wrong {
    const ls_op *op;
    ls_attention_attr attr;
    int n_in;
    ls_type in[6];
    const char *says;
} wrong;

#define F32(...)                                                 \
    {                                                            \
        LS_DTYPE_F32, {                                          \
            (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), { \
                __VA_ARGS__                                      \
            }                                                    \
        }                                                        \
    }
#define BF16(...)                                                \
    {                                                            \
        LS_DTYPE_BF16, {                                         \
            (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), { \
                __VA_ARGS__                                      \
            }                                                    \
        }                                                        \
    }
#define I32(...)                                                 \
    {                                                            \
        LS_DTYPE_I32, {                                          \
            (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), { \
                __VA_ARGS__                                      \
            }                                                    \
        }                                                        \
    }

static const wrong wrongs[] = {
    {&ls_op_attention, {2, 1}, 1, {I32(1, 4, 12)}, "qkv must be a float tensor, got i32"},
    {&ls_op_attention, {2, 1}, 1, {F32(1, 4, 2, 6)}, "must have 3 dims"},
    {&ls_op_attention, {5, 1}, 1, {F32(1, 4, 12)}, "multiple of 3 * 5 heads"},
    {&ls_op_attention, {0, 1}, 1, {F32(1, 4, 12)}, "multiple of 3 * 0 heads"},
    {&ls_op_attention, {0, 1}, 2, {F32(1, 4, 2, 6), F32(1, 4, 2, 6)}, "got 2 inputs"},
    {&ls_op_attention,
     {0, 1},
     3,
     {F32(1, 4, 12), F32(1, 4, 12), F32(1, 4, 12)},
     "must have 4 dims"},
    {&ls_op_attention,
     {0, 1},
     3,
     {F32(1, 4, 2, 6), BF16(1, 4, 2, 6), F32(1, 4, 2, 6)},
     "one dtype, got f32 and bf16"},
    {&ls_op_attention,
     {0, 1},
     3,
     {F32(1, 4, 3, 6), F32(1, 4, 2, 6), F32(1, 4, 2, 6)},
     "multiple of the number of key/value heads, got 3 and 2"},
    {&ls_op_attention,
     {0, 1},
     3,
     {F32(1, 4, 2, 6), F32(1, 5, 2, 6), F32(1, 5, 2, 6)},
     "must agree in batch, tokens and head size"},
    {&ls_op_attention,
     {0, 1},
     3,
     {F32(1, 4, 2, 6), F32(1, 4, 2, 6), F32(1, 4, 1, 6)},
     "same shape, got [1, 4, 2, 6] and [1, 4, 1, 6]"},
    {&ls_op_attention_grad,
     {2, 1},
     4,
     {F32(1, 4, 12), F32(1, 4, 4), F32(1, 4, 2), F32(1, 4, 4)},
     "same shape, got [1, 4, 2] and [1, 2, 4]"},
    {&ls_op_attention_grad,
     {2, 1},
     4,
     {BF16(1, 4, 12), BF16(1, 4, 4), BF16(1, 2, 4), BF16(1, 4, 4)},
     "lse f32, got bf16 and bf16"},
    {&ls_op_attention_grad,
     {2, 1},
     5,
     {F32(1, 4, 12), F32(1, 4, 4), F32(1, 2, 4), F32(1, 4, 4), F32(1)},
     "got 5 inputs"},
};

static void wrong_inputs_are_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        const wrong *w = &wrongs[i];
        ls_type out[LS_MAX_OUT];
        int n_out = 0;
        assert_int_equal(w->op->infer(&w->attr, w->n_in, w->in, &n_out, out), LS_ERR_INVALID);
        if (!strstr(ls_error_message(), w->says))
            fail_msg("row %d says '%s', not '%s'", (int)i, ls_error_message(), w->says);
    }
}

static ls_sig sig_of(const ls_op *op, const ls_attention_attr *attr, int n_in, const ls_type *in,
                     ls_type *out) {
    ls_sig sig = {op, attr, n_in, 0, in, out};
    assert_int_equal(op->infer(attr, n_in, in, &sig.n_out, out), LS_OK);
    return sig;
}

static void heads_split_only_when_apart(void **state) {
    (void)state;
    const ls_attention_attr apart = {0, 1}, packed = {4, 1};
    const ls_type qkv[] = {F32(2, 8, 4, 6), F32(2, 8, 2, 6), F32(2, 8, 2, 6)};
    const ls_type one[] = {F32(2, 8, 72)};
    ls_type out[LS_MAX_OUT];
    int split[2];
    ls_sig sig = sig_of(&ls_op_attention, &apart, 3, qkv, out);
    assert_int_equal(ls_op_attention.shard(&sig, (int[]){2, 2, 2}, split), LS_OK);
    assert_int_equal(split[0], 2);
    assert_int_equal(split[1], 1);
    assert_int_equal(ls_op_attention.shard(&sig, (int[]){2, 2, 0}, split), LS_ERR_UNSUPPORTED);
    assert_int_equal(ls_op_attention.shard(&sig, (int[]){1, 1, 1}, split), LS_ERR_UNSUPPORTED);
    sig = sig_of(&ls_op_attention, &packed, 1, one, out);
    assert_int_equal(ls_op_attention.shard(&sig, (int[]){0}, split), LS_OK);
    assert_int_equal(split[1], 0);
    assert_int_equal(ls_op_attention.shard(&sig, (int[]){2}, split), LS_ERR_UNSUPPORTED);
    assert_non_null(strstr(ls_error_message(), "give q, k and v apart"));
}

static void no_gradient_through_the_log_sum(void **state) {
    (void)state;
    ls_graph *graph;
    ls_grad_parts parts;
    assert_int_equal(ls_graph_create(&graph), LS_OK);
    const ls_shape shape = {3, {1, 4, 12}}, lse_shape = {3, {1, 2, 4}};
    const ls_value x = ls_graph_input(graph, "x", LS_DTYPE_F32, shape);
    const ls_value seed = ls_graph_input(graph, "seed", LS_DTYPE_F32, lse_shape);
    const ls_value lse = ls_attention_packed(graph, x, 2, 1) + 1;
    assert_int_equal(ls_graph_differentiate(graph, &lse, &seed, 1, &x, 1, &parts),
                     LS_ERR_UNSUPPORTED);
    assert_non_null(strstr(ls_error_message(), "not into lse"));
    ls_graph_destroy(graph);
}

/* --- kernels --------------------------------------------------------------------------------------------------------- */

enum { TOKENS = 70, HEADS = 2, SIZE = 32, ROW = HEADS * SIZE, MAX_BATCH = 3 };

/* Packed attention and its gradient over `n_batch` rows cut out of one fixed batch, results as the kernel left them. */
typedef struct layer {
    ls_type in_types[4], out_types[2], grad_types[1];
    ls_tensor in[4], out[2], grad[1];
} layer;

static void make(ls_tensor *t, const ls_type *type) {
    *t = (ls_tensor){type->dtype, type->shape, ls_alloc(ls_type_bytes(type) + 1)};
    assert_non_null(t->data);
}

static double draw(int64_t i) {
    const uint32_t x = (uint32_t)i * 2654435761u;
    return (double)((x ^ x >> 15) * 2246822519u >> 8) / (1 << 23) - 1.0;
}

static void launch(const ls_sig *sig, const ls_kernel *k, const ls_tensor *in, ls_tensor *out) {
    const size_t bytes = k->workspace_bytes(sig, 1);
    void *workspace = ls_alloc(bytes);
    assert_non_null(workspace);
    memset(workspace, 0xff, bytes);
    const ls_launch l = {.sig = sig, .in = in, .out = out, .workspace = workspace};
    assert_int_equal(k->launch(&l), LS_OK);
    ls_free(workspace);
}

/* `first` is where in the fixed batch the rows begin; token `changed` (or -1) of row 0 gets other values. */
static void run_layer(layer *l, int kernel, ls_dtype dtype, int64_t n_batch, int64_t first,
                      int64_t changed) {
    static const ls_attention_attr attr = {HEADS, 1};
    l->in_types[0] = (ls_type){dtype, {3, {n_batch, TOKENS, 3 * ROW}}};
    ls_sig fwd = sig_of(&ls_op_attention, &attr, 1, l->in_types, l->out_types);
    make(&l->in[0], &l->in_types[0]);
    for (int64_t i = 0; i < ls_type_count(&l->in_types[0]); i++) {
        const int64_t token = i / (3 * ROW);
        const double x = draw(i + first * TOKENS * 3 * ROW);
        ls_tensor_set(&l->in[0], i, token == changed ? 0.5 - 2 * x : x);
    }
    for (int i = 0; i < 2; i++) make(&l->out[i], &l->out_types[i]);
    launch(&fwd, ls_op_attention.kernels[kernel], l->in, l->out);
    l->in[1] = l->out[0];
    l->in[2] = l->out[1];
    l->in_types[1] = l->in_types[3] = l->out_types[0];
    l->in_types[2] = l->out_types[1];
    make(&l->in[3], &l->in_types[3]);
    for (int64_t i = 0; i < ls_type_count(&l->in_types[3]); i++)
        ls_tensor_set(&l->in[3], i, draw(i + first * TOKENS * ROW + 77));
    ls_sig bwd = sig_of(&ls_op_attention_grad, &attr, 4, l->in_types, l->grad_types);
    make(&l->grad[0], &l->grad_types[0]);
    launch(&bwd, ls_op_attention_grad.kernels[kernel], l->in, l->grad);
}

static void drop_layer(layer *l) {
    ls_free(l->in[0].data);
    ls_free(l->in[3].data);
    ls_free(l->out[0].data);
    ls_free(l->out[1].data);
    ls_free(l->grad[0].data);
}

static const char *part_of(const ls_tensor *t, int64_t row) {
    return (const char *)t->data + (size_t)row * (ls_tensor_bytes(t) / (size_t)t->shape.dims[0]);
}

/* The i-th kernel that this machine runs on `dtype`, or -1 after the last; the reference is left out. */
static int usable_kernel(int i, ls_dtype dtype) {
    static const ls_attention_attr attr = {HEADS, 1};
    const ls_type in = {dtype, {3, {1, TOKENS, 3 * ROW}}};
    ls_type out[LS_MAX_OUT];
    const ls_sig sig = sig_of(&ls_op_attention, &attr, 1, &in, out);
    for (int k = 0; ls_op_attention.kernels[k + 1]; k++) {
        const ls_kernel *kernel = ls_op_attention.kernels[k];
        if (kernel->isa <= ls_cpu_isa() && !kernel->refuses(&sig) && i-- == 0) return k;
    }
    return -1;
}

static void a_row_does_not_know_its_neighbours(void **state) {
    (void)state;
    static const ls_dtype dtypes[] = {LS_DTYPE_F32, LS_DTYPE_BF16};
    for (int d = 0; d < 2; d++)
        for (int i = 0, k; (k = usable_kernel(i, dtypes[d])) >= 0; i++) {
            layer all, one;
            run_layer(&all, k, dtypes[d], MAX_BATCH, 0, -1);
            run_layer(&one, k, dtypes[d], 1, 2, -1);
            for (int r = 0; r < 2; r++)
                assert_memory_equal(part_of(&all.out[r], 2), one.out[r].data,
                                    ls_tensor_bytes(&one.out[r]));
            assert_memory_equal(part_of(&all.grad[0], 2), one.grad[0].data,
                                ls_tensor_bytes(&one.grad[0]));
            drop_layer(&all);
            drop_layer(&one);
        }
}

static void earlier_tokens_do_not_see_later_ones(void **state) {
    (void)state;
    static const int64_t changes[] = {1, 15, 16, 40, 63, 64, 69};
    for (int i = 0, k; (k = usable_kernel(i, LS_DTYPE_BF16)) >= 0; i++) {
        layer before;
        run_layer(&before, k, LS_DTYPE_BF16, 1, 0, -1);
        for (size_t c = 0; c < sizeof changes / sizeof changes[0]; c++) {
            layer after;
            run_layer(&after, k, LS_DTYPE_BF16, 1, 0, changes[c]);
            const size_t same = (size_t)changes[c] * ROW * 2, all = (size_t)TOKENS * ROW * 2;
            assert_memory_equal(before.out[0].data, after.out[0].data, same);
            assert_memory_not_equal((char *)before.out[0].data + same,
                                    (char *)after.out[0].data + same, all - same);
            drop_layer(&after);
        }
        drop_layer(&before);
    }
}

static void a_nan_comes_through(void **state) {
    (void)state;
    static const ls_attention_attr attr = {1, 0};
    const ls_type in_type = F32(1, 20, 24);
    ls_type out_types[LS_MAX_OUT];
    ls_sig sig = sig_of(&ls_op_attention, &attr, 1, &in_type, out_types);
    for (int i = 0, k; (k = usable_kernel(i, LS_DTYPE_F32)) >= 0; i++)
        for (int64_t where = 0; where < 24; where += 8) {
            ls_tensor in, out[2];
            make(&in, &in_type);
            make(&out[0], &out_types[0]);
            make(&out[1], &out_types[1]);
            ls_tensor_set(&in, 7 * 24 + where, NAN); /* in q, k or v of token 7 */
            launch(&sig, ls_op_attention.kernels[k], &in, out);
            assert_true(isnan(ls_tensor_get(&out[0], 7 * 8)));
            ls_free(in.data);
            ls_free(out[0].data);
            ls_free(out[1].data);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_inputs_are_named),
        cmocka_unit_test(heads_split_only_when_apart),
        cmocka_unit_test(no_gradient_through_the_log_sum),
        cmocka_unit_test(a_row_does_not_know_its_neighbours),
        cmocka_unit_test(earlier_tokens_do_not_see_later_ones),
        cmocka_unit_test(a_nan_comes_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
