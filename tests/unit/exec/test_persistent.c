/* Values of a program: first values as known answers, fetching, storing, and the refusals of each. */
#include "base/rng.h"
#include "unit/exec/small_program.h"
#include <math.h>

#define EMBEDDING "transformer.wte.weight"
#define NORM      "transformer.ln_f.weight"

/* Element i of a value named n is drawn with the key (seed, 0, stream of n) at index i: nothing else matters. */
static void test_init(void **state) {
    (void)state;
    small_program s;
    float values[SMALL_VOCAB * 16], again[SMALL_VOCAB * 16], norm[16];
    open_small(&s, 1);
    check_ok(ls_program_init(s.program, 5));
    check_ok(ls_program_fetch(s.program, EMBEDDING, values, sizeof values));
    const ls_rng_key key = {5, 0, ls_rng_stream(EMBEDDING)};
    double sum = 0, squares = 0;
    for (int i = 0; i < SMALL_VOCAB * 16; i++) {
        assert_true(values[i] == (float)(0.02 * ls_rng_normal(key, (uint64_t)i)));
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    assert_true(fabs(sum / (SMALL_VOCAB * 16)) < 0.004);
    assert_true(fabs(sqrt(squares / (SMALL_VOCAB * 16)) - 0.02) < 0.002);
    check_ok(ls_program_fetch(s.program, NORM, norm, sizeof norm));
    for (int i = 0; i < 16; i++) assert_true(norm[i] == 1);
    check_ok(ls_program_init(s.program, 6));
    check_ok(ls_program_fetch(s.program, EMBEDDING, again, sizeof again));
    assert_memory_not_equal(values, again, sizeof values);
    close_small(&s);
    /* a deeper model has the same embedding */
    open_small(&s, 2);
    check_ok(ls_program_init(s.program, 5));
    check_ok(ls_program_fetch(s.program, EMBEDDING, again, sizeof again));
    assert_memory_equal(values, again, sizeof values);
    close_small(&s);
}

static void test_store_and_fetch(void **state) {
    (void)state;
    small_program s;
    float norm[16], back[16];
    open_small(&s, 1);
    for (int i = 0; i < 16; i++) norm[i] = (float)i * 0.5f;
    ls_tensor host = {LS_DTYPE_F32, {.n_dims = 1, .dims = {16}}, norm};
    check_ok(ls_program_store(s.program, NORM, &host));
    check_ok(ls_program_fetch(s.program, NORM, back, sizeof back));
    assert_memory_equal(norm, back, sizeof back);
    check_fails(ls_program_fetch(s.program, NORM, back, 60), LS_ERR_INVALID,
                "64 bytes, the buffer 60");
    check_fails(ls_program_fetch(s.program, "nothing", back, 64), LS_ERR_NOT_FOUND, "'nothing'");
    check_fails(ls_program_fetch_f32(s.program, NORM, back), LS_ERR_INVALID, "the buffer 4");
    check_fails(ls_program_store(s.program, "nothing", &host), LS_ERR_NOT_FOUND, "'nothing'");
    host.shape.dims[0] = 8;
    check_fails(ls_program_store(s.program, NORM, &host), LS_ERR_FORMAT, NORM);
    host.shape.dims[0] = 16;
    host.dtype = LS_DTYPE_F64;
    check_fails(ls_program_store(s.program, NORM, &host), LS_ERR_FORMAT, "f64");
    close_small(&s);
}

/* Bytes of a value as they come. */
typedef struct reading {
    char bytes[SMALL_VOCAB * 16 * sizeof(float)];
    size_t end; /* of the parts so far */
    int n_parts;
    const void *first;
    int n_left; /* parts until it fails; 0: it does not */
} reading;

static ls_status note_part(void *user, size_t at, const void *data, size_t bytes) {
    reading *r = user;
    if (r->n_left > 0 && --r->n_left == 0) return LS_FAIL(LS_ERR_IO, "enough");
    assert_int_equal(at, r->end);
    if (r->n_parts++ == 0) r->first = data;
    memcpy(r->bytes + at, data, bytes);
    r->end = at + bytes;
    return LS_OK;
}

/* Where the host can read it a value is not copied; elsewhere it comes in pieces. */
static void test_read(void **state) {
    (void)state;
    small_program s;
    float values[SMALL_VOCAB * 16];
    open_small(&s, 1);
    check_ok(ls_program_init(s.program, 5));
    check_ok(ls_program_fetch(s.program, EMBEDDING, values, sizeof values));
    reading here = {.n_parts = 0}, there = {.n_parts = 0};
    const int64_t calls = ls_alloc_get_stats().n_calls;
    check_ok(ls_program_read(s.program, EMBEDDING, note_part, &here));
    assert_int_equal(ls_alloc_get_stats().n_calls, calls);
    assert_int_equal(here.n_parts, 1);
    assert_int_equal(here.end, sizeof values);
    assert_memory_equal(here.bytes, values, sizeof values);
    const ls_device_ops *ops = s.device->ops;
    ls_device_ops far = *ops;
    far.kind = LS_DEVICE_CUDA;
    s.device->ops = &far;
    check_ok(ls_program_read(s.program, EMBEDDING, note_part, &there));
    assert_ptr_not_equal(there.first, here.first);
    assert_memory_equal(there.bytes, values, sizeof values);
    there = (reading){.n_left = 1};
    check_fails(ls_program_read(s.program, EMBEDDING, note_part, &there), LS_ERR_IO, "enough");
    s.device->ops = ops;
    here = (reading){.n_left = 1};
    check_fails(ls_program_read(s.program, EMBEDDING, note_part, &here), LS_ERR_IO, "enough");
    check_fails(ls_program_read(s.program, "nothing", note_part, &here), LS_ERR_NOT_FOUND,
                "'nothing'");
    close_small(&s);
}

/* Memory that nobody wrote needs no zeros; memory that somebody did gets them. */
static void test_init_new(void **state) {
    (void)state;
    small_program s;
    static const char *const names[] = {EMBEDDING, NORM, EMBEDDING "/adam_m", NORM "/adam_v"};
    float fresh[SMALL_VOCAB * 16] = {0}, again[SMALL_VOCAB * 16] = {0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        open_small(&s, 1);
        check_ok(ls_program_init_new(s.program, 5));
        check_ok(ls_program_fetch(s.program, names[i], fresh, sizeof fresh));
        check_ok(run_small(&s, 0));
        check_ok(ls_program_fetch(s.program, names[i], again, sizeof again));
        assert_memory_not_equal(fresh, again, sizeof fresh);
        check_ok(ls_program_init(s.program, 5));
        check_ok(ls_program_fetch(s.program, names[i], again, sizeof again));
        assert_memory_equal(fresh, again, sizeof fresh);
        close_small(&s);
    }
}

static void poison(small_program *s, const char *name, size_t bytes, int64_t at, float value) {
    float *values = malloc(bytes);
    check_ok(ls_program_fetch(s->program, name, values, bytes));
    values[at] = value;
    const ls_value v = ls_graph_find(ls_plan_graph(s->plan), name);
    const ls_tensor host = {LS_DTYPE_F32, ls_graph_shape(ls_plan_graph(s->plan), v), values};
    check_ok(ls_program_store(s->program, name, &host));
    free(values);
}

/* What made the first number that is none? */
static void test_diagnose(void **state) {
    (void)state;
    small_program s;
    open_small(&s, 1);
    check_ok(ls_program_init(s.program, 5));
    check_ok(run_small(&s, 0));
    const ls_run_options run = {.seed = 1, .step = 1, .feed = feed_small, .user = &s};
    check_ok(ls_program_diagnose(s.program, &run));
    /* finite weights whose products are not: the embedding's row 5 is read by lane 0 at position 1 */
    const size_t bytes = SMALL_VOCAB * 16 * sizeof(float);
    poison(&s, EMBEDDING, bytes, 5 * 16, 3e38f);
    check_fails(run_small(&s, 1), LS_ERR_NUMERIC, "step 1 lane 0: op ");
    assert_non_null(strstr(ls_error_message(), "is the first to make a non-finite value"));
    poison(&s, EMBEDDING, bytes, 5 * 16, NAN);
    check_fails(run_small(&s, 2), LS_ERR_NUMERIC, "step 2: '" EMBEDDING "' holds");
    assert_non_null(strstr(ls_error_message(), "element 80"));
    close_small(&s);
}

static void test_bad_token(void **state) {
    (void)state;
    small_program s;
    open_small(&s, 1);
    check_ok(ls_program_init(s.program, 5));
    s.bad_token = SMALL_VOCAB;
    check_fails(run_small(&s, 4), LS_ERR_DATA, "step 4 lane 1, op ");
    assert_non_null(strstr(ls_error_message(), "id 32 at position 3 is outside [0, 32)"));
    s.bad_token = 0;
    check_ok(run_small(&s, 4));
    close_small(&s);
}

/* The run loop asks for no memory. */
static void test_runs_without_allocation(void **state) {
    (void)state;
    small_program s;
    open_small(&s, 1);
    check_ok(ls_program_init(s.program, 5));
    const int64_t calls = ls_alloc_get_stats().n_calls;
    check_ok(run_small(&s, 0));
    check_ok(run_small(&s, 1));
    assert_int_equal(ls_alloc_get_stats().n_calls, calls);
    assert_int_equal(ls_program_allocated_bytes(s.program), ls_plan_bytes(s.plan, 0));
    close_small(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init),
        cmocka_unit_test(test_store_and_fetch),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_init_new),
        cmocka_unit_test(test_diagnose),
        cmocka_unit_test(test_bad_token),
        cmocka_unit_test(test_runs_without_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
