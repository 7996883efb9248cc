/* Machine profiles: what is written is read back, what is damaged or foreign is refused by name, and the roofs that follow. */
#include "base/config.h"
#include "base/cpu.h"
#include "base/fs.h"
#include "base/thread.h"
#include "unit/base/check.h"
#include "unit/plan/machine_fixed.h"
#include <math.h>

static void check_near(double got, double want) {
    if (!(fabs(got - want) <= 1e-9 * fabs(want))) fail_msg("got %.12g, wanted %.12g", got, want);
}

static char *text_of(const ls_machine *m) {
    json_t *root = NULL;
    char *text = NULL;
    check_ok(ls_machine_to_json(m, &root));
    check_ok(ls_json_dump(root, 0, &text, NULL));
    json_decref(root);
    return text;
}

static void test_round_trip(void **state) {
    (void)state;
    const ls_machine m = fixed_machine();
    ls_machine back = {0};
    const char *path = check_path("machine/deep/profile.json");
    check_ok(ls_machine_write(&m, path));
    check_ok(ls_machine_read(path, &back));
    assert_int_equal(back.n_gemm, 6);
    assert_int_equal(back.n_memory, 7);
    assert_int_equal(back.n_exchange, 2);
    assert_int_equal(back.n_kernel, 2);
    assert_string_equal(back.gemm[1].instruction, "mul avx512");
    assert_int_equal(back.memory[6].stream, LS_STREAM_TRIAD_NT);
    check_near(back.fork_join.median, 2e-6);
    assert_int_equal(back.disk_read.n_runs, 0);
    char *first = text_of(&m), *second = text_of(&back);
    assert_string_equal(first, second);
    ls_free(first);
    ls_free(second);
    check_ok(ls_dir_remove(check_path("machine")));
}

typedef struct bad_profile {
    const char *from,
        *to; /* replaced in the text of a good one; from NULL: the whole text is `to` */
    ls_status status;
    const char *words;
} bad_profile;

static void replace(const char *text, const char *from, const char *to, char *out, size_t room) {
    const char *at = from ? strstr(text, from) : NULL;
    if (from && !at) fail_msg("the profile has no %s", from);
    if (from)
        snprintf(out, room, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    else
        snprintf(out, room, "%s", to);
}

static void test_refusals(void **state) {
    (void)state;
    static const bad_profile rows[] = {
        {NULL, "", LS_ERR_FORMAT, "not valid JSON"},
        {NULL, "{\"format\": ", LS_ERR_FORMAT, "not valid JSON"},
        {NULL, "[]", LS_ERR_FORMAT, "expected an object with the key \"format\", found an array"},
        {NULL, "{}", LS_ERR_FORMAT, "\"format\" is missing"},
        {"lockstep machine profile", "a poem", LS_ERR_FORMAT, "\"format\" is 'a poem'"},
        {"\"format_version\": 1", "\"format_version\": 2", LS_ERR_FORMAT,
         "a profile of format 2; this program reads format 1: run `lockstep bench` again"},
        {"\"quick\": false", "\"quick\": 0", LS_ERR_FORMAT, "\"quick\" must be true or false"},
        {"\"threads\": 4", "\"threads\": 0", LS_ERR_FORMAT, "\"threads\" must be 1 to"},
        {"\"threads\": 4", "\"threads\": 1.5", LS_ERR_FORMAT, "\"threads\" must be an integer"},
        {"\"cpu\": \"Round", "\"cpo\": \"Round", LS_ERR_FORMAT, "\"cpu\" is missing"},
        {"Round Numbers 4000",
         "a name that goes on and on and on and on and on and on and on and on and on",
         LS_ERR_FORMAT, "\"cpu\" is longer than 63 bytes"},
        {"\"l2\": 1000000.0", "\"l2\": -1", LS_ERR_FORMAT, "\"l2\" must be at least 0, found -1"},
        {"\"gemm\": [", "\"gemm\": [7, ", LS_ERR_FORMAT, "row 1 of \"gemm\": "},
        {"\"from\": \"registers\"", "\"from\": \"tape\"", LS_ERR_FORMAT, "\"from\" is 'tape'"},
        {"\"stream\": \"read\"", "\"stream\": \"sing\"", LS_ERR_FORMAT, "\"stream\" is 'sing'"},
        {"\"dtype\": \"f32\"", "\"dtype\": \"float32x\"", LS_ERR_FORMAT,
         "\"dtype\" is longer than 7"},
        {"\"median\": 5000000000.0", "\"median\": 1e400", LS_ERR_FORMAT, "not valid JSON"},
        {"\"median\": 5000000000.0", "\"median\": 0", LS_ERR_FORMAT, "0 < least <= median <= most"},
        {"\"runs\": 7", "\"runs\": 0", LS_ERR_FORMAT, "\"runs\" must be 1 to"},
        {"\"efficiency\": 0.5", "\"efficiency\": 0", LS_ERR_FORMAT, "\"efficiency\" must be at"},
        {"\"kernels\": [", "\"kernel\": [", LS_ERR_FORMAT, "\"kernels\" is missing"},
        {"\"fork_join\": {", "\"fork_join\": 3, \"x\": {", LS_ERR_FORMAT,
         "\"fork_join\" must be an object"},
    };
    const ls_machine m = fixed_machine();
    char *good = text_of(&m);
    char *text = ls_alloc(strlen(good) + 256);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ls_machine out = {.threads = 77};
        replace(good, rows[i].from, rows[i].to, text, strlen(good) + 256);
        check_fails(ls_machine_parse(text, strlen(text), "file.json", &out), rows[i].status,
                    rows[i].words);
        if (!strstr(ls_error_message(), "file.json")) fail_msg("no name: %s", ls_error_message());
        assert_int_equal(out.threads, 77);
    }
    ls_free(text);
    ls_free(good);
    ls_machine out;
    check_fails(ls_machine_read("nowhere/at/all.json", &out), LS_ERR_NOT_FOUND, "nowhere/at/all");
}

