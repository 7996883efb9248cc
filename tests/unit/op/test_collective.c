/* What collectives refuse, the types they give, how tensors are parted, staging sizes, cost, text and builders. */
#include "base/alloc.h"
#include "op/collective_room.h"
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define F32(...)        \
    {                   \
        LS_DTYPE_F32, { \
            __VA_ARGS__ \
        }               \
    }
#define TWO .size = 2, .lanes = 4, .from = -1, .to = -1
static const ls_collective_attr good = {TWO, .n = 1, .counts = {300}};

typedef struct refusal {
    int which; /* ls_collective */
    ls_collective_attr attr;
    ls_type x;
    const char *words;
} refusal;

static void test_start_refuses(void **state) {
    (void)state;
    enum { G = LS_COLLECTIVE_ALL_GATHER, R = LS_COLLECTIVE_REDUCE_SCATTER };
    enum { A = LS_COLLECTIVE_ALL_REDUCE, B = LS_COLLECTIVE_BROADCAST, S = LS_COLLECTIVE_SEND };
    static const refusal rows[] = {
        {R, {.size = 3, .lanes = 3, .from = -1, .to = -1, .n = 1}, F32(1, {0}), "size 3, lanes 3"},
        {R, {.size = 4, .lanes = 2, .from = -1, .to = -1, .n = 1}, F32(1, {0}), "size 4, lanes 2"},
        {R, {.size = 0, .lanes = 1, .from = -1, .to = -1, .n = 1}, F32(1, {0}), "size 0"},
        {R, {TWO, .n = 0}, F32(1, {0}), "n must be 1 to 48 tensors, got 0"},
        {R, {TWO, .n = 49}, F32(1, {0}), "got 49"},
        {R, {TWO, .n = 2, .counts = {300, 3}}, F32(1, {300}), "as many tensors, got 1"},
        {R, {TWO, .n = 1, .counts = {-1}}, F32(1, {0}), "counts[0] must not be negative, got -1"},
        {R, {TWO, .n = 1, .counts = {300}}, F32(1, {299}), "counts[0] = 300 elements, got [299]"},
        {R,
         {TWO, .n = 1, .counts = {8}},
         {LS_DTYPE_BF16, {1, {8}}},
         "sums are of f32, x 0 is bf16"},
        {R,
         {TWO, .n = 1, .counts = {8}, .wire = 3},
         F32(1, {8}),
         "0 to 2 (f32, bf16, int8), got 3"},
        {R, {TWO, .n = 1, .counts = {8}, .unit = 32}, F32(1, {8}), "multiple of that for sums"},
        {R, {TWO, .n = 1, .counts = {8}, .fast = 1}, F32(1, {8}), "fast is for all_reduce"},
        {A, {TWO, .n = 1, .counts = {8}, .fast = 1, .wire = 1}, F32(1, {8}), "got wire 1"},
        {A, {TWO, .n = 1, .counts = {8}, .in_place = 1}, F32(1, {8}), "has no in_place"},
        {A, {TWO, .n = 1, .counts = {8}, .ticket = 256}, F32(1, {8}), "ticket must be 0 to 255"},
        {G, {TWO, .n = 1, .counts = {8}, .wire = 1}, F32(1, {128}), "bytes travel as they are"},
        {G, {TWO, .n = 1, .counts = {300}}, F32(1, {300}), "must be a piece [256] of 300 elements"},
        {G, {TWO, .n = 1, .counts = {300}}, F32(2, {2, 128}), "got [2, 128]"},
        {G, {TWO, .n = 1, .counts = {300}, .unit = -1}, F32(1, {256}), "or positive, got -1"},
        {G, {.size = 2, .lanes = 2, .to = -1, .n = 1}, F32(1, {0}), "does not use from"},
        {B, {TWO, .n = 1, .counts = {8}}, F32(1, {8}), "from must be a member, 0 to 1, got -1"},
        {S, {.size = 2, .lanes = 2, .to = 2, .n = 1}, F32(1, {0}), "to must be a member, 0 to 1"},
    };
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        ls_type out[LS_MAX_OUT];
        int n_out;
        assert_int_equal(
            ls_collective_infer_start(rows[r].which, &rows[r].attr, 1, &rows[r].x, &n_out, out),
            LS_ERR_INVALID);
        if (!strstr(ls_error_message(), rows[r].words))
            fail_msg("row %zu: '%s' lacks '%s'", r, ls_error_message(), rows[r].words);
    }
}

static void test_wait_refuses(void **state) {
    (void)state;
    const ls_type piece = F32(1, {256}), x = F32(1, {300}), other = F32(1, {255});
    const ls_type in[] = {other, x};
    ls_type out[LS_MAX_OUT];
    int n_out;
    assert_int_equal(
        ls_collective_infer_wait(LS_COLLECTIVE_REDUCE_SCATTER, &good, 2, in, &n_out, out),
        LS_ERR_INVALID);
    assert_non_null(strstr(ls_error_message(),
                           "result 0 of reduce_scatter_start must be f32[256], got f32[255]"));
    assert_int_equal(
        ls_collective_infer_wait(LS_COLLECTIVE_REDUCE_SCATTER, &good, 1, &piece, &n_out, out),
        LS_ERR_INVALID);
    assert_non_null(strstr(ls_error_message(), "it takes n pending, n x, got 1 inputs"));
    ls_collective_attr staged = good;
    staged.staged = 1;
    assert_int_equal(
        ls_collective_infer_wait(LS_COLLECTIVE_REDUCE_SCATTER, &staged, 2, in, &n_out, out),
        LS_ERR_INVALID);
    assert_non_null(strstr(ls_error_message(), "n x and the staging"));
}

