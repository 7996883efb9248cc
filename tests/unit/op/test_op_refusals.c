/* What the elementwise, data movement and loss ops refuse, and with which words; ids out of range; NaN. */
#include "op/add/add.h"
#include "op/bias/bias.h"
#include "op/broadcast/broadcast.h"
#include "op/cast/cast.h"
#include "op/concat/concat.h"
#include "op/cross_entropy/cross_entropy.h"
#include "op/dropout/dropout.h"
#include "op/embedding/embedding.h"
#include "op/gather/gather.h"
#include "op/gelu/gelu.h"
#include "op/mean_squared_error/mean_squared_error.h"
#include "op/mul/mul.h"
#include "op/op.h"
#include "op/reduce/reduce.h"
#include "op/reduce_rows/reduce_rows.h"
#include "op/relu/relu.h"
#include "op/reshape/reshape.h"
#include "op/scale/scale.h"
#include "op/silu/silu.h"
#include "op/slice/slice.h"
#include "op/softmax/softmax.h"
#include "op/swiglu/swiglu.h"
#include "op/transpose/transpose.h"
#include <math.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Leaves every refusal may use. */
typedef struct leaves {
    ls_graph *g;
    ls_value x23, x32, h23, i23, ids, scalar, v3, v2, x03;
} leaves;

static void init_leaves(leaves *l) {
    assert_int_equal(ls_graph_create(&l->g), LS_OK);
    l->x23 = ls_graph_input(l->g, "x23", LS_DTYPE_F32, (ls_shape){2, {2, 3}});
    l->x32 = ls_graph_input(l->g, "x32", LS_DTYPE_F32, (ls_shape){2, {3, 2}});
    l->h23 = ls_graph_input(l->g, "h23", LS_DTYPE_BF16, (ls_shape){2, {2, 3}});
    l->i23 = ls_graph_input(l->g, "i23", LS_DTYPE_I32, (ls_shape){2, {2, 3}});
    l->ids = ls_graph_input(l->g, "ids", LS_DTYPE_I32, (ls_shape){1, {2}});
    l->scalar = ls_graph_input(l->g, "scalar", LS_DTYPE_F32, (ls_shape){0});
    l->v3 = ls_graph_input(l->g, "v3", LS_DTYPE_F32, (ls_shape){1, {3}});
    l->v2 = ls_graph_input(l->g, "v2", LS_DTYPE_F32, (ls_shape){1, {2}});
    l->x03 = ls_graph_input(l->g, "x03", LS_DTYPE_F32, (ls_shape){2, {0, 3}});
}

