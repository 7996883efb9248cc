/* A whole two-step training run, with evaluation and checkpoints, in which the n-th allocation or the n-th file operation fails.
 *
 * By default the n's are strided over (the offset is printed) to end within seconds; LS_TORTURE_ALL=1 tries every n.
 * labels: slow timeout=600 */
#include "base/config.h"
#include "lockstep/train.h"
#include "train_run.h"
#include <errno.h>

static const char *const settings[] = {"steps=2",
                                       "batch=2",
                                       "lanes=2",
                                       "threads=1",
                                       "save_every=1",
                                       "save_mode=wait",
                                       "hash_every=1",
                                       "on_save_error=stop",
                                       "eval_every=1",
                                       "eval_windows=2",
                                       "keep=2",
                                       "model.layers=1",
                                       "model.width=16",
                                       "model.heads=2",
                                       "model.context=16",
                                       "optim.warmup=0",
                                       "data.tokenizer=byte"};
enum { N_SETTINGS = sizeof settings / sizeof settings[0] };

typedef struct scenario {
    const char *out, *cache, *resume;
    int64_t steps;
    train_report report;
} scenario;

static ls_status run_training(scenario *s) {
    const char *assignments[N_SETTINGS + 3];
    ls_train_config config;
    ls_config *values = NULL;
    ls_train_result result;
    memcpy(assignments, settings, sizeof settings);
    assignments[N_SETTINGS] = s->out;
    assignments[N_SETTINGS + 1] = s->cache;
    assignments[N_SETTINGS + 2] = s->steps == 3 ? "steps=3" : "steps=2";
    LS_TRY(
        ls_train_config_load("configs/tiny.yaml", assignments, N_SETTINGS + 3, &config, &values));
    const ls_train_options options = {.resume = s->resume};
    const ls_status status = ls_train(&config, values, &options, &result);
    ls_config_destroy(values);
    if (status == LS_OK)
        snprintf(s->report.hash, sizeof s->report.hash, "%s", result.weights_sha256);
    return status;
}

static scenario make_scenario(const char *name) {
    return (scenario){.out = text_of("out=%s/%s", run_folder(), name),
                      .cache = text_of("data.cache=%s/cache", run_folder()),
                      .steps = 2};
}

/* How far apart the n's that are tried lie, so that about `most` of them are. */
static int64_t choose_stride(int64_t total, int64_t most) {
    if (getenv("LS_TORTURE_ALL")) return 1;
    return total > most ? total / most : 1;
}

static int64_t choose_first(int64_t stride) {
    srand((unsigned)time(NULL));
    return 1 + rand() % stride;
}

static void check_run(scenario *s, const char *hash) {
    check_ok(run_training(s));
    assert_string_equal(s->report.hash, hash);
}

/* A run that could do without (the probe of the disk's speed, a warning about a changed key) ends as if nothing had been refused. */
static int did_without(const scenario *s, ls_status status, const char *hash) {
    return status == LS_OK && strcmp(s->report.hash, hash) == 0;
}

/* One refusal: the status is that of the refusal, with a message, nothing is leaked. Returns 1 when the run did without. */
static int refuse_once(scenario *s, int64_t n, int sticky, const char *hash) {
    const ls_alloc_stats before = ls_alloc_get_stats();
    ls_error_clear();
    ls_alloc_fail_at(n, sticky);
    const ls_status status = run_training(s);
    ls_alloc_fail_at(0, 0);
    const ls_alloc_stats after = ls_alloc_get_stats();
    if (after.n_live != before.n_live)
        fail_msg("allocation %lld (sticky %d) failing leaks %lld blocks: %s", (long long)n, sticky,
                 (long long)(after.n_live - before.n_live), ls_error_message());
    if (after.n_calls - before.n_calls < n) {
        check_ok(status);
        return 0;
    }
    if (!sticky && did_without(s, status, hash)) return 1;
    if (status != LS_ERR_NO_MEMORY || !*ls_error_message())
        fail_msg("allocation %lld (sticky %d) failing gives \"%s\" with \"%s\"", (long long)n,
                 sticky, ls_status_words(status), ls_error_message());
    return 0;
}

static void torture_memory(scenario *s, int64_t most) {
    int64_t calls = ls_alloc_get_stats().n_calls;
    check_ok(run_training(s));
    const char *hash = text_of("%s", s->report.hash);
    calls = ls_alloc_get_stats().n_calls - calls;
    const int64_t stride = choose_stride(calls, most), first = choose_first(stride);
    print_message("%lld allocations, every %lld from %lld\n", (long long)calls, (long long)stride,
                  (long long)first);
    int64_t n_without = 0, n_refused = 0;
    for (int64_t n = first; n <= calls; n += stride)
        for (int sticky = 0; sticky < 2; sticky++, n_refused++)
            n_without += refuse_once(s, n, sticky, hash);
    print_message("%lld runs of %lld did without\n", (long long)n_without, (long long)n_refused);
    assert_true(n_without <= n_refused / 20);
    check_run(s, hash);
}

