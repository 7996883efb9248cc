/* Held-out and early-stopping text from files of their own, beside what is cut from the text. */
#include "train_run.h"

enum { TEXT_BYTES = 4000, HELD_BYTES = 700, STOP_BYTES = 500 };

static const char *write_text(const char *name, int bytes, char letter) {
    const char *path = text_of("%s/%s", run_folder(), name);
    char text[TEXT_BYTES];
    for (int i = 0; i < bytes; i++) text[i] = (char)(i % 7 == 6 ? ' ' : letter + i % 7);
    check_ok(ls_file_write_atomic(path, text, (size_t)bytes));
    return path;
}

static int set_up(void **state) {
    if (make_run_folder(state) != 0) return 1;
    (void)write_text("text.txt", TEXT_BYTES, 'a');
    (void)write_text("held.txt", HELD_BYTES, 'h');
    (void)write_text("stop.txt", STOP_BYTES, 's');
    return 0;
}

static run_result train(const char *name, const char *words) {
    return run_program(text_of("train " SMALL_RUN "steps=2 batch=4 eval_every=1 model.context=16 "
                               "data.path='%s/text.txt' data.cache='%s/cache-%s' out='%s/%s' %s "
                               "-q --json",
                               run_folder(), run_folder(), name, run_folder(), name, words));
}

/* Bytes of text that a part of the run's data has; 0 = it has no such part. */
static int64_t part_bytes(const char *name, const char *part) {
    const char *line = text_of("eval '%s/%s' --part %s --json", run_folder(), name, part);
    const run_result result = run_program(line);
    int64_t bytes = 0;
    json_t *root;
    if (result.exit_code == 2) {
        assert_non_null(strstr(result.err, "this run has no"));
        return 0;
    }
    if (result.exit_code != 0) fail_msg("%s: exit %d: %s", line, result.exit_code, result.err);
    check_ok(ls_json_parse(result.out, strlen(result.out), line, &root));
    check_ok(ls_json_get_int(root, line, "bytes", &bytes));
    json_decref(root);
    return bytes;
}

#define HELD "data.held_path=$F/held.txt "
#define STOP "data.stop_path=$F/stop.txt "

static const struct {
    const char *name, *words;
    int64_t train, stop, held; /* bytes */
} cases[] = {
    {"cut", "", 3600, 200, 200},
    {"held", HELD, 3800, 200, HELD_BYTES},
    {"stop", STOP, 3800, STOP_BYTES, 200},
    {"both", HELD STOP, TEXT_BYTES, STOP_BYTES, HELD_BYTES},
    {"held-alone", HELD "data.split=false", TEXT_BYTES, 0, HELD_BYTES},
    {"stop-alone", STOP "data.split=false", TEXT_BYTES, STOP_BYTES, 0},
    {"none", "data.split=false", TEXT_BYTES, 0, 0},
};

static void test_parts(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const run_result result = train(cases[i].name, cases[i].words);
        if (result.exit_code != 0) fail_msg("%s: %s", cases[i].name, result.err);
        json_t *root;
        check_ok(ls_json_parse(result.out, strlen(result.out), cases[i].name, &root));
        assert_int_equal(json_is_real(json_object_get(root, "held_loss")), cases[i].held > 0);
        json_decref(root);
        const int64_t found[3] = {part_bytes(cases[i].name, "train"),
                                  part_bytes(cases[i].name, "stop"),
                                  part_bytes(cases[i].name, "held")};
        if (found[0] != cases[i].train || found[1] != cases[i].stop || found[2] != cases[i].held)
            fail_msg("%s: train %lld, stop %lld, held %lld bytes", cases[i].name,
                     (long long)found[0], (long long)found[1], (long long)found[2]);
    }
}

/* A changed file is encoded again; a folder is one text. */
static void test_changes(void **state) {
    (void)state;
    assert_int_equal(train("changed", HELD).exit_code, 0);
    (void)write_text("held.txt", HELD_BYTES - 100, 'h');
    assert_int_equal(part_bytes("changed", "held"), HELD_BYTES - 100);
    (void)write_text("held.txt", HELD_BYTES, 'h');
    const char *folder = text_of("%s/folder", run_folder());
    check_ok(ls_dir_make(folder));
    (void)write_text("folder/a.txt", 300, 'a');
    (void)write_text("folder/b.txt", 200, 'b');
    assert_int_equal(train("changed", text_of("data.held_path='%s'", folder)).exit_code, 0);
    assert_true(part_bytes("changed", "held") >= 500);
}

/* Nothing is cut from a shard: a run on one alone ends without an evaluation. */
static void test_shards(void **state) {
    (void)state;
    assert_int_equal(train("made", HELD).exit_code, 0);
    const char *shards =
        text_of("data.tokenizer=byte data.path='%s/cache-made/train.tok'", run_folder());
    const run_result alone = train("shard", shards);
    if (alone.exit_code != 0) fail_msg("%s", alone.err);
    assert_non_null(strstr(alone.out, "\"held_loss\": null"));
    assert_int_equal(part_bytes("shard", "held"), 0);
    /* What only a run is refused for keeps nobody from reading a checkpoint. */
    const char *best = text_of("eval '%s/shard' --part train keep_best=true", run_folder());
    assert_int_equal(run_program(best).exit_code, 0);
    assert_int_equal(train("shard", text_of("%s keep_best=true", shards)).exit_code, 2);
    assert_int_equal(
        train("shards", text_of("%s data.held_path='%s/cache-made/held.tok'", shards, run_folder()))
            .exit_code,
        0);
    assert_int_equal(part_bytes("shards", "train"), 3800);
    assert_int_equal(part_bytes("shards", "held"), HELD_BYTES);
    assert_int_equal(part_bytes("shards", "stop"), 0);
}

static void test_early_stopping(void **state) {
    (void)state;
    const run_result result =
        train("early", STOP "data.split=false optim.patience=2 keep_best=true steps=6");
    if (result.exit_code != 0) fail_msg("%s", result.err);
    const char *metrics = text_of("%s/early/metrics.jsonl", run_folder());
    char *text;
    size_t bytes;
    check_ok(ls_file_read(metrics, &text, &bytes));
    assert_non_null(strstr(text, "\"eval\""));
    ls_free(text);
}

int main(void) {
    setenv("F", run_folder(), 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_early_stopping),
    };
    return cmocka_run_group_tests(tests, set_up, remove_run_folder);
}
