/* Wire formats: what rounding gives, that it is idempotent, that bytes say the same, and that every instruction-set level agrees with
 * the plain loops bit for bit. */
#include "base/cpu.h"
#include "base/rng.h"
#include "op/op.h"
#include "op/wire.h"
#include "op/wire_add/wire_add.h"
#include <math.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

extern const ls_wire_fns ls_wire_fns_base;
#ifdef LS_X86
extern const ls_wire_fns ls_wire_fns_avx2, ls_wire_fns_avx512;
static const ls_wire_fns *const levels[] = {&ls_wire_fns_base, &ls_wire_fns_avx2,
                                            &ls_wire_fns_avx512};
#else
static const ls_wire_fns *const levels[] = {&ls_wire_fns_base};
#endif

enum { N_FILLS = 12, MOST = 4 * LS_SHARD_UNIT };

static int level_count(void) {
    const int known = (int)(sizeof levels / sizeof levels[0]);
    return (int)ls_cpu_isa() + 1 < known ? (int)ls_cpu_isa() + 1 : known;
}

/* Element i of kind `fill`: what formats can stumble over. */
static float draw(int fill, uint64_t seed, int64_t i) {
    const ls_rng_key key = {11, seed, (uint64_t)fill};
    const float normal = (float)ls_rng_normal(key, (uint64_t)i);
    switch (fill) {
    case 0:
        return 0;
    case 1:
        return normal;
    case 2:
        return normal * 1e30f;
    case 3:
        return normal * 1e-30f;
    case 4: /* subnormal */
        return normal * 1e-40f;
    case 5: /* around the smallest normal and the smallest scale */
        return normal * 3e-38f;
    case 6:
        return i % LS_WIRE_BLOCK == 7 ? -3.4e38f : normal;
    case 7: /* one dominant element */
        return i % LS_WIRE_BLOCK == 31 ? 1e6f : normal;
    case 8: /* ties */
        return (float)((int)(ls_rng_uniform(key, (uint64_t)i) * 511) - 255) * 0.5f;
    case 9: /* largest values just at and above 127 2^k */
        return i % LS_WIRE_BLOCK ? normal : nextafterf(127.0f, seed % 2 ? 0.0f : 200.0f) * 0x1p-3f;
    case 10:
        return i % 2 ? 3.4028235e38f : -3.4028235e38f;
    default: /* any bits, NaN and infinities among them */
        break;
    }
    const uint32_t bits = (uint32_t)(ls_rng_uniform(key, (uint64_t)i) * 4294967296.0);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void fill_block(int fill, uint64_t seed, float *x, int64_t count) {
    for (int64_t i = 0; i < count; i++) x[i] = draw(fill, seed, i);
}

typedef struct value_row {
    int wire;
    float first, second, want_first, want_second; /* the rest of the block is zero */
} value_row;

static void test_values(void **state) {
    (void)state;
    static const value_row rows[] = {
        {LS_WIRE_F32, 1.1f, -0.0f, 1.1f, -0.0f},
        {LS_WIRE_BF16, 1.00390625f, -1.01171875f, 1.0f, -1.015625f}, /* ties to even */
        {LS_WIRE_BF16, 3.4028235e38f, 1e-40f, INFINITY, 0x1p-133f},
        {LS_WIRE_BF16, -INFINITY, 0.3f, -INFINITY, 0.30078125f},
        {LS_WIRE_INT8, 127.0f, 0.5f, 127.0f, 0.0f},
        {LS_WIRE_INT8, 127.0f, 1.5f, 127.0f, 2.0f},
        {LS_WIRE_INT8, 127.5f, 1.5f, 128.0f, 2.0f}, /* past 127: scale 2 */
        {LS_WIRE_INT8, -254.0f, 3.0f, -254.0f, 4.0f},
        {LS_WIRE_INT8, 64.0f, 0.25f, 64.0f, 0.0f},
        {LS_WIRE_INT8, 63.5f, 0.25f, 63.5f, 0.0f},
        {LS_WIRE_INT8, 63.5f, 0.75f, 63.5f, 1.0f},
        {LS_WIRE_INT8, 1e-40f, 0.0f, 0.0f, 0.0f}, /* below half of the smallest step */
        {LS_WIRE_INT8, 3.4028235e38f, -1.0f, 0x1.fcp127f, 0.0f}, /* the largest there is */
    };
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        float x[LS_WIRE_BLOCK] = {rows[r].first, rows[r].second};
        ls_wire_round(rows[r].wire, x, LS_WIRE_BLOCK, x);
        if (x[0] != rows[r].want_first || x[1] != rows[r].want_second)
            fail_msg("row %zu: got %a and %a", r, (double)x[0], (double)x[1]);
    }
    float poisoned[2 * LS_WIRE_BLOCK] = {1, NAN, 2};
    poisoned[LS_WIRE_BLOCK] = 5;
    ls_wire_round(LS_WIRE_INT8, poisoned, 2 * LS_WIRE_BLOCK, poisoned);
    for (int i = 0; i < LS_WIRE_BLOCK; i++) assert_true(isnan(poisoned[i]));
    assert_true(poisoned[LS_WIRE_BLOCK] == 5 && poisoned[LS_WIRE_BLOCK + 1] == 0);
    float negative[1] = {-0.0f};
    ls_wire_round(LS_WIRE_INT8, negative, 1, negative);
    assert_false(signbit(negative[0]));
}