typedef struct type_row {
    ls_collective which;
    ls_collective_attr attr;
    ls_type x, y;
} type_row;

static void test_types(void **state) {
    (void)state;
    static const type_row rows[] = {
        {LS_COLLECTIVE_REDUCE_SCATTER,
         {TWO, .n = 1, .counts = {300}},
         F32(2, {3, 100}),
         F32(1, {256})},
        {LS_COLLECTIVE_REDUCE_SCATTER,
         {TWO, .n = 1, .counts = {300}, .in_place = 1},
         F32(2, {3, 100}),
         F32(2, {3, 100})},
        {LS_COLLECTIVE_ALL_GATHER,
         {TWO, .n = 1, .counts = {300}},
         {LS_DTYPE_BF16, {1, {256}}},
         {LS_DTYPE_BF16, {1, {300}}}},
        {LS_COLLECTIVE_ALL_GATHER,
         {TWO, .n = 1, .counts = {4}, .unit = 1},
         {LS_DTYPE_F64, {1, {2}}},
         {LS_DTYPE_F64, {1, {4}}}},
        {LS_COLLECTIVE_ALL_GATHER,
         {TWO, .n = 1, .counts = {300}, .in_place = 1},
         F32(2, {3, 100}),
         F32(2, {3, 100})},
        {LS_COLLECTIVE_ALL_TO_ALL, {TWO, .n = 1, .counts = {300}}, F32(1, {300}), F32(1, {512})},
        {LS_COLLECTIVE_ALL_REDUCE, {TWO, .n = 1, .counts = {1}}, F32(0, {0}), F32(0, {0})},
        {LS_COLLECTIVE_BROADCAST,
         {.size = 2, .lanes = 2, .from = 1, .to = -1, .n = 1, .counts = {6}},
         {LS_DTYPE_I32, {2, {2, 3}}},
         {LS_DTYPE_I32, {2, {2, 3}}}},
    };
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        ls_type made[LS_MAX_OUT], out[LS_MAX_OUT];
        int n_made, n_out;
        assert_int_equal(
            ls_collective_infer_start(rows[r].which, &rows[r].attr, 1, &rows[r].x, &n_made, made),
            LS_OK);
        assert_int_equal(n_made, 1);
        const ls_type in[] = {made[0], rows[r].x};
        assert_int_equal(ls_collective_infer_wait(rows[r].which, &rows[r].attr, 2, in, &n_out, out),
                         LS_OK);
        assert_int_equal(out[0].dtype, rows[r].y.dtype);
        assert_true(ls_shape_equal(&out[0].shape, &rows[r].y.shape));
    }
}

/* 300 elements in 4 chunks of 128; 2 members own 256 each. int8: 5 units of 66 bytes, 330, rounded up to 384. */
static void test_staging(void **state) {
    (void)state;
    ls_collective_attr attr = {TWO, .n = 1, .counts = {300}, .staged = 1};
    const ls_type x = F32(1, {300});
    ls_type out[LS_MAX_OUT];
    int n_out;
    static const size_t send[] = {0, 640, 384}, piece[] = {1024, 512, 320};
    for (int wire = 0; wire < LS_WIRE_COUNT; wire++) {
        attr.wire = wire;
        assert_int_equal(
            ls_collective_infer_start(LS_COLLECTIVE_REDUCE_SCATTER, &attr, 1, &x, &n_out, out),
            LS_OK);
        assert_int_equal(n_out, 2);
        assert_int_equal(out[1].dtype, LS_DTYPE_U8);
        assert_int_equal(ls_type_bytes(&out[1]), send[wire] + 2 * piece[wire]);
    }
    attr.wire = LS_WIRE_F32;
    attr.fast = 1;
    assert_int_equal(ls_collective_infer_start(LS_COLLECTIVE_ALL_REDUCE, &attr, 1, &x, &n_out, out),
                     LS_OK);
    assert_int_equal(n_out, 1);
}

static void test_pieces(void **state) {
    (void)state;
    ls_collective_attr attr = {.lanes = 8, .n = 1};
    static const int64_t counts[] = {0, 1, 64, 65, 511, 512, 513, 100003};
    for (int c = 0; c < 8; c++)
        for (attr.size = 1; attr.size <= 8; attr.size *= 2) {
            attr.counts[0] = counts[c];
            attr.unit = 0;
            const int64_t piece = ls_collective_piece(&attr, 0);
            assert_int_equal(piece, ls_shard_piece(counts[c], 8, attr.size));
            assert_int_equal(piece * attr.size, ls_shard_piece(counts[c], 8, 1));
            assert_true(piece * attr.size >= counts[c]);
            attr.unit = 1;
            assert_int_equal(ls_collective_piece(&attr, 0), (counts[c] + 7) / 8 * (8 / attr.size));
        }
}