/* One row more than there is room for. */
static void test_too_many_rows(void **state) {
    (void)state;
    const ls_machine m = fixed_machine();
    json_t *root = NULL;
    char *text = NULL;
    ls_machine *out = ls_alloc(sizeof *out);
    check_ok(ls_machine_to_json(&m, &root));
    json_t *rows = json_object_get(root, "kernels");
    while (json_array_size(rows) <= LS_MACHINE_MAX_KERNEL)
        assert_int_equal(json_array_append(rows, json_array_get(rows, 0)), 0);
    check_ok(ls_json_dump(root, 0, &text, NULL));
    check_fails(ls_machine_parse(text, strlen(text), "f", out), LS_ERR_FORMAT,
                "\"kernels\" has 257 rows; at most 256 are read");
    ls_free(text);
    ls_free(out);
    json_decref(root);
}

static void test_whose(void **state) {
    (void)state;
    ls_machine m = fixed_machine();
    check_fails(ls_machine_check(&m), LS_ERR_UNSUPPORTED,
                "of another machine: Round Numbers 4000, 4 threads");
    ls_machine_describe(&m);
    check_ok(ls_machine_check(&m));
    assert_string_equal(m.version, LS_VERSION);
    m.threads++;
    check_fails(ls_machine_check(&m), LS_ERR_UNSUPPORTED, "`lockstep bench` measures this one");
}

static void test_stored(void **state) {
    (void)state;
    char *path = NULL, *other = NULL;
    ls_machine m = fixed_machine();
    check_ok(ls_config_env_set("XDG_CACHE_HOME", NULL));
    check_ok(ls_config_env_set("HOME", NULL));
    check_fails(ls_machine_default_path(0, &path), LS_ERR_NOT_FOUND, "neither XDG_CACHE_HOME");
    check_ok(ls_config_env_set("HOME", "/home/somebody"));
    check_ok(ls_config_env_set("XDG_CACHE_HOME", "relative/paths/do/not/count"));
    check_ok(ls_machine_default_path(0, &path));
    assert_int_equal(strncmp(path, "/home/somebody/.cache/lockstep/machine-", 39), 0);
    ls_free(path);
    check_ok(ls_config_env_set("XDG_CACHE_HOME", check_path("cache")));
    check_ok(ls_machine_default_path(0, &path));
    check_ok(ls_machine_default_path(ls_cpu_count() + 1, &other));
    assert_int_equal(strncmp(path, check_path("cache"), strlen(check_path("cache"))), 0);
    assert_string_not_equal(path, other);
    check_fails(ls_machine_load(&m), LS_ERR_NOT_FOUND, "`lockstep bench` measures one");
    check_ok(ls_machine_write(&m, path));
    check_fails(ls_machine_load(&m), LS_ERR_UNSUPPORTED, path);
    ls_machine_describe(&m);
    check_ok(ls_machine_write(&m, path));
    ls_machine back;
    check_ok(ls_machine_load(&back));
    assert_int_equal(back.n_gemm, 6);
    check_ok(ls_dir_remove(check_path("cache")));
    ls_free(path);
    ls_free(other);
}