static void test_memory(void **state) {
    (void)state;
    scenario s = make_scenario("memory");
    torture_memory(&s, 400);
}

/* Preparing the text (tokenizer, shards) is part of a first run. */
static void test_memory_with_preparation(void **state) {
    (void)state;
    scenario s = make_scenario("prepare");
    s.cache = text_of("data.cache=%s/fresh", run_folder());
    const char *note = text_of("%s/fresh/source.txt", run_folder());
    check_ok(run_training(&s));
    unlink(note);
    int64_t calls = ls_alloc_get_stats().n_calls;
    check_ok(run_training(&s));
    const char *hash = text_of("%s", s.report.hash);
    calls = ls_alloc_get_stats().n_calls - calls;
    const int64_t stride = choose_stride(calls, 60), first = choose_first(stride);
    for (int64_t n = first; n <= calls; n += stride) {
        unlink(note);
        (void)refuse_once(&s, n, 1, hash);
    }
}

static void test_memory_of_resume(void **state) {
    (void)state;
    scenario s = make_scenario("resumed");
    check_ok(run_training(&s));
    s.resume = text_of("%s/resumed/step-000000002", run_folder());
    s.steps = 3;
    torture_memory(&s, 150);
}

/* Newest checkpoint below the run's folder: whole? Returns its step, -1 when there is none. */
static int64_t verify_latest(const char *name) {
    char *path = NULL;
    ls_ckpt *ckpt = NULL;
    const ls_status found = ls_ckpt_find_latest(text_of("%s/%s", run_folder(), name), &path);
    if (found == LS_ERR_NOT_FOUND) return -1;
    check_ok(found);
    check_ok(ls_ckpt_open(path, &ckpt));
    check_ok(ls_ckpt_verify(ckpt));
    const int64_t step = ls_ckpt_step(ckpt);
    ls_ckpt_close(ckpt);
    ls_free(path);
    return step;
}

/* Every n-th write, fsync or rename finds the disk full while a run goes on from step 2: that checkpoint, or a later one, stays whole. */
static void test_disk(void **state) {
    (void)state;
    scenario s = make_scenario("disk");
    check_ok(run_training(&s));
    const char *first_dir = text_of("%s/disk/step-000000002", run_folder());
    s.resume = first_dir;
    s.steps = 3;
    int64_t operations = ls_fs_op_count();
    check_ok(run_training(&s));
    operations = ls_fs_op_count() - operations;
    const char *hash = text_of("%s", s.report.hash);
    const int64_t stride = choose_stride(operations, 200), first = choose_first(stride);
    print_message("%lld file operations, every %lld from %lld\n", (long long)operations,
                  (long long)stride, (long long)first);
    assert_true(operations > 20);
    int64_t n_without = 0;
    const char *third_dir = text_of("%s/disk/step-000000003", run_folder());
    for (int64_t n = first; n <= operations; n += stride) {
        /* What is there already would be linked, not written. */
        if (ls_path_exists(third_dir)) check_ok(ls_dir_remove(third_dir));
        check_ok(ls_ckpt_set_latest(text_of("%s/disk", run_folder()), "step-000000002"));
        const ls_alloc_stats before = ls_alloc_get_stats();
        ls_error_clear();
        ls_fs_fail_at(n, ENOSPC);
        const ls_status status = run_training(&s);
        ls_fs_fail_at(0, 0);
        if (did_without(&s, status, hash))
            n_without++;
        else if (status != LS_ERR_NO_SPACE || !strstr(ls_error_message(), "No space left"))
            fail_msg("operation %lld failing gives \"%s\" with \"%s\"", (long long)n,
                     ls_status_words(status), ls_error_message());
        assert_int_equal(ls_alloc_get_stats().n_live, before.n_live);
        if (verify_latest("disk") < 2)
            fail_msg("operation %lld failing loses step 2", (long long)n);
        ls_ckpt *ckpt = NULL;
        check_ok(ls_ckpt_open(first_dir, &ckpt));
        check_ok(ls_ckpt_verify(ckpt));
        ls_ckpt_close(ckpt);
    }
    assert_true(n_without <= 3); /* the probe of the disk: created, written, synced */
    check_run(&s, hash);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_memory_with_preparation),
        cmocka_unit_test(test_memory_of_resume),
        cmocka_unit_test(test_disk),
    };
    return cmocka_run_group_tests(tests, make_run_folder, remove_run_folder);
}