static void test_cost(void **state) {
    (void)state;
    const ls_type x = F32(1, {512}), y = F32(1, {256});
    const ls_type in[] = {y, x};
    const ls_collective_attr attr = {TWO, .n = 1, .counts = {512}};
    const ls_sig start = {&ls_op_reduce_scatter_start, &attr, 1, 1, &x, &y};
    const ls_sig wait = {&ls_op_reduce_scatter_wait, &attr, 2, 1, in, &y};
    ls_cost cost;
    ls_collective_cost(&start, &cost);
    assert_true(cost.bytes_read == 0 && cost.bytes_written == 0 && cost.flops == 0);
    ls_collective_cost(&wait, &cost);
    assert_true(cost.bytes_read == 2048 && cost.bytes_written == 1024 && cost.flops == 256);
    ls_collective_attr staged = attr;
    staged.staged = 1;
    staged.wire = LS_WIRE_BF16;
    const ls_sig encode = {&ls_op_reduce_scatter_start, &staged, 1, 1, &x, &y};
    ls_collective_cost(&encode, &cost);
    assert_true(cost.bytes_read == 2048 && cost.bytes_written == 1024);
}

/* Attributes that differ print differently: the structural hash sees the text. */
static void test_print_says_all(void **state) {
    (void)state;
    ls_collective_attr attrs[12];
    ls_text texts[12] = {{0}};
    for (int i = 0; i < 12; i++) attrs[i] = (ls_collective_attr){TWO, .n = 2, .counts = {300, 7}};
    attrs[1].size = 4;
    attrs[2].lanes = 8;
    attrs[3].wire = 1;
    attrs[4].staged = 1;
    attrs[5].in_place = 1;
    attrs[6].fast = 1;
    attrs[7].ticket = 1;
    attrs[8].from = 0;
    attrs[9].to = 0;
    attrs[10].unit = 1;
    attrs[11].counts[1] = 8;
    for (int i = 0; i < 12; i++) {
        ls_collective_print(&attrs[i], &texts[i]);
        for (int k = 0; k < i; k++) assert_string_not_equal(texts[i].data, texts[k].data);
    }
    assert_string_equal(texts[0].data,
                        "size=2 lanes=4 wire=0 staged=0 in_place=0 fast=0 ticket=0 from=-1 to=-1 "
                        "unit=0 n=2 counts=300,7");
    for (int i = 0; i < 12; i++) ls_text_deinit(&texts[i]);
}

static void test_builders(void **state) {
    (void)state;
    ls_graph *graph;
    ls_value pending[LS_MAX_OUT], y[LS_COMM_MAX_PARTS];
    assert_int_equal(ls_graph_create(&graph), LS_OK);
    ls_collective_attr attr = {TWO, .n = 2, .counts = {300, 64}, .staged = 1};
    const ls_value x[2] = {ls_graph_input(graph, "a", LS_DTYPE_F32, (ls_shape){2, {3, 100}}),
                           ls_graph_input(graph, "b", LS_DTYPE_F32, (ls_shape){1, {64}})};
    assert_int_equal(ls_collective_start(graph, &ls_op_reduce_scatter_start, &attr, x, pending),
                     LS_OK);
    assert_true(pending[2] != LS_VALUE_NONE);
    assert_int_equal(ls_collective_wait(graph, &ls_op_reduce_scatter_wait, &attr, x, pending, y),
                     LS_OK);
    assert_int_equal(ls_graph_shape(graph, y[1]).dims[0], 128);
    assert_int_equal(graph->nodes[1].n_in, 5);
    attr.staged = 0;
    assert_int_equal(ls_collective_start(graph, &ls_op_reduce_scatter_start, &attr, x, pending),
                     LS_OK);
    assert_int_equal(pending[2], LS_VALUE_NONE);
    assert_int_equal(ls_graph_verify(graph), LS_OK);
    assert_int_equal(ls_collective_start(graph, &ls_op_reduce_scatter_wait, &attr, x, pending),
                     LS_ERR_INVALID);
    assert_non_null(strstr(ls_error_message(), "reduce_scatter_wait is not the start"));
    assert_int_equal(ls_collective_wait(graph, &ls_op_wire_add, &attr, x, pending, y),
                     LS_ERR_INVALID);
    assert_non_null(strstr(ls_error_message(), "wire_add is not the wait of a collective"));
    attr.n = LS_COMM_MAX_PARTS + 1;
    assert_int_equal(ls_collective_start(graph, &ls_op_reduce_scatter_start, &attr, x, pending),
                     LS_ERR_INVALID);
    ls_graph_destroy(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start_refuses),  cmocka_unit_test(test_wait_refuses),
        cmocka_unit_test(test_types),          cmocka_unit_test(test_staging),
        cmocka_unit_test(test_pieces),         cmocka_unit_test(test_cost),
        cmocka_unit_test(test_print_says_all), cmocka_unit_test(test_builders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