static void test_sizes(void **state) {
    (void)state;
    assert_int_equal(ls_wire_bytes(LS_WIRE_F32, 65), 260);
    assert_int_equal(ls_wire_bytes(LS_WIRE_BF16, 64), 128);
    assert_int_equal(ls_wire_bytes(LS_WIRE_BF16, 65), 256);
    assert_int_equal(ls_wire_bytes(LS_WIRE_INT8, 64), 66);
    assert_int_equal(ls_wire_bytes(LS_WIRE_INT8, 1), 66);
    assert_int_equal(ls_wire_bytes(LS_WIRE_INT8, 0), 0);
}

/* int8: no element is off by more than half a step of a scale that is no coarser than needed. */
static void check_error(const float *x, const float *y, int64_t count) {
    for (int b = 0; b + LS_WIRE_BLOCK <= count; b += LS_WIRE_BLOCK) {
        double amax = 0;
        int finite = 1;
        for (int i = b; i < b + LS_WIRE_BLOCK; i++) {
            finite &= isfinite(x[i]);
            amax = fmax(amax, fabs(x[i]));
        }
        const double step = fmax(amax / 63.5, 0x1p-126);
        for (int i = b; i < b + LS_WIRE_BLOCK; i++)
            assert_true(finite ? fabs((double)y[i] - x[i]) <= step / 2 || amax > 0x1.fcp127
                               : isnan(y[i]));
    }
}

static void test_rounding_is_idempotent(void **state) {
    (void)state;
    float x[MOST], y[MOST], z[MOST];
    unsigned char bytes[2 * MOST], again[2 * MOST];
    for (int wire = LS_WIRE_BF16; wire < LS_WIRE_COUNT; wire++)
        for (int fill = 0; fill < N_FILLS; fill++)
            for (uint64_t seed = 0; seed < 60; seed++) {
                const int64_t count = MOST - (int64_t)(seed * 4);
                memset(x, 0, sizeof x);
                memset(y, 0, sizeof y);
                fill_block(fill, seed, x, count);
                ls_wire_round(wire, x, count, y);
                ls_wire_round(wire, y, count, z);
                assert_memory_equal(y, z, sizeof *y * (size_t)count);
                ls_wire_encode(wire, x, count, bytes);
                ls_wire_decode(wire, bytes, count, z);
                assert_memory_equal(y, z, sizeof *y * (size_t)count);
                ls_wire_encode(wire, z, count, again);
                assert_memory_equal(bytes, again, ls_wire_bytes(wire, count));
                if (wire == LS_WIRE_INT8) check_error(x, y, count);
            }
}

