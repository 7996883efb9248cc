/* What the case harness cannot see of layernorm, rmsnorm, batchnorm, ema_step and rope: messages, sharding, accuracy. */
#include "op/batchnorm/batchnorm.h"
#include "op/batchnorm/ema_step.h"
#include "op/layernorm/layernorm.h"
#include "op/rmsnorm/rmsnorm.h"
#include "op/rope/rope.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define TYPE(dtype, ...)                                         \
    {                                                            \
        dtype, {                                                 \
            (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), { \
                __VA_ARGS__                                      \
            }                                                    \
        }                                                        \
    }
#define F32(...) TYPE(LS_DTYPE_F32, __VA_ARGS__)
#define I32(...) TYPE(LS_DTYPE_I32, __VA_ARGS__)
#define SCALAR          \
    {                   \
        LS_DTYPE_F32, { \
            0, {        \
                0       \
            }           \
        }               \
    }

static const ls_layernorm_attr layer = {1e-5}, layer_bad = {-1};
static const ls_layernorm_grad_attr layer_grad = {LS_DTYPE_F32, LS_DTYPE_F32, {0, 0}};
static const ls_layernorm_grad_attr layer_grad_bad = {LS_DTYPE_I32, -1, {0, 0}};
static const ls_rmsnorm_attr rms = {1e-5}, rms_bad = {INFINITY};
static const ls_rmsnorm_grad_attr rms_grad = {LS_DTYPE_F32, {0, 0}};
static const ls_batchnorm_attr batch = {1e-5, 0, 0};
static const ls_batchnorm_grad_attr batch_grad = {LS_DTYPE_F32, LS_DTYPE_F32, 0, 0};
static const ls_ema_step_attr ema = {0.1, 1}, ema_bad = {1.5, 1};
static const ls_rope_attr turn = {1e4, 0, 0, 0}, turn_bad = {0, 0, 0, 0},
                          turn_back = {1e4, -1, 0, 0};

static const struct wrong {
    const ls_op *op;
    const void *attr;
    int n_in;
    ls_type in[5];
    const char *says;
} wrongs[] = {
    {&ls_op_layernorm,
     &layer_bad,
     2,
     {F32(2, 3), F32(3)},
     "eps must be a number of at least 0, got -1"},
    {&ls_op_layernorm, &layer, 2, {I32(2, 3), F32(3)}, "x must be a float tensor, got i32"},
    {&ls_op_layernorm, &layer, 2, {SCALAR, F32(3)}, "last dim of at least 1"},
    {&ls_op_layernorm, &layer, 2, {F32(2, 0), F32(1)}, "last dim of at least 1"},
    {&ls_op_layernorm,
     &layer,
     2,
     {F32(2, 3), F32(2)},
     "gamma must be [3] (the last dim of x), got shape [2]"},
    {&ls_op_layernorm, &layer, 3, {F32(2, 3), F32(3), F32(1, 3)}, "beta must be [3]"},
    {&ls_op_layernorm_grad,
     &layer_grad,
     5,
     {F32(2, 3), F32(3), F32(3), F32(2), F32(2, 3)},
     "mean must be f32[2], got f32[3]"},
    {&ls_op_layernorm_grad,
     &layer_grad,
     5,
     {F32(2, 3), F32(3), F32(2), F32(2), F32(3, 2)},
     "same shape"},
    {&ls_op_layernorm_grad,
     &layer_grad_bad,
     5,
     {F32(2, 3), F32(3), F32(2), F32(2), F32(2, 3)},
     "dgamma must be a float tensor, got i32"},
    {&ls_op_rmsnorm, &rms_bad, 2, {F32(2, 3), F32(3)}, "op rmsnorm: eps"},
    {&ls_op_rmsnorm, &rms, 2, {F32(2, 3), I32(3)}, "gamma must be a float tensor"},
    {&ls_op_rmsnorm_grad,
     &rms_grad,
     4,
     {F32(2, 3), F32(3), I32(2), F32(2, 3)},
     "rstd must be f32[2], got i32[2]"},
    {&ls_op_batchnorm,
     &batch,
     3,
     {F32(3), F32(3), F32(3)},
     "x must be [.., C] of two dims or more, got shape [3]"},
    {&ls_op_batchnorm, &batch, 3, {F32(0, 3), F32(3), F32(3)}, "at least one value"},
    {&ls_op_batchnorm,
     &batch,
     3,
     {F32(2, 4, 3), F32(3), F32(4)},
     "beta must be [3] (the channels of x), got shape [4]"},
    {&ls_op_batchnorm_eval,
     &batch,
     5,
     {F32(2, 3), F32(3), F32(3), F32(3), F32(2)},
     "var must be [3]"},
    {&ls_op_batchnorm_grad,
     &batch_grad,
     5,
     {F32(2, 3), F32(3), TYPE(LS_DTYPE_BF16, 3), F32(3), F32(2, 3)},
     "mean and rstd must be f32, got bf16 and f32"},
    {&ls_op_ema_step, &ema, 2, {F32(3), F32(4)}, "same shape, got [3] and [4]"},
    {&ls_op_ema_step, &ema, 2, {TYPE(LS_DTYPE_BF16, 3), F32(3)}, "state must be f32, got bf16"},
    {&ls_op_ema_step, &ema_bad, 2, {F32(3), F32(3)}, "momentum must lie in [0, 1]"},
    {&ls_op_rope, &turn, 1, {F32(2, 3, 8)}, "must have 4 dims"},
    {&ls_op_rope, &turn, 1, {F32(2, 3, 1, 7)}, "head size must be even, got 7"},
    {&ls_op_rope, &turn_bad, 1, {F32(2, 3, 1, 8)}, "theta must be a positive number, got 0"},
    {&ls_op_rope, &turn_back, 1, {F32(2, 3, 1, 8)}, "offset must be at least 0, got -1"},
};