static ls_value add_shapes(const leaves *l) {
    return ls_add(l->g, l->x23, l->x32);
}
static ls_value add_dtypes(const leaves *l) {
    return ls_add(l->g, l->x23, l->h23);
}
static ls_value add_ints(const leaves *l) {
    return ls_add(l->g, l->i23, l->i23);
}
static ls_value mul_shapes(const leaves *l) {
    return ls_mul(l->g, l->x23, l->v3);
}
static ls_value gelu_ints(const leaves *l) {
    return ls_gelu(l->g, l->i23, 1);
}
static ls_value relu_ints(const leaves *l) {
    return ls_relu(l->g, l->i23);
}
static ls_value silu_ints(const leaves *l) {
    return ls_silu(l->g, l->i23);
}
static ls_value scale_ints(const leaves *l) {
    return ls_scale(l->g, l->i23, 2);
}
static ls_value swiglu_shapes(const leaves *l) {
    return ls_swiglu(l->g, l->x23, l->x32);
}
static ls_value bias_length(const leaves *l) {
    return ls_bias(l->g, l->x23, l->v2);
}
static ls_value bias_dims(const leaves *l) {
    return ls_bias(l->g, l->x23, l->x23);
}
static ls_value dropout_one(const leaves *l) {
    return ls_dropout(l->g, l->x23, 1, "d");
}
static ls_value dropout_nan(const leaves *l) {
    return ls_dropout(l->g, l->x23, NAN, "d");
}
static ls_value cast_unknown(const leaves *l) {
    return ls_cast(l->g, l->x23, (ls_dtype)77);
}
static ls_value broadcast_dim(const leaves *l) {
    return ls_broadcast(l->g, l->x23, 3, 4);
}
static ls_value broadcast_size(const leaves *l) {
    return ls_broadcast(l->g, l->x23, 0, -4);
}
static ls_value broadcast_huge(const leaves *l) {
    return ls_broadcast(l->g, l->x23, 0, INT64_MAX);
}
static ls_value concat_dims(const leaves *l) {
    const ls_value both[2] = {l->x23, l->x32};
    return ls_concat(l->g, both, 2, 0);
}
static ls_value concat_dim(const leaves *l) {
    return ls_concat(l->g, &l->x23, 1, 2);
}
static ls_value concat_none(const leaves *l) {
    return ls_concat(l->g, &l->x23, 0, 0);
}
static ls_value slice_order(const leaves *l) {
    return ls_slice(l->g, l->x23, 1, 2, 1);
}
static ls_value slice_past(const leaves *l) {
    return ls_slice(l->g, l->x23, 1, 0, 4);
}
static ls_value slice_dim(const leaves *l) {
    return ls_slice(l->g, l->x23, -1, 0, 1);
}
static ls_value gather_dim(const leaves *l) {
    return ls_gather(l->g, l->x23, l->ids, 2);
}
static ls_value gather_ids(const leaves *l) {
    return ls_gather(l->g, l->x23, l->v2, 0);
}
static ls_value gather_shape(const leaves *l) {
    return ls_gather(l->g, l->x23, l->i23, 0);
}
static ls_value reduce_dim(const leaves *l) {
    return ls_reduce(l->g, l->x23, LS_REDUCE_SUM, 2);
}
static ls_value reduce_kind(const leaves *l) {
    return ls_reduce(l->g, l->x23, (ls_reduce_kind)9, 0);
}
static ls_value reduce_empty(const leaves *l) {
    return ls_reduce(l->g, l->x03, LS_REDUCE_MAX, 0);
}
static ls_value rows_scalar(const leaves *l) {
    return ls_reduce_rows(l->g, l->scalar, LS_DTYPE_F32);
}
static ls_value rows_dtype(const leaves *l) {
    return ls_reduce_rows(l->g, l->x23, LS_DTYPE_I32);
}
static ls_value reshape_count(const leaves *l) {
    return ls_reshape(l->g, l->x23, (ls_shape){1, {7}});
}
static ls_value reshape_negative(const leaves *l) {
    return ls_reshape(l->g, l->x23, (ls_shape){2, {-2, -3}});
}
static ls_value softmax_scalar(const leaves *l) {
    return ls_softmax(l->g, l->scalar);
}
static ls_value transpose_twice(const leaves *l) {
    const int perm[2] = {1, 1};
    return ls_transpose(l->g, l->x23, perm);
}
static ls_value embedding_ids(const leaves *l) {
    return ls_embedding(l->g, l->x23, l->v2);
}
static ls_value embedding_table(const leaves *l) {
    return ls_embedding(l->g, l->v3, l->ids);
}
static ls_value loss_targets(const leaves *l) {
    const ls_cross_entropy_attr a = {0, -100, 1};
    return ls_cross_entropy(l->g, l->x32, l->ids, &a, LS_VALUE_NONE);
}
static ls_value loss_smoothing(const leaves *l) {
    const ls_cross_entropy_attr a = {1, -100, 1};
    return ls_cross_entropy(l->g, l->x23, l->ids, &a, LS_VALUE_NONE);
}
static ls_value loss_grad_scale(const leaves *l) {
    const ls_cross_entropy_attr a = {0, -100, 0};
    return ls_cross_entropy(l->g, l->x23, l->ids, &a, LS_VALUE_NONE);
}
static ls_value loss_scale_shape(const leaves *l) {
    const ls_cross_entropy_attr a = {0, -100, 1};
    return ls_cross_entropy(l->g, l->x23, l->ids, &a, l->v2);
}
static ls_value error_shapes(const leaves *l) {
    return ls_mean_squared_error(l->g, l->x23, l->x32, 1);
}
static ls_value error_scale(const leaves *l) {
    return ls_mean_squared_error(l->g, l->x23, l->x23, INFINITY);
}