/* --- levels against the reference ------------------------------------------------------------------------------------ */

static void compare_encoding(const ls_wire_fns *fns, int wire, const float *x, int64_t count) {
    unsigned char want[2 * MOST + 8], got[2 * MOST + 8];
    memset(got, 0xa5, sizeof got);
    memset(want, 0xa5, sizeof want);
    ls_wire_encode(wire, x, count, want);
    fns->encode(wire, x, count, got);
    assert_memory_equal(want, got, sizeof want);
}

static void test_levels_encode_alike(void **state) {
    (void)state;
    float x[MOST];
    for (int wire = LS_WIRE_BF16; wire < LS_WIRE_COUNT; wire++)
        for (int fill = 0; fill < N_FILLS; fill++)
            for (uint64_t seed = 0; seed < 40; seed++) {
                fill_block(fill, seed, x, MOST);
                for (int l = 0; l < level_count(); l++)
                    compare_encoding(levels[l], wire, x, MOST - (int64_t)(seed * 6));
            }
}

typedef struct operands {
    float x[16][MOST];
    unsigned char bytes[16][2 * MOST];
    ls_comm_view views[2 * 16];
    ls_wire_sum sum;
} operands;

static void fill_operands(operands *o, int wire, int n, int encoded, uint64_t seed, int64_t count) {
    for (int r = 0; r < n; r++) {
        fill_block((int)((seed + (uint64_t)(r / 4)) % N_FILLS), seed + (uint64_t)r, o->x[r], MOST);
        if (encoded) ls_wire_encode(wire, o->x[r], count, o->bytes[r]);
        o->views[2 * r].data = encoded ? (const void *)o->bytes[r] : o->x[r];
    }
    o->sum = (ls_wire_sum){wire, encoded, n, 2, o->views};
}

/* Bits, but any NaN is like any other: plain f32 sums pass payloads on as the hardware likes. */
static void compare_floats(const float *want, const float *got, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (memcmp(&want[i], &got[i], 4) && !(isnan(want[i]) && isnan(got[i])))
            fail_msg("element %lld: got %a, want %a", (long long)i, (double)got[i],
                     (double)want[i]);
}

static void compare_sums(const operands *o, int64_t begin, int64_t count) {
    float want[MOST + 1], got[MOST + 1];
    ls_wire_fns_ref.sum(&o->sum, begin, count, want);
    for (int l = 0; l < level_count(); l++) {
        got[count] = 77;
        levels[l]->sum(&o->sum, begin, count, got);
        compare_floats(want, got, count);
        assert_true(got[count] == 77);
    }
}

static void test_levels_sum_alike(void **state) {
    (void)state;
    operands *o = ls_alloc(sizeof *o);
    assert_non_null(o);
    for (int wire = 0; wire < LS_WIRE_COUNT; wire++)
        for (int n = 1; n <= 16; n *= 2)
            for (int encoded = 0; encoded <= (wire != LS_WIRE_F32); encoded++)
                for (uint64_t seed = 0; seed < 2 * N_FILLS; seed++) {
                    const int64_t count = MOST - (int64_t)seed;
                    fill_operands(o, wire, n, encoded, seed, count);
                    compare_sums(o, 0, count);
                    compare_sums(o, LS_SHARD_UNIT, count - LS_SHARD_UNIT);
                }
    ls_free(o);
}