static void wrong_inputs_are_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        ls_type out[LS_MAX_OUT];
        int n_out = 0;
        assert_int_equal(
            wrongs[i].op->infer(wrongs[i].attr, wrongs[i].n_in, wrongs[i].in, &n_out, out),
            LS_ERR_INVALID);
        if (!strstr(ls_error_message(), wrongs[i].says))
            fail_msg("row %d says '%s', not '%s'", (int)i, ls_error_message(), wrongs[i].says);
    }
}

/* Splits of the inputs and what comes of them; out_split[0] = -9: refused. */
static const struct sharding {
    const ls_op *op;
    const void *attr;
    int n_in;
    ls_type in[5];
    int split[5], out_split[4];
} shardings[] = {
    {&ls_op_layernorm, &layer, 2, {F32(2, 4, 3), F32(3)}, {1, -1}, {1, 1, 1}},
    {&ls_op_layernorm, &layer, 2, {F32(2, 4, 3), F32(3)}, {2, -1}, {-9}},
    {&ls_op_layernorm, &layer, 2, {F32(2, 4, 3), F32(3)}, {-2, -1}, {-9}},
    {&ls_op_layernorm, &layer, 2, {F32(2, 4, 3), F32(3)}, {0, 0}, {-9}},
    {&ls_op_layernorm_grad,
     &layer_grad,
     5,
     {F32(2, 3), F32(3), F32(2), F32(2), F32(2, 3)},
     {0, -1, 0, 0, 0},
     {0, -2, -2}},
    {&ls_op_layernorm_grad,
     &layer_grad,
     5,
     {F32(2, 3), F32(3), F32(2), F32(2), F32(2, 3)},
     {-1, -1, -1, -1, -1},
     {-1, -1, -1}},
    {&ls_op_layernorm_grad,
     &layer_grad,
     5,
     {F32(2, 3), F32(3), F32(2), F32(2), F32(2, 3)},
     {0, -1, 0, 0, -1},
     {-9}},
    {&ls_op_rmsnorm, &rms, 2, {F32(2, 4, 3), F32(3)}, {0, -1}, {0, 0}},
    {&ls_op_rmsnorm, &rms, 2, {F32(2, 4, 3), F32(3)}, {2, -1}, {-9}},
    {&ls_op_rmsnorm_grad,
     &rms_grad,
     4,
     {F32(2, 3), F32(3), F32(2), F32(2, 3)},
     {0, -1, 0, 0},
     {0, -2}},
    {&ls_op_batchnorm, &batch, 3, {F32(2, 4, 3), F32(3), F32(3)}, {2, 0, 0}, {2, 0, 0, 0}},
    {&ls_op_batchnorm, &batch, 3, {F32(2, 4, 3), F32(3), F32(3)}, {0, -1, -1}, {-9}},
    {&ls_op_batchnorm_eval,
     &batch,
     5,
     {F32(2, 3), F32(3), F32(3), F32(3), F32(3)},
     {0, -1, -1, -1, -1},
     {0}},
    {&ls_op_batchnorm_eval,
     &batch,
     5,
     {F32(2, 3), F32(3), F32(3), F32(3), F32(3)},
     {1, 0, 0, 0, -1},
     {-9}},
    {&ls_op_batchnorm_grad,
     &batch_grad,
     5,
     {F32(2, 3), F32(3), F32(3), F32(3), F32(2, 3)},
     {1, 0, 0, 0, 1},
     {1, 0, 0}},
    {&ls_op_batchnorm_grad,
     &batch_grad,
     5,
     {F32(2, 3), F32(3), F32(3), F32(3), F32(2, 3)},
     {0, -1, -1, -1, 0},
     {-9}},
    {&ls_op_rope, &turn, 1, {F32(2, 3, 4, 8)}, {2}, {2}},
    {&ls_op_rope, &turn, 1, {F32(2, 3, 4, 8)}, {1}, {-9}},
};