static void test_roofs(void **state) {
    (void)state;
    ls_machine m = fixed_machine();
    /* the best instruction; between 1 and 4 threads by a straight line; never more than all */
    check_near(ls_machine_flops(&m, LS_DTYPE_F32, 1), 10e9);
    check_near(ls_machine_flops(&m, LS_DTYPE_F32, 2), 10e9 + 20e9 / 3);
    check_near(ls_machine_flops(&m, LS_DTYPE_F32, 4), 30e9);
    check_near(ls_machine_flops(&m, LS_DTYPE_F32, 64), 30e9);
    check_near(ls_machine_flops(&m, LS_DTYPE_BF16, 4), 120e9);
    check_near(ls_machine_flops(&m, LS_DTYPE_F16, 1), 10e9); /* widened */
    /* half of a level is taken to be free */
    assert_int_equal(ls_machine_level_of(&m, 500e3, 1), LS_LEVEL_L2);
    assert_int_equal(ls_machine_level_of(&m, 501e3, 1), LS_LEVEL_L3);
    assert_int_equal(ls_machine_level_of(&m, 2e6, 4), LS_LEVEL_L2);
    assert_int_equal(ls_machine_level_of(&m, 8.1e6, 4), LS_LEVEL_DRAM);
    check_near(ls_machine_bandwidth(&m, 100e3, 1), 100e9);
    check_near(ls_machine_bandwidth(&m, 4e6, 4), 100e9);
    check_near(ls_machine_bandwidth(&m, 1e9, 1), 10e9);
    check_near(ls_machine_bandwidth(&m, 1e9, 4), 20e9);
    /* 1e9 flops: 0.1 s; 4e9 bytes: 0.4 s */
    check_near(ls_machine_roof_seconds(&m, LS_DTYPE_F32, 1e9, 1e3, 1), 0.1);
    check_near(ls_machine_roof_seconds(&m, LS_DTYPE_F32, 1e9, 4e9, 1), 0.4);
    check_near(ls_machine_efficiency(&m, "matmul f32 nn"), 0.8);
    check_near(ls_machine_efficiency(&m, "matmul f32"), 0);
    /* 10 us of latency, then 1 GB/s; other numbers of ranks take the nearest */
    check_near(ls_machine_exchange_seconds(&m, "all_reduce", 2, 0), 10e-6);
    check_near(ls_machine_exchange_seconds(&m, "all_reduce", 8, 5e6), 5010e-6);
    check_near(ls_machine_exchange_seconds(&m, "all_gather", 2, 5e6), 0);
    m.exchange[1].seconds.median = 9e-6; /* noise: more bytes in less time */
    check_near(ls_machine_exchange_seconds(&m, "all_reduce", 2, 5e6), 10e-6);
    m.n_gemm = m.n_memory = 0;
    check_near(ls_machine_roof_seconds(&m, LS_DTYPE_F32, 1e9, 1e9, 1), 0);
}

static ls_status write_and_read(void *user) {
    ls_machine *back = user;
    const ls_machine m = fixed_machine();
    json_t *root = NULL;
    char *text = NULL;
    LS_TRY(ls_machine_to_json(&m, &root));
    ls_status status = ls_json_dump(root, 0, &text, NULL);
    json_decref(root);
    if (status == LS_OK) status = ls_machine_parse(text, strlen(text), "text", back);
    ls_free(text);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    ls_machine back;
    assert_true(check_torture(write_and_read, &back) > 50);
}

static void test_caches(void **state) {
    (void)state;
    /* whatever this machine says, a larger level is not smaller, and there is no tenth */
    const int64_t l1 = ls_cpu_cache_bytes(1), l2 = ls_cpu_cache_bytes(2);
    assert_true(l1 >= 0 && (l2 == 0 || l2 >= l1));
    assert_int_equal(ls_cpu_cache_bytes(10), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_too_many_rows), cmocka_unit_test(test_whose),
        cmocka_unit_test(test_stored),        cmocka_unit_test(test_roofs),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_caches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
