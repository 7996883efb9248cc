/* conv2d and pool2d beyond their cases: what they refuse, known answers, sharding. */
#include "unit/op/matmul_run.h"

#include "op/conv2d/conv2d.h"
#include "op/pool2d/pool2d.h"

#define TYPE(dtype, ...)                                                                   \
    {                                                                                      \
        LS_DTYPE_##dtype, {                                                                \
            .n_dims = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dims = { \
                __VA_ARGS__                                                                \
            }                                                                              \
        }                                                                                  \
    }

typedef struct refusal {
    const char *words;
    const ls_op *op;
    const void *attr;
    int n_in;
    ls_type in[3];
} refusal;

static const ls_conv2d_attr plain = {1, 0}, no_stride = {0, 0}, below = {1, -1};
static const ls_conv2d_grad_input_attr odd_size = {1, 0, 9, 9};
static const ls_conv2d_grad_weight_attr to_i32 = {1, 0, 3, 3, LS_DTYPE_I32, 0};
static const ls_pool2d_attr max2 = {1, 2, 2, 0, 0, 0}, too_padded = {1, 2, 2, 2, 0, 0};
static const ls_pool2d_attr no_window = {1, 0, 1, 0, 0, 0}, grad_max = {1, 2, 2, 0, 4, 4};

static const refusal refusals[] = {
    {"w [5, 4, 3, 3] takes 4",
     &ls_op_conv2d,
     &plain,
     2,
     {TYPE(F32, 8, 8, 1, 3), TYPE(F32, 5, 4, 3, 3)}},
    {"does not fit", &ls_op_conv2d, &plain, 2, {TYPE(F32, 2, 8, 1, 3), TYPE(F32, 5, 3, 3, 3)}},
    {"must have 4 dims", &ls_op_conv2d, &plain, 2, {TYPE(F32, 3, 8, 8), TYPE(F32, 5, 3, 3, 3)}},
    {"stride must be",
     &ls_op_conv2d,
     &no_stride,
     2,
     {TYPE(F32, 8, 8, 1, 3), TYPE(F32, 5, 3, 3, 3)}},
    {"padding at least 0",
     &ls_op_conv2d,
     &below,
     2,
     {TYPE(F32, 8, 8, 1, 3), TYPE(F32, 5, 3, 3, 3)}},
    {"bias must be [5]",
     &ls_op_conv2d,
     &plain,
     3,
     {TYPE(F32, 8, 8, 1, 3), TYPE(F32, 5, 3, 3, 3), TYPE(F32, 4)}},
    {"float tensor", &ls_op_conv2d, &plain, 2, {TYPE(I32, 8, 8, 1, 3), TYPE(F32, 5, 3, 3, 3)}},
    {"x and w give 7 x 7",
     &ls_op_conv2d_grad_input,
     &odd_size,
     2,
     {TYPE(F32, 6, 6, 1, 5), TYPE(F32, 5, 3, 3, 3)}},
    {"result a float",
     &ls_op_conv2d_grad_weight,
     &to_i32,
     2,
     {TYPE(F32, 6, 6, 1, 5), TYPE(F32, 8, 8, 1, 3)}},
    {"does not fit", &ls_op_pool2d, &max2, 1, {TYPE(F32, 1, 8, 1, 3)}},
    {"half the window", &ls_op_pool2d, &too_padded, 1, {TYPE(F32, 8, 8, 1, 3)}},
    {"window and stride", &ls_op_pool2d, &no_window, 1, {TYPE(F32, 8, 8, 1, 3)}},
    {"takes dy and x", &ls_op_pool2d_grad, &grad_max, 1, {TYPE(F32, 2, 2, 1, 3)}},
};

static void refuses_what_does_not_fit(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const refusal *r = &refusals[i];
        ls_type out[LS_MAX_OUT];
        int n_out;
        assert_int_equal(r->op->infer(r->attr, r->n_in, r->in, &n_out, out), LS_ERR_INVALID);
        if (!strstr(ls_error_message(), r->words))
            fail_msg("'%s' is not in '%s'", r->words, ls_error_message());
    }
}

static void run_chosen(run *r) {
    const ls_kernel *kernel;
    assert_int_equal(ls_kernel_choose(&r->sig, LS_DEVICE_CPU, ls_cpu_isa(), &kernel), LS_OK);
    run_kernel(r, kernel, 2);
}

/* Cross-correlation, not convolution: the window is not turned. */
static void correlates(void **state) {
    (void)state;
    run r;
    run_init(&r, &ls_op_conv2d, &plain, 2,
             (ls_type[]){TYPE(F32, 2, 3, 1, 1), TYPE(F32, 1, 1, 1, 2)});
    memcpy(r.in[0].data, (float[]){1, 2, 3, 4, 5, 6}, 6 * sizeof(float));
    memcpy(r.in[1].data, (float[]){10, 1}, 2 * sizeof(float));
    run_chosen(&r);
    const float want[4] = {12, 23, 45, 56};
    assert_memory_equal(r.out[0].data, want, sizeof want);
    run_deinit(&r);
}