static void splits_follow_the_rules(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof shardings / sizeof shardings[0]; i++) {
        const struct sharding *s = &shardings[i];
        ls_type out[LS_MAX_OUT];
        int split[LS_MAX_OUT];
        ls_sig sig = {s->op, s->attr, s->n_in, 0, s->in, out};
        assert_int_equal(s->op->infer(s->attr, s->n_in, s->in, &sig.n_out, out), LS_OK);
        const ls_status status = s->op->shard(&sig, s->split, split);
        if (s->out_split[0] == -9) {
            if (status != LS_ERR_UNSUPPORTED) fail_msg("row %d is not refused", (int)i);
            continue;
        }
        if (status != LS_OK) fail_msg("row %d: %s", (int)i, ls_error_message());
        assert_memory_equal(split, s->out_split, sizeof(int) * (size_t)sig.n_out);
    }
}

/* Gradients into statistics are refused: asks for that of result `which` of the op that makes `y`. */
static void refuse_gradient(ls_graph *graph, ls_value x, ls_value y, int which, const char *says) {
    ls_grad_parts parts;
    const ls_value stat = y + which;
    const ls_value seed = ls_graph_input(graph, "seed", LS_DTYPE_F32, ls_graph_shape(graph, stat));
    assert_int_equal(ls_graph_differentiate(graph, &stat, &seed, 1, &x, 1, &parts),
                     LS_ERR_UNSUPPORTED);
    assert_non_null(strstr(ls_error_message(), says));
}

static void no_gradient_through_statistics(void **state) {
    (void)state;
    for (int op = 0; op < 4; op++) {
        ls_graph *graph;
        assert_int_equal(ls_graph_create(&graph), LS_OK);
        const ls_shape shape = {2, {4, 3}}, vector = {1, {3}};
        const ls_value x = ls_graph_input(graph, "x", LS_DTYPE_F32, shape);
        const ls_value v = ls_graph_input(graph, "v", LS_DTYPE_F32, vector);
        if (op == 0)
            refuse_gradient(graph, x, ls_layernorm(graph, x, v, v, 1e-5), 1, "not into mean");
        if (op == 1) refuse_gradient(graph, x, ls_rmsnorm(graph, x, v, 1e-5), 1, "not into rstd");
        if (op == 2)
            refuse_gradient(graph, x, ls_batchnorm(graph, x, v, v, 1e-5), 2, "not into its");
        if (op == 3)
            refuse_gradient(graph, x, ls_batchnorm_eval(graph, x, v, v, v, v, 1e-5), 0,
                            "no gradient");
        ls_graph_destroy(graph);
    }
}