static void test_refusals(void **state) {
    static const struct {
        ls_value (*build)(const leaves *);
        const char *want;
    } table[] = {
        {add_shapes, "op add: operands must have the same shape, got [2, 3] and [3, 2]"},
        {add_dtypes, "op add: inputs must have one dtype, got f32 and bf16"},
        {add_ints, "op add: every input must be a float tensor, got i32"},
        {mul_shapes, "op mul: operands must have the same shape"},
        {gelu_ints, "op gelu: every input must be a float tensor"},
        {relu_ints, "op relu: every input must be a float tensor"},
        {silu_ints, "op silu: every input must be a float tensor"},
        {scale_ints, "op scale: every input must be a float tensor"},
        {swiglu_shapes, "op swiglu: operands must have the same shape"},
        {bias_length, "op bias: b must be as long as x's last dim, got x [2, 3] and b [2]"},
        {bias_dims, "op bias: b must have 1 dims"},
        {dropout_one, "op dropout: probability must be in [0, 1), got 1"},
        {dropout_nan, "op dropout: probability must be in [0, 1)"},
        {cast_unknown, "op cast: 77 is not a dtype"},
        {broadcast_dim, "op broadcast: wants a dim from 0 to 2"},
        {broadcast_size, "n -4"},
        {broadcast_huge, "9223372036854775807"},
        {concat_dims,
         "op concat: inputs must be alike but for dim 0, got f32 [2, 3] and f32 [3, 2]"},
        {concat_dim, "op concat: dim must be 0 to 1 for shape [2, 3], got 2"},
        {concat_none, "op concat takes"},
        {slice_order, "op slice: wants 0 <= begin <= end <= 3 (dim 1), got begin 2, end 1"},
        {slice_past, "got begin 0, end 4"},
        {slice_dim, "op slice: dim must be 0 to 1"},
        {gather_dim, "op gather: dim must be 0 to 1"},
        {gather_ids, "op gather: ids must be i32, got f32"},
        {gather_shape, "op gather: ids must have 1 dims"},
        {reduce_dim, "op reduce: dim must be 0 to 1"},
        {reduce_kind, "op reduce: kind must be sum, mean or max, got 9"},
        {reduce_empty, "op reduce: the max of no elements is not defined"},
        {rows_scalar, "op reduce_rows: x needs at least one dim"},
        {rows_dtype, "op reduce_rows: the result must be of a float dtype"},
        {reshape_count, "op reshape: [2, 3] and [7] have different numbers of elements"},
        {reshape_negative, "-2"},
        {softmax_scalar, "op softmax: wants a last dim of at least 1"},
        {transpose_twice, "op transpose: wants a permutation of the 2 dims of [2, 3]"},
        {embedding_ids, "op embedding: ids must be i32, got f32"},
        {embedding_table, "op embedding: the table must have 2 dims"},
        {loss_targets, "op cross_entropy: wants logits [.., V] and i32 targets [..], got [3, 2]"},
        {loss_smoothing, "op cross_entropy: label smoothing must be in [0, 1), got 1"},
        {loss_grad_scale, "op cross_entropy: grad_scale must be finite and not 0"},
        {loss_scale_shape, "op cross_entropy: loss_scale must have 0 dims"},
        {error_shapes, "op mean_squared_error: operands must have the same shape"},
        {error_scale, "op mean_squared_error: grad_scale must be finite"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        leaves l;
        init_leaves(&l);
        assert_int_equal(table[i].build(&l), LS_VALUE_NONE);
        assert_int_not_equal(ls_graph_status(l.g), LS_OK);
        if (!strstr(ls_error_message(), table[i].want))
            fail_msg("wanted '%s' in '%s'", table[i].want, ls_error_message());
        ls_graph_destroy(l.g);
    }
}

/* Runs one op on given tensors with every kernel that accepts them; the last status that was not LS_OK. */
static ls_status run_all(const ls_op *op, const void *attr, const ls_tensor *in, int n_in,
                         ls_tensor *out) {
    ls_type types[8], out_types[LS_MAX_OUT];
    ls_status status = LS_OK;
    int n_out = 0;
    for (int i = 0; i < n_in; i++) types[i] = (ls_type){in[i].dtype, in[i].shape};
    assert_int_equal(op->infer(attr, n_in, types, &n_out, out_types), LS_OK);
    const ls_sig sig = {op, attr, n_in, n_out, types, out_types};
    for (const ls_kernel *const *k = op->kernels; *k; k++) {
        if ((*k)->isa > ls_cpu_isa() || ((*k)->refuses && (*k)->refuses(&sig))) continue;
        void *workspace = ls_alloc((*k)->workspace_bytes ? (*k)->workspace_bytes(&sig, 1) : 0);
        assert_non_null(workspace);
        const ls_launch launch = {.sig = &sig, .in = in, .out = out, .workspace = workspace};
        const ls_status one = (*k)->launch(&launch);
        status = one != LS_OK ? one : status;
        ls_free(workspace);
    }
    return status;
}

static void test_bad_ids(void **state) {
    float table[12] = {0}, y[40] = {0}, stats[2], rows[4];
    int32_t ids[3] = {1, 4, 0};
    const ls_cross_entropy_attr loss = {0, -100, 1};
    const ls_gather_attr by_0 = {0, 4};
    const ls_embedding_grad_attr of_4 = {4, LS_DTYPE_F32};
    const ls_tensor t = {LS_DTYPE_F32, {2, {4, 3}}, table}, i = {LS_DTYPE_I32, {1, {3}}, ids};
    const ls_tensor dy = {LS_DTYPE_F32, {2, {3, 3}}, table};
    const ls_tensor lookup[2] = {t, i}, back[2] = {i, dy}, logits[2] = {dy, i};
    ls_tensor out = {LS_DTYPE_F32, {2, {3, 3}}, y}, grad = {LS_DTYPE_F32, {2, {4, 3}}, y};
    ls_tensor losses[4] = {{LS_DTYPE_F32, {0}, stats},
                           {LS_DTYPE_F32, {0}, stats + 1},
                           {LS_DTYPE_F32, {2, {3, 3}}, y},
                           {LS_DTYPE_F32, {1, {3}}, rows}};
    (void)state;
    assert_int_equal(run_all(&ls_op_embedding, NULL, lookup, 2, &out), LS_ERR_DATA);
    assert_non_null(
        strstr(ls_error_message(), "op embedding: id 4 at position 1 is outside [0, 4)"));
    assert_int_equal(run_all(&ls_op_embedding_grad, &of_4, back, 2, &grad), LS_ERR_DATA);
    assert_int_equal(run_all(&ls_op_gather, &by_0, lookup, 2, &out), LS_ERR_DATA);
    assert_non_null(strstr(ls_error_message(), "op gather: id 4 at position 1"));
    assert_int_equal(run_all(&ls_op_cross_entropy, &loss, logits, 2, losses), LS_ERR_DATA);
    assert_non_null(strstr(ls_error_message(), "target 4 at position 1 is outside [0, 3)"));
    ids[1] = -1;
    assert_int_equal(run_all(&ls_op_embedding, NULL, lookup, 2, &out), LS_ERR_DATA);
    ids[1] = -100;
    assert_int_equal(run_all(&ls_op_cross_entropy, &loss, logits, 2, losses), LS_OK);
    assert_true(stats[1] == 2 && rows[1] == 0 && y[3] == 0 && y[4] == 0 && y[5] == 0);
}

/* One kernel at a time: NaN or infinity in one place of x must be seen in the results it reaches. */
static void check_nan(const ls_kernel *kernel, const ls_sig *sig, const ls_tensor *in,
                      ls_tensor *out, int which, int at) {
    if (kernel->isa > ls_cpu_isa() || (kernel->refuses && kernel->refuses(sig))) return;
    void *workspace = ls_alloc(kernel->workspace_bytes ? kernel->workspace_bytes(sig, 1) : 0);
    assert_non_null(workspace);
    const ls_launch launch = {.sig = sig, .in = in, .out = out, .workspace = workspace};
    assert_int_equal(kernel->launch(&launch), LS_OK);
    if (!isnan(ls_tensor_get(&out[which], at))) fail_msg("%s swallows NaN", kernel->name);
    ls_free(workspace);
}

static void test_nan_goes_through(void **state) {
    static const ls_reduce_attr max_all = {LS_REDUCE_MAX, -1}, max_0 = {LS_REDUCE_MAX, 0},
                                sum_1 = {LS_REDUCE_SUM, 1};
    static const ls_gelu_attr tanh_form = {1}, erf_form = {0};
    static const ls_cross_entropy_attr loss = {0, -100, 1};
    static const struct {
        const ls_op *op;
        const void *attr;
        int which, at; /* NaN stands at row 1, column 20 of x [3, 37] */
    } table[] = {
        {&ls_op_reduce, &max_all, 0, 0},     {&ls_op_reduce, &max_0, 0, 20},
        {&ls_op_reduce, &sum_1, 0, 1},       {&ls_op_gelu, &tanh_form, 0, 57},
        {&ls_op_gelu, &erf_form, 0, 57},     {&ls_op_relu, NULL, 0, 57},
        {&ls_op_silu, NULL, 0, 57},          {&ls_op_softmax, NULL, 0, 40},
        {&ls_op_cross_entropy, &loss, 0, 0}, {&ls_op_cross_entropy, &loss, 2, 38},
    };
    float x[111], y[4][111];
    int32_t targets[3] = {0, 1, 2};
    (void)state;
    for (int i = 0; i < 111; i++) x[i] = (float)i * 0.01f;
    x[57] = NAN;
    const ls_tensor in[2] = {{LS_DTYPE_F32, {2, {3, 37}}, x}, {LS_DTYPE_I32, {1, {3}}, targets}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const int n_in = table[i].op == &ls_op_cross_entropy ? 2 : 1;
        ls_type types[2] = {{in[0].dtype, in[0].shape}, {in[1].dtype, in[1].shape}};
        ls_type out_types[LS_MAX_OUT];
        ls_tensor out[LS_MAX_OUT];
        int n_out;
        assert_int_equal(table[i].op->infer(table[i].attr, n_in, types, &n_out, out_types), LS_OK);
        for (int k = 0; k < n_out; k++)
            out[k] = (ls_tensor){out_types[k].dtype, out_types[k].shape, y[k]};
        const ls_sig sig = {table[i].op, table[i].attr, n_in, n_out, types, out_types};
        for (const ls_kernel *const *k = table[i].op->kernels; *k; k++)
            check_nan(*k, &sig, in, out, table[i].which, table[i].at);
    }
}

/* A row with a class ruled out by -inf: finite loss, zero gradient there. */
static void test_masked_logits(void **state) {
    float x[3000], stats[2], rows[1], dx[3000];
    int32_t target = 2999;
    const ls_cross_entropy_attr loss = {0, -100, 1};
    const ls_tensor in[2] = {{LS_DTYPE_F32, {2, {1, 3000}}, x}, {LS_DTYPE_I32, {1, {1}}, &target}};
    ls_tensor out[4] = {{LS_DTYPE_F32, {0}, stats},
                        {LS_DTYPE_F32, {0}, stats + 1},
                        {LS_DTYPE_F32, {2, {1, 3000}}, dx},
                        {LS_DTYPE_F32, {1, {1}}, rows}};
    (void)state;
    for (int i = 0; i < 3000; i++) x[i] = i < 2000 ? -INFINITY : 0; /* a whole tile of them */
    assert_int_equal(run_all(&ls_op_cross_entropy, &loss, in, 2, out), LS_OK);
    assert_true(fabsf(stats[0] - logf(1000)) < 1e-5f);
    assert_true(dx[5] == 0 && fabsf(dx[2500] - 1e-3f) < 1e-8f && fabsf(dx[2999] + 0.999f) < 1e-6f);
}

/* With seed NONE the gradient of the logits is the op's own third result. */
static void test_fused_gradient(void **state) {
    const ls_cross_entropy_attr attr = {0, -100, 1};
    const ls_value none = LS_VALUE_NONE;
    ls_grad_parts parts;
    leaves l;
    (void)state;
    init_leaves(&l);
    const ls_value logits = ls_scale(l.g, l.x23, 2);
    const ls_value loss = ls_cross_entropy(l.g, logits, l.ids, &attr, l.scalar);
    assert_int_equal(ls_graph_differentiate(l.g, &loss, &none, 1, &logits, 1, &parts), LS_OK);
    assert_int_equal(parts.n_parts, 1);
    assert_int_equal(parts.parts[0].grad, ls_loss_result(l.g, loss, 2));
    assert_int_equal(ls_loss_result(l.g, loss, 4), LS_VALUE_NONE);
    assert_int_equal(ls_loss_result(l.g, l.x23, 1), LS_VALUE_NONE);
    const ls_value seed = ls_graph_input(l.g, "seed", LS_DTYPE_F32, (ls_shape){0});
    assert_int_equal(ls_graph_differentiate(l.g, &loss, &seed, 1, &logits, 1, &parts),
                     LS_ERR_UNSUPPORTED);
    assert_non_null(
        strstr(ls_error_message(), "a loss_scale and a gradient seed exclude each other"));
    ls_graph_destroy(l.g);
}

/* Builders that have nothing to do return their input. */
static void test_no_ops(void **state) {
    leaves l;
    (void)state;
    init_leaves(&l);
    const int64_t n = l.g->n_nodes;
    assert_int_equal(ls_cast(l.g, l.x23, LS_DTYPE_F32), l.x23);
    assert_int_equal(ls_reshape(l.g, l.x23, (ls_shape){2, {2, 3}}), l.x23);
    assert_int_equal(ls_dropout(l.g, l.x23, 0, "d"), l.x23);
    assert_int_equal(l.g->n_nodes, n);
    ls_graph_destroy(l.g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),         cmocka_unit_test(test_bad_ids),
        cmocka_unit_test(test_nan_goes_through), cmocka_unit_test(test_masked_logits),
        cmocka_unit_test(test_fused_gradient),   cmocka_unit_test(test_no_ops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