/* The tree spelled out for four: pairs of neighbours, each node rounded. Encoded operands are as good as plain ones. */
static void test_sum_is_the_tree(void **state) {
    (void)state;
    operands *o = ls_alloc(sizeof *o);
    assert_non_null(o);
    for (int wire = 0; wire < LS_WIRE_COUNT; wire++) {
        float q[4][MOST], want[MOST], got[MOST];
        fill_operands(o, wire, 4, 0, 1, MOST);
        for (int r = 0; r < 4; r++) ls_wire_round(wire, o->x[r], MOST, q[r]);
        for (int r = 0; r < 4; r += 2) {
            for (int i = 0; i < MOST; i++) q[r][i] += q[r + 1][i];
            ls_wire_round(wire, q[r], MOST, q[r]);
        }
        for (int i = 0; i < MOST; i++) want[i] = q[0][i] + q[2][i];
        ls_wire_round(wire, want, MOST, want);
        ls_wire_fns_ref.sum(&o->sum, 0, MOST, got);
        assert_memory_equal(want, got, sizeof got);
        if (wire == LS_WIRE_F32) continue;
        fill_operands(o, wire, 4, 1, 1, MOST);
        ls_wire_fns_ref.sum(&o->sum, 0, MOST, got);
        assert_memory_equal(want, got, sizeof got);
    }
    ls_free(o);
}

/* What one rank folds with wire_add is what ranks sum: leaves rounded, then nodes. */
static void test_wire_add_is_a_node(void **state) {
    (void)state;
    operands *o = ls_alloc(sizeof *o);
    assert_non_null(o);
    for (int wire = 0; wire < LS_WIRE_COUNT; wire++) {
        const ls_wire_add_attr attr = {wire};
        const ls_type type = {LS_DTYPE_F32, {1, {MOST - 5}}};
        const ls_type types[2] = {type, type};
        const ls_sig one = {&ls_op_wire_add, &attr, 1, 1, types, &type};
        const ls_sig two = {&ls_op_wire_add, &attr, 2, 1, types, &type};
        const ls_kernel *kernel;
        float want[MOST];
        fill_operands(o, wire, 2, 0, 7, MOST);
        ls_wire_fns_ref.sum(&o->sum, 0, MOST - 5, want);
        assert_int_equal(ls_kernel_choose(&two, LS_DEVICE_CPU, ls_cpu_isa(), &kernel), LS_OK);
        ls_tensor x[2] = {{LS_DTYPE_F32, type.shape, o->x[0]}, {LS_DTYPE_F32, type.shape, o->x[1]}};
        for (int i = 0; i < 2; i++) {
            ls_launch round = {.sig = &one, .in = &x[i], .out = &x[i]};
            assert_int_equal(kernel->launch(&round), LS_OK);
        }
        ls_launch add = {.sig = &two, .in = x, .out = &x[0]};
        assert_int_equal(kernel->launch(&add), LS_OK);
        compare_floats(want, o->x[0], MOST - 5);
    }
    ls_free(o);
}

static void test_wire_add_refuses(void **state) {
    (void)state;
    const ls_wire_add_attr good = {LS_WIRE_INT8}, bad = {3};
    const ls_type f32 = {LS_DTYPE_F32, {1, {8}}}, bf16 = {LS_DTYPE_BF16, {1, {8}}};
    const ls_type wide = {LS_DTYPE_F32, {1, {9}}};
    ls_type out[LS_MAX_OUT];
    int n_out;
    assert_int_equal(ls_op_wire_add.infer(&bad, 1, &f32, &n_out, out), LS_ERR_INVALID);
    assert_non_null(strstr(ls_error_message(), "wire must be 0 to 2"));
    assert_int_equal(ls_op_wire_add.infer(&good, 1, &bf16, &n_out, out), LS_ERR_INVALID);
    assert_non_null(strstr(ls_error_message(), "input 0 is bf16"));
    const ls_type two[] = {f32, wide};
    assert_int_equal(ls_op_wire_add.infer(&good, 2, two, &n_out, out), LS_ERR_INVALID);
    assert_non_null(strstr(ls_error_message(), "same shape"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_rounding_is_idempotent),
        cmocka_unit_test(test_levels_encode_alike),
        cmocka_unit_test(test_levels_sum_alike),
        cmocka_unit_test(test_sum_is_the_tree),
        cmocka_unit_test(test_wire_add_is_a_node),
        cmocka_unit_test(test_wire_add_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
