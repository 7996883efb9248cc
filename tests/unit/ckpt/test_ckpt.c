/* Checkpoints in process: there and back, over an old one, hashes, the newest one, leftovers, failures at every point. */
#include "base/fs.h"
#include "lockstep/checkpoint.h"
#include "unit/exec/small_program.h"
#include <errno.h>

static char root[512];

static const char *in_root(const char *name) {
    static char paths[8][1024];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static int make_root(void **state) {
    (void)state;
    snprintf(root, sizeof root, "%s", check_path("ckpt"));
    check_ok(ls_dir_make(root));
    return 0;
}

static int remove_root(void **state) {
    (void)state;
    return ls_dir_remove(root) == LS_OK ? 0 : 1;
}

static ls_status save(small_program *s, int64_t step, const char *dir) {
    static const ls_ckpt_file files[] = {{"note.txt", "hello", 5}};
    const ls_ckpt_content content = {.step = step,
                                     .seed = UINT64_MAX,
                                     .config_json = "{\"steps\":3}",
                                     .trainer_json = step % 2 ? NULL : "{\"a\":1}",
                                     .files = files,
                                     .n_files = 1};
    return ls_ckpt_save(s->program, &content, dir, NULL);
}

static void check_step(const char *dir, int64_t step) {
    ls_ckpt *ckpt;
    check_ok(ls_ckpt_open(dir, &ckpt));
    check_ok(ls_ckpt_verify(ckpt));
    assert_int_equal(ls_ckpt_step(ckpt), step);
    ls_ckpt_close(ckpt);
}

static void test_there_and_back(void **state) {
    (void)state;
    small_program a, b;
    char hash[65], other[65], stored[65];
    ls_ckpt *ckpt;
    open_small(&a, 1);
    open_small(&b, 1);
    check_ok(ls_program_init(a.program, 5));
    check_ok(run_small(&a, 0));
    check_ok(save(&a, 2, in_root("one")));
    check_ok(ls_ckpt_open(in_root("one"), &ckpt));
    assert_int_equal(ls_ckpt_step(ckpt), 2);
    assert_true(ls_ckpt_seed(ckpt) == UINT64_MAX);
    assert_string_equal(ls_ckpt_config(ckpt), "{\"steps\": 3}");
    assert_string_equal(ls_ckpt_trainer(ckpt), "{\"a\": 1}");
    check_ok(ls_ckpt_hash_program(a.program, hash));
    check_ok(ls_ckpt_hash_program(b.program, other));
    assert_string_not_equal(hash, other);
    check_ok(ls_ckpt_hash_weights(ckpt, stored));
    assert_string_equal(hash, stored);
    check_ok(ls_ckpt_load(ckpt, b.program, 0));
    check_ok(ls_ckpt_hash_program(b.program, other));
    assert_string_equal(hash, other);
    ls_ckpt_close(ckpt);
    ls_ckpt_close(NULL);
    /* the optimizer's state came along: the next step is the same too */
    check_ok(run_small(&a, 1));
    check_ok(run_small(&b, 1));
    check_ok(ls_ckpt_hash_program(a.program, hash));
    check_ok(ls_ckpt_hash_program(b.program, other));
    assert_string_equal(hash, other);
    close_small(&a);
    close_small(&b);
}

static void test_other_model(void **state) {
    (void)state;
    small_program one, two;
    ls_ckpt *ckpt;
    open_small(&one, 1);
    open_small(&two, 2);
    check_ok(save(&one, 1, in_root("small")));
    check_ok(ls_ckpt_open(in_root("small"), &ckpt));
    assert_null(ls_ckpt_trainer(ckpt));
    check_fails(ls_ckpt_load(ckpt, two.program, 0), LS_ERR_FORMAT,
                "has no tensor 'transformer.h.1.");
    ls_ckpt_close(ckpt);
    close_small(&one);
    close_small(&two);
}

/* A save over a checkpoint that fails at any write, fsync or rename leaves the old one, or the whole new one. */
static void test_disk_full(void **state) {
    (void)state;
    small_program s;
    open_small(&s, 1);
    check_ok(ls_program_init(s.program, 5));
    check_ok(save(&s, 1, in_root("kept")));
    int64_t n = ls_fs_op_count();
    check_ok(save(&s, 1, in_root("kept")));
    n = ls_fs_op_count() - n;
    assert_in_range(n, 10, 200);
    for (int64_t i = 1; i <= n; i++) {
        ls_fs_fail_at(i, ENOSPC);
        const ls_status status = save(&s, 2, in_root("kept"));
        ls_fs_fail_at(0, 0);
        if (status != LS_ERR_NO_SPACE || !strstr(ls_error_message(), "saving checkpoint"))
            fail_msg("operation %lld: %s: %s", (long long)i, ls_status_words(status),
                     ls_error_message());
        ls_ckpt *ckpt;
        check_ok(ls_ckpt_open(in_root("kept"), &ckpt));
        check_ok(ls_ckpt_verify(ckpt));
        ls_ckpt_close(ckpt);
    }
    check_ok(save(&s, 3, in_root("kept")));
    check_step(in_root("kept"), 3);
    close_small(&s);
}

static ls_status save_and_load(void *user) {
    small_program *s = user;
    ls_ckpt *ckpt = NULL;
    LS_TRY(save(s, 4, in_root("tortured")));
    LS_TRY(ls_ckpt_open(in_root("tortured"), &ckpt));
    ls_status status = ls_ckpt_load(ckpt, s->program, 0);
    if (status == LS_OK) status = ls_ckpt_verify(ckpt);
    ls_ckpt_close(ckpt);
    return status;
}

/* Every n-th allocation of a save and a load is refused; which ones differs from run to run unless all are asked for. */
static void test_out_of_memory(void **state) {
    (void)state;
    small_program s;
    open_small(&s, 1);
    check_ok(ls_program_init(s.program, 5));
    int64_t calls = ls_alloc_get_stats().n_calls;
    check_ok(save_and_load(&s));
    calls = ls_alloc_get_stats().n_calls - calls;
    const int64_t stride = getenv("LS_TORTURE_ALL") ? 1 : 1 + calls / 150;
    const int64_t first = 1 + (int64_t)getpid() % stride;
    print_message("%lld allocations, every %lld from %lld\n", (long long)calls, (long long)stride,
                  (long long)first);
    assert_true(calls > 100);
    for (int64_t n = first; n <= calls; n += stride)
        for (int sticky = 0; sticky < 2; sticky++) {
            const int64_t live = ls_alloc_get_stats().n_live;
            ls_error_clear();
            ls_alloc_fail_at(n, sticky);
            const ls_status status = save_and_load(&s);
            ls_alloc_fail_at(0, 0);
            if (ls_alloc_get_stats().n_live != live)
                fail_msg("allocation %lld failing leaks", (long long)n);
            if (status != LS_OK && status != LS_ERR_NO_MEMORY)
                fail_msg("allocation %lld failing gives %s: %s", (long long)n,
                         ls_status_words(status), ls_error_message());
            assert_true(status == LS_OK || *ls_error_message());
        }
    check_ok(save_and_load(&s));
    check_step(in_root("tortured"), 4);
    close_small(&s);
}

static void test_latest(void **state) {
    (void)state;
    char *path = NULL;
    small_program s;
    open_small(&s, 1);
    check_ok(ls_dir_make(in_root("runs")));
    check_fails(ls_ckpt_find_latest(in_root("runs"), &path), LS_ERR_NOT_FOUND,
                "holds no checkpoint");
    check_ok(save(&s, 1, in_root("runs/step-000000001")));
    check_ok(ls_ckpt_set_latest(in_root("runs"), "step-000000001"));
    check_ok(ls_ckpt_find_latest(in_root("runs"), &path));
    assert_string_equal(path, in_root("runs/step-000000001"));
    ls_free(path);
    check_ok(ls_ckpt_find_latest(in_root("runs/step-000000001"), &path));
    assert_string_equal(path, in_root("runs/step-000000001"));
    ls_free(path);
    close_small(&s);
}

/* Only what a save of ours left goes; an old checkpoint whose successor never came stays. */
static void test_sweep(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int stays;
    } entries[] = {{"step-000000001", 1},        {"step-000000001.tmp.12", 0},
                   {"step-000000001.old.12", 0}, {"step-000000002.old.12", 1},
                   {"step-000000002.tmp.x", 1},  {"step-000000002.tmp.", 1},
                   {"mine.tmp.12", 1},           {"latest.tmp.12", 0}};
    enum { N = sizeof entries / sizeof entries[0] };
    char name[200];
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "sweep/%s/inside", entries[i].name);
        check_ok(ls_dir_make(in_root(name)));
    }
    check_ok(ls_ckpt_sweep(in_root("sweep")));
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "sweep/%s", entries[i].name);
        if (ls_path_exists(in_root(name)) != entries[i].stays)
            fail_msg("%s should %s", entries[i].name, entries[i].stays ? "stay" : "go");
    }
    check_fails(ls_ckpt_sweep(in_root("none")), LS_ERR_NOT_FOUND, "none");
}

/* Hashing reads the weights where they lie: as many allocations for one layer as for four, none of a weight's size. */
static void test_hash_in_place(void **state) {
    (void)state;
    int64_t calls[2];
    for (int i = 0; i < 2; i++) {
        small_program s;
        char hash[65];
        open_small(&s, i ? 4 : 1);
        check_ok(ls_program_init(s.program, 5));
        const int64_t before = ls_alloc_get_stats().n_calls;
        check_ok(ls_ckpt_hash_program(s.program, hash));
        calls[i] = ls_alloc_get_stats().n_calls - before;
        close_small(&s);
    }
    assert_int_equal(calls[0], calls[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_other_model),
        cmocka_unit_test(test_disk_full),      cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_latest),         cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_hash_in_place),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