/* Weights that meet the padding alone are not read: zero times infinity would be NaN. */
static void leaves_out_what_lies_beyond_the_border(void **state) {
    (void)state;
    const ls_conv2d_attr same = {1, 1};
    const ls_conv2d_grad_input_attr input = {1, 1, 1, 1};
    const ls_op *ops[2] = {&ls_op_conv2d, &ls_op_conv2d_grad_input};
    const void *attrs[2] = {&same, &input};
    for (int i = 0; i < 2; i++) {
        run r;
        run_init(&r, ops[i], attrs[i], 2,
                 (ls_type[]){TYPE(F32, 1, 1, 3, 1), TYPE(F32, 1, 1, 3, 3)});
        for (int k = 0; k < 9; k++) ((float *)r.in[1].data)[k] = k == 4 ? 2 : INFINITY;
        memcpy(r.in[0].data, (float[]){1, -2, 0.5f}, 3 * sizeof(float));
        run_chosen(&r);
        assert_memory_equal(r.out[0].data, ((float[]){2, -4, 1}), 3 * sizeof(float));
        run_deinit(&r);
    }
}

/* Copies image b of every pixel. */
static void pick_image(const ls_tensor *from, int64_t b, const ls_tensor *to) {
    const int64_t *dims = from->shape.dims;
    const size_t bytes = (size_t)dims[3] * ls_dtype_bytes(from->dtype);
    for (int64_t i = 0; i < dims[0] * dims[1]; i++)
        memcpy((char *)to->data + (size_t)i * bytes,
               (const char *)from->data + (size_t)(i * dims[2] + b) * bytes, bytes);
}

static void check_alone(const ls_op *op, const void *attr, ls_type x, ls_type w) {
    run all, one;
    const int64_t n = x.shape.dims[2];
    run_init(&all, op, attr, 2, (ls_type[]){x, w});
    x.shape.dims[2] = 1;
    run_init(&one, op, attr, 2, (ls_type[]){x, w});
    memcpy(one.in[1].data, all.in[1].data, ls_type_bytes(&w));
    run_chosen(&all);
    ls_tensor want = all.out[0];
    run_alloc(&want, &one.out_types[0]);
    for (int64_t b = 0; b < n; b++) {
        pick_image(&all.in[0], b, &one.in[0]);
        run_chosen(&one);
        pick_image(&all.out[0], b, &want);
        if (memcmp(want.data, one.out[0].data, ls_type_bytes(&one.out_types[0])) != 0)
            fail_msg("%s: image %d of %d has other bits alone", op->name, (int)b, (int)n);
    }
    ls_free(want.data);
    run_deinit(&one);
    run_deinit(&all);
}

static void an_image_does_not_know_its_neighbours(void **state) {
    (void)state;
    const ls_conv2d_attr halve = {2, 1};
    const ls_conv2d_grad_input_attr input = {2, 1, 5, 4};
    const ls_dtype dtypes[3] = {LS_DTYPE_F32, LS_DTYPE_BF16, LS_DTYPE_F16};
    for (int i = 0; i < 3; i++) {
        const ls_dtype dtype = dtypes[i];
        check_alone(&ls_op_conv2d, &halve, (ls_type){dtype, {4, {5, 4, 29, 35}}},
                    (ls_type){dtype, {4, {40, 35, 3, 3}}});
        check_alone(&ls_op_conv2d_grad_input, &input, (ls_type){dtype, {4, {3, 2, 29, 32}}},
                    (ls_type){dtype, {4, {32, 18, 3, 3}}});
    }
}

static void pools(void **state) {
    (void)state;
    const ls_pool2d_attr mean_padded = {0, 3, 2, 1, 0, 0}, max_padded = {1, 3, 2, 1, 0, 0};
    run r;
    const ls_type x = TYPE(F32, 3, 3, 1, 1);
    const float values[9] = {-1, -2, -3, -4, NAN, -6, -7, -8, -9};
    run_init(&r, &ls_op_pool2d, &max_padded, 1, &x);
    memcpy(r.in[0].data, values, sizeof values);
    run_chosen(&r);
    const float *y = r.out[0].data;
    assert_int_equal(r.out_types[0].shape.dims[0], 2);
    assert_true(isnan(y[0]) && isnan(y[3])); /* every window has the NaN */
    ((float *)r.in[0].data)[4] = -5;
    run_chosen(&r);
    assert_true(y[0] == -1 && y[1] == -2 && y[2] == -4 && y[3] == -5);
    run_deinit(&r);
    run_init(&r, &ls_op_pool2d, &mean_padded, 1, &x);
    for (int i = 0; i < 9; i++) ((float *)r.in[0].data)[i] = 9;
    run_chosen(&r);
    assert_true(((float *)r.out[0].data)[0] == 4); /* four of nine, the padding counted */
    run_deinit(&r);
}

static void only_the_batch_splits(void **state) {
    (void)state;
    const ls_type in[2] = {TYPE(F32, 8, 8, 4, 3), TYPE(F32, 5, 3, 3, 3)};
    ls_type out[LS_MAX_OUT];
    int n_out, split;
    assert_int_equal(ls_op_conv2d.infer(&plain, 2, in, &n_out, out), LS_OK);
    const ls_sig sig = {&ls_op_conv2d, &plain, 2, n_out, in, out};
    assert_int_equal(ls_op_conv2d.shard(&sig, (int[]){2, LS_SHARD_REPLICATED}, &split), LS_OK);
    assert_int_equal(split, 2);
    assert_int_equal(ls_op_conv2d.shard(&sig, (int[]){1, 1}, &split), LS_ERR_UNSUPPORTED);
    assert_non_null(strstr(ls_error_message(), "only the batch"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(correlates),
        cmocka_unit_test(leaves_out_what_lies_beyond_the_border),
        cmocka_unit_test(an_image_does_not_know_its_neighbours),
        cmocka_unit_test(pools),
        cmocka_unit_test(only_the_batch_splits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
