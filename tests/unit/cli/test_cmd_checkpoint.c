/* labels: timeout=120
 * lockstep checkpoint: what its actions print, write and exit with, on checkpoints made here. */
#include "unit/ckpt/ckpt_world.h"
#include "unit/cli/run_program.h"

typedef struct request {
    const char *dir;
    uint64_t seed;
    int64_t step;
} request;

static ls_status save_one(world_rank *r, void *user) {
    const request *q = user;
    ls_ckpt_content content = world_content(q->step);
    const ls_ckpt_retention keep = {.last = 9};
    const ls_ckpt_save_options options = {.shard_bytes = 8192, .retention = &keep};
    content.score = 1.25;
    LS_TRY(ls_program_init(r->program, q->seed));
    return ls_ckpt_save(r->program, &content, q->dir, &options);
}

static void save(const char *dir, uint64_t seed, int64_t step) {
    request q = {dir, seed, step};
    run_world(2, 1, save_one, &q);
}

static run_result run_line(const char *fmt, const char *a, const char *b) {
    char line[1800];
    snprintf(line, sizeof line, fmt, a, b);
    return run_program(line);
}

static void check_run(const run_result *r, int exit_code, const char *words) {
    const char *text = exit_code > 1 ? r->err : r->out;
    if (r->exit_code != exit_code || !strstr(text, words))
        fail_msg("exit %d (wanted %d), \"%s\" not in: %s%s", r->exit_code, exit_code, words, r->out,
                 r->err);
}

static json_t *parse(const run_result *r) {
    json_t *root = NULL;
    check_ok(ls_json_parse(r->out, strlen(r->out), "output", &root));
    return root;
}

static void test_inspect_verify_hash(void **state) {
    (void)state;
    save(in_root("run/step-000000004"), 5, 4);
    run_result r = run_line("checkpoint inspect '%s'%s", in_root("run"), "");
    check_run(&r, 0, "step 4, seed 5, 8 lanes, written by lockstep " LS_VERSION);
    check_run(&r, 0, "score 1.25");
    check_run(&r, 0, "model-00001-of-");
    check_run(&r, 0, "transformer.wte.weight/adam_m");
    check_run(&r, 0, "from [0, 0], ");
    r = run_line("checkpoint verify '%s'%s", in_root("run"), "");
    check_run(&r, 0, "every hash is right");
    r = run_line("checkpoint hash '%s' --json%s", in_root("run/step-000000004"), "");
    json_t *root = parse(&r);
    assert_int_equal(json_string_length(json_object_get(root, "weights_sha256")), 64);
    json_decref(root);
    r = run_line("checkpoint verify '%s' --json%s", in_root("run"), "");
    root = parse(&r);
    assert_true(json_is_true(json_object_get(root, "ok")));
    json_decref(root);
    r = run_line("checkpoint verify '%s'%s", in_root("nothing"), "");
    check_run(&r, 3, "holds no checkpoint");
    r = run_line("checkpoint inspect --help%s%s", "", "");
    check_run(&r, 0, "slices");
}

static void test_convert(void **state) {
    (void)state;
    const char *from = in_root("run/step-000000004");
    save(from, 5, 4);
    run_result r = run_line("checkpoint convert '%s' '%s' --one-file", from, in_root("one"));
    check_run(&r, 0, "the checkpoint of step 4");
    assert_true(ls_path_exists(in_root("one/model.safetensors")));
    assert_true(ls_path_exists(in_root("one/optimizer.safetensors")));
    assert_false(ls_path_exists(in_root("one/model.safetensors.index.json")));
    r = run_line("checkpoint diff '%s' '%s'", from, in_root("one"));
    check_run(&r, 0, "are the same bit for bit");
    r = run_line("checkpoint convert '%s' '%s' --one-file", from, in_root("one"));
    check_run(&r, 2, "there already");
    r = run_line("checkpoint convert '%s' '%s' --shard-bytes 8192", in_root("one"),
                 in_root("many"));
    check_run(&r, 0, "step 4");
    assert_true(
        same_file(in_root("many/lockstep.json"), in_root("run/step-000000004/lockstep.json")));
    r = run_line("checkpoint convert '%s' '%s' --weights-only --dtype bf16", from, in_root("hf"));
    check_run(&r, 0, "the model of step 4");
    assert_false(ls_path_exists(in_root("hf/lockstep.json")));
    assert_false(ls_path_exists(in_root("hf/optimizer.safetensors")));
    ls_safetensors *file;
    ls_tensor t;
    check_ok(ls_safetensors_open(in_root("hf/model.safetensors"), &file));
    assert_string_equal(ls_safetensors_metadata(file, "format"), "pt");
    check_ok(ls_safetensors_find(file, "transformer.wte.weight", &t));
    assert_int_equal(t.dtype, LS_DTYPE_BF16);
    ls_safetensors_close(file);
    char *text;
    size_t bytes;
    check_ok(ls_file_read(in_root("hf/config.json"), &text, &bytes));
    assert_non_null(strstr(text, "bfloat16"));
    ls_free(text);
    r = run_line("checkpoint convert '%s' '%s' --dtype f16", from, in_root("no"));
    check_run(&r, 2, "goes with --weights-only");
    r = run_line("checkpoint convert '%s' '%s' -w --dtype i32", from, in_root("no"));
    check_run(&r, 2, "f32, bf16 or f16");
    r = run_line("checkpoint convert '%s' '%s' --one-file --shard-bytes 9", from, in_root("no"));
    check_run(&r, 2, "not both");
}

static void test_diff(void **state) {
    (void)state;
    save(in_root("a"), 5, 4);
    save(in_root("b"), 6, 4);
    run_result r = run_line("checkpoint diff '%s' '%s'", in_root("a"), in_root("b"));
    check_run(&r, 1, "elements differ, by at most");
    check_run(&r, 1, "transformer.wte.weight ");
    if (strstr(r.out, "adam_m")) fail_msg("fresh moments are equal: %s", r.out);
    r = run_line("checkpoint diff '%s' '%s' --json", in_root("a"), in_root("b"));
    assert_int_equal(r.exit_code, 1);
    json_t *root = parse(&r);
    assert_true(json_is_false(json_object_get(root, "same")));
    json_decref(root);
    r = run_line("checkpoint diff '%s' '%s'", in_root("a"), in_root("a"));
    check_run(&r, 0, "all ");
    r = run_line("checkpoint diff '%s' '%s'", in_root("a"), in_root("none"));
    check_run(&r, 3, "holds no checkpoint");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inspect_verify_hash),
        cmocka_unit_test(test_convert),
        cmocka_unit_test(test_diff),
    };
    return cmocka_run_group_tests(tests, make_world_root, remove_world_root);
}