/* Gradients of vectors that depend on parameters only are f32, whatever the vectors are. */
static void vector_gradients_are_f32(void **state) {
    (void)state;
    ls_graph *graph;
    ls_grad_parts parts;
    assert_int_equal(ls_graph_create(&graph), LS_OK);
    const ls_shape shape = {2, {4, 3}}, vector = {1, {3}};
    const ls_value x = ls_graph_input(graph, "x", LS_DTYPE_BF16, shape);
    const ls_value gamma =
        ls_graph_param(graph, "gamma", LS_DTYPE_BF16, vector, (ls_init){LS_INIT_CONSTANT, 1, 0});
    const ls_value y = ls_layernorm(graph, x, gamma, LS_VALUE_NONE, 1e-5);
    const ls_value seed = ls_graph_input(graph, "seed", LS_DTYPE_BF16, shape);
    const ls_value wrt[2] = {x, gamma};
    assert_int_equal(ls_graph_differentiate(graph, &y, &seed, 1, wrt, 2, &parts), LS_OK);
    assert_int_equal(parts.n_parts, 2);
    assert_int_equal(ls_graph_dtype(graph, parts.parts[0].grad), LS_DTYPE_BF16);
    assert_int_equal(ls_graph_dtype(graph, parts.parts[1].grad), LS_DTYPE_F32);
    ls_graph_destroy(graph);
}

static const ls_kernel *find_kernel(const ls_op *op, const char *name) {
    for (const ls_kernel *const *k = op->kernels; *k; k++)
        if (strcmp((*k)->name, name) == 0) return *k;
    return NULL;
}

/* The instruction that rounds to bf16 takes subnormal numbers for zero: a row whose results are such must come out all the same. */
static void bf16_instruction_keeps_subnormals(void **state) {
    enum { ROWS = 6, N = 72 };
    const ls_type x = TYPE(LS_DTYPE_BF16, ROWS, N), gamma = F32(N), rstd = F32(ROWS);
    const ls_type in_type[2] = {x, gamma}, out_type[2] = {x, rstd};
    const ls_sig sig = {&ls_op_rmsnorm, &rms, 2, 2, in_type, out_type};
    const ls_kernel *kernels[2] = {find_kernel(sig.op, "rmsnorm_cpu_avx512bf16"),
                                   find_kernel(sig.op, "rmsnorm_cpu_avx512")};
    uint16_t rows[ROWS * N], y[2][ROWS * N];
    float weights[N], scales[ROWS], workspace[4096] __attribute__((aligned(64)));
    (void)state;
    if (ls_cpu_isa() < LS_ISA_AVX512BF16) skip();
    const ls_tensor in[2] = {{x.dtype, x.shape, rows}, {gamma.dtype, gamma.shape, weights}};
    for (int i = 0; i < ROWS * N; i++) ls_tensor_set((ls_tensor *)&in[0], i, i % 23 - 11.3);
    for (int i = 0; i < N; i++) weights[i] = ldexpf(1.37f, i < 9 ? 0 : -100 - i);
    for (int k = 0; k < 2; k++) {
        ls_tensor out[2] = {{x.dtype, x.shape, y[k]}, {rstd.dtype, rstd.shape, scales}};
        const ls_launch l = {.sig = &sig, .in = in, .out = out, .workspace = workspace};
        assert_non_null(kernels[k]);
        assert_true(kernels[k]->workspace_bytes(&sig, 1) <= sizeof workspace);
        assert_int_equal(kernels[k]->launch(&l), LS_OK);
    }
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    int n_subnormal = 0;
    for (int i = 0; i < ROWS * N; i++) n_subnormal += (y[0][i] & 0x7f80) == 0 && (y[0][i] & 0x7f);
    assert_true(n_subnormal > ROWS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16_instruction_keeps_subnormals),
        cmocka_unit_test(wrong_inputs_are_named),
        cmocka_unit_test(splits_follow_the_rules),
        cmocka_unit_test(no_gradient_through_statistics),
        cmocka_unit_test(vector_gradients_are_f32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
