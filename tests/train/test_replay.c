/* labels: slow threads timeout=600
 * Bits that flip without a word: the run itself or `lockstep replay` names the rank and the step, at every ZeRO stage. Replay alters nothing
 * and says what it cannot do. */
#include "train/replay.h"
#include "train_run.h"

enum { STEPS = 4 };
#define RUN                                                                                    \
    "train configs/exact_gpt.yaml lanes=4 batch=4 steps=4 optim.warmup=1 hash_every=1 keep=9 " \
    "save_every=1 save_mode=wait -q "

/* One run with a fault; the folder is `name`. */
static run_result run_ranks(int ranks, const char *name, const char *fault, const char *more) {
    const char *line = text_of("run -n %d -t 1 -- " RUN "out='%s/%s' data.cache='%s/cache' %s",
                               ranks, run_folder(), name, run_folder(), more);
    (void)ls_dir_remove(text_of("%s/%s", run_folder(), name));
    setenv("LOCKSTEP_FAULT", fault, 1);
    const run_result result = run_program(line);
    unsetenv("LOCKSTEP_FAULT");
    return result;
}

typedef struct difference {
    int64_t step, from;
    int n_ranks, rank; /* the first */
    char what[16];
} difference;

/* `lockstep replay` of a folder; 0 steps in *out when all came out as recorded. */
static difference replay(const char *name, const char *words) {
    difference out = {0};
    const run_result result =
        run_program(text_of("replay '%s/%s' %s -q --json", run_folder(), name, words));
    if (result.exit_code > 1)
        fail_msg("replay %s %s: exit %d: %s", name, words, result.exit_code, result.err);
    json_t *root;
    check_ok(ls_json_parse(result.out, strlen(result.out), "replay", &root));
    const json_t *found = json_object_get(root, "difference"), *ranks;
    check_ok(ls_json_get_int(root, "replay", "from", &out.from));
    assert_int_equal(json_is_true(json_object_get(root, "reproduced")), result.exit_code == 0);
    assert_int_equal(json_is_null(found), result.exit_code == 0);
    if (json_is_object(found)) {
        out.step = json_integer_value(json_object_get(found, "step"));
        ranks = json_object_get(found, "ranks");
        out.n_ranks = (int)json_array_size(ranks);
        out.rank = (int)json_integer_value(json_array_get(ranks, 0));
        snprintf(out.what, sizeof out.what, "%s",
                 json_string_value(json_object_get(found, "what")));
    }
    json_decref(root);
    return out;
}

/* --- what the run cannot see ------------------------------------------------------------------------------------------ */

/* What a wrong piece of an all_gather is, by stage: the sum of the gradients at zero 0, else weights. */
static void check_flip(int ranks, int zero, const char *more, int shares) {
    const int rank = (ranks + zero) % ranks ? (ranks + zero) % ranks : ranks - 1;
    const char *fault = text_of("kind=%s,rank=%d,step=2", shares ? "flip_share" : "flip", rank);
    const run_result run = run_ranks(ranks, "flip", fault, text_of("zero=%d %s", zero, more));
    if (run.exit_code != 0) fail_msg("%d ranks, %s: %s", ranks, fault, run.err);
    const difference found = replay("flip", "--step 4 --from 1");
    const char *what = !shares ? "gifts" : zero ? "weights" : "totals";
    if (found.step != 3 || found.n_ranks != 1 || found.rank != rank ||
        strcmp(found.what, what) != 0)
        fail_msg("%d ranks, zero %d, %s, %s: found step %lld, %d ranks, rank %d, %s", ranks, zero,
                 more, fault, (long long)found.step, found.n_ranks, found.rank, found.what);
    /* Another number of ranks sees it in the state, whoever it was. */
    const difference logical = replay("flip", "--step 3 --ranks 1");
    assert_int_equal(logical.step, 3);
    assert_string_equal(logical.what, "logical");
    assert_int_equal(replay("flip", "--step 2").step, 0);
}

static void test_gifts(void **state) {
    static const char *const more[] = {"wire=f32", "wire=bf16", "precision=bf16 wire=int8"};
    (void)state;
    for (int zero = 0; zero <= 3; zero++)
        for (int i = 0; i < 3; i++) {
            check_flip(2, zero, more[i], 0);
            if (i < 2) check_flip(4, zero, more[i], 0);
        }
}

static void test_shares(void **state) {
    (void)state;
    for (int zero = 0; zero <= 3; zero++) {
        check_flip(2, zero, "wire=bf16", 1);
        check_flip(4, zero, "wire=f32", 1);
    }
}

/* --- what it sees at once --------------------------------------------------------------------------------------------- */

/* Memory that changes between two steps with hashes: by each rank of itself, whatever the stage. */
static void test_state_between_steps(void **state) {
    (void)state;
    for (int zero = 0; zero <= 3; zero++)
        for (int ranks = 2; ranks <= 4; ranks *= 2) {
            const int rank = ranks - 1 - zero % ranks;
            const run_result run =
                run_ranks(ranks, "state", text_of("kind=flip_state,rank=%d,step=2", rank),
                          text_of("zero=%d", zero));
            assert_int_equal(run.exit_code, 7);
            check_says(run.err, text_of("step 3: the memory of rank %d on host", rank));
            const difference found = replay("state", "--step 3");
            assert_int_equal(found.step, 3);
            assert_string_equal(found.what, "begin");
            assert_int_equal(found.n_ranks, 1);
            assert_int_equal(found.rank, rank);
        }
}

/* Without a hash of the step before, ranks that must be alike vote; two cannot. */
static void test_votes(void **state) {
    (void)state;
    run_result run =
        run_ranks(4, "vote", "kind=flip_state,rank=2,step=1", "zero=0 hash_every=3 keep=9");
    assert_int_equal(run.exit_code, 7);
    check_says(run.err, "step 3: rank 2 on host");
    check_says(run.err, "not the state that the other 3 of 4 ranks hold");
    run = run_ranks(2, "vote", "kind=flip_state,rank=1,step=1", "zero=0 hash_every=3");
    assert_int_equal(run.exit_code, 7);
    check_says(run.err, "no state has a majority: rank 0 on host");
    check_says(run.err, "lockstep replay");
    const difference found = replay("vote", "--step 3");
    assert_string_equal(found.what, "begin");
}

static void test_one_rank(void **state) {
    (void)state;
    run_result run = run_ranks(1, "one", "kind=flip_state,rank=0,step=2", "");
    assert_int_equal(run.exit_code, 7);
    check_says(run.err, "the memory of rank 0");
    run = run_ranks(1, "one", "kind=flip_state,rank=0,step=1", "hash_every=3");
    assert_int_equal(run.exit_code, 0);
    const difference found = replay("one", "--step 3 --from 0");
    assert_int_equal(found.from, 0);
    assert_string_equal(found.what, "begin");
}

/* --- what is right ----------------------------------------------------------------------------------------------------- */

static void list_folder(const char *name, char *text, size_t bytes) {
    const char *path = text_of("%s/list", run_folder());
    assert_int_equal(
        system(text_of("find '%s/%s' -printf '%%p %%s %%T@\\n' | sort | sha256sum >'%s'",
                       run_folder(), name, path)),
        0);
    read_whole(path, text, bytes);
}

static void test_right_runs(void **state) {
    char before[128], after[128];
    (void)state;
    assert_int_equal(run_ranks(4, "right", "", "zero=3 wire=bf16").exit_code, 0);
    list_folder("right", before, sizeof before);
    static const char *const words[] = {"--step 4",           "--step 4 --from 0",
                                        "--step 4 --ranks 1", "--step 3 --ranks 2",
                                        "--step 1",           "--step 2 --from 1"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        assert_int_equal(replay("right", words[i]).step, 0);
    /* From a checkpoint's folder too. */
    assert_int_equal(replay("right/step-000000002", "--step 4").step, 0);
    list_folder("right", after, sizeof after);
    assert_string_equal(before, after);
    const run_result text =
        run_program(text_of("replay '%s/right' --step 4 --from 2 -q", run_folder()));
    assert_string_equal(
        text.out, "replay: step 4: all 4 ranks are right; computed from step 2 with 4 ranks\n");
}

/* The steps after a change of the number of ranks have records of another layout. */
static void test_changed_layout(void **state) {
    (void)state;
    assert_int_equal(run_ranks(2, "layout", "", "zero=1").exit_code, 0);
    const run_result rest = run_program(
        text_of("run -n 4 -t 1 -- resume '%s/layout/step-000000002' zero=3 -q", run_folder()));
    assert_int_equal(rest.exit_code, 0);
    assert_int_equal(replay("layout", "--step 4 --from 0").step, 0);
    assert_int_equal(replay("layout", "--step 2 --from 0").step, 0);
}

/* Between hosts gradients travel encoded; replay computes as if there were as many. Every rank of this mpirun is a host of its own. */
static void test_hosts(void **state) {
    (void)state;
    if (system("command -v mpirun.openmpi >/dev/null && "
               "test -e \"$(dirname \"$LS_TEST_PROGRAM\")/liblockstep_mpi_openmpi.so\"") != 0) {
        print_message("hosts: not tried, no Open MPI here\n");
        return;
    }
    for (int zero = 0; zero <= 3; zero++) {
        (void)ls_dir_remove(text_of("%s/hosts", run_folder()));
        const char *line = text_of(
            "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 LOCKSTEP_MPI_P2P=1 "
            "LOCKSTEP_FAULT=kind=flip,rank=1,step=2 mpirun.openmpi --oversubscribe -n 2 "
            "\"$LS_TEST_PROGRAM\" " RUN "out='%s/hosts' data.cache='%s/cache' zero=%d wire=%s "
            ">'%s/mpi' 2>&1",
            run_folder(), run_folder(), zero, zero % 2 ? "bf16" : "int8", run_folder());
        if (system(line) != 0) fail_msg("%s", line);
        const difference found = replay("hosts", "--step 4 --from 0");
        assert_int_equal(found.step, 3);
        assert_string_equal(found.what, "gifts");
        assert_int_equal(found.n_ranks, 1);
        assert_int_equal(found.rank, 1);
    }
}

/* --- what cannot be ---------------------------------------------------------------------------------------------------- */

static void check_refusal(const char *words, int exit_code, const char *part) {
    const run_result result = run_program(text_of("replay %s", words));
    assert_int_equal(result.exit_code, exit_code);
    check_says(result.err, part);
}

static void test_refusals(void **state) {
    (void)state;
    const char *dir = text_of("'%s/plain'", run_folder());
    assert_int_equal(run_ranks(2, "plain", "", "hash_every=2").exit_code, 0);
    check_refusal(text_of("%s --step 3", dir), 3, "no record; records are there for steps 2, 4");
    check_refusal(dir, 2, "--step N is missing");
    check_refusal(text_of("%s --step 0", dir), 2, "--step wants");
    check_refusal(text_of("%s --step 2 --ranks 3", dir), 2, "3");
    check_refusal(text_of("'%s/nothing' --step 2", run_folder()), 3, "metrics.jsonl");
    const char *cache = text_of("%s/cache", run_folder());
    assert_int_equal(rename(cache, text_of("%s/moved", run_folder())), 0);
    check_refusal(text_of("%s --step 2", dir), 3, "data.cache=DIR");
    assert_false(ls_path_exists(cache));
    assert_int_equal(
        run_program(text_of("replay %s --step 2 data.cache='%s/again'", dir, run_folder()))
            .exit_code,
        0);
    assert_int_equal(rename(text_of("%s/moved", run_folder()), cache), 0);
    const char *metrics = text_of("%s/plain/metrics.jsonl", run_folder());
    assert_int_equal(system(text_of("sed -i 's/\"gifts\":\\[\"./\"gifts\":[\"x/' '%s'", metrics)),
                     0);
    check_refusal(text_of("%s --step 2", dir), 4, "16 hexadecimal digits");
    assert_int_equal(system(text_of("sed -i '/\"hash\"/d' '%s'", metrics)), 0);
    check_refusal(text_of("%s --step 2", dir), 3, "hash_every=N");
    assert_int_equal(run_ranks(2, "plain", "", "hash_every=2").exit_code, 0);
    assert_int_equal(system(text_of("rm -r '%s'/plain/step-*", run_folder())), 0);
    check_refusal(text_of("%s --step 2", dir), 3, "holds no checkpoint");
}

/* --- memory that is refused -------------------------------------------------------------------------------------------- */

typedef struct scenario {
    ls_train_config config;
    ls_replay_options options;
} scenario;

static ls_status replay_once(void *user) {
    const scenario *s = user;
    ls_replay_finding finding;
    LS_TRY(ls_replay(&s->config, &s->options, &finding));
    assert_int_equal(finding.what, LS_HASH_BEGIN); /* the record is made up */
    ls_free(finding.wrong);
    return LS_OK;
}

/* One allocation in `stride` is refused in turn: LS_ERR_NO_MEMORY and nothing left behind. */
static void test_refused_memory(void **state) {
    enum { STRIDE = 29 };
    (void)state;
    assert_int_equal(run_ranks(1, "memory", "", "").exit_code, 0);
    const char *words[] = {"lanes=4",
                           "batch=4",
                           "steps=4",
                           "optim.warmup=1",
                           "threads=1",
                           text_of("out=%s/memory", run_folder()),
                           text_of("data.cache=%s/cache", run_folder())};
    ls_hash_of_rank rank = {0};
    const ls_hash_record record = {.step = 3, .size = 1, .hosts = 1, .ranks = &rank};
    scenario s = {.options = {.checkpoint = text_of("%s/memory/step-000000002", run_folder()),
                              .records = &record,
                              .n_records = 1,
                              .ranks = 1,
                              .hosts = 1}};
    struct ls_config *values = NULL;
    check_ok(ls_train_config_load("configs/exact_gpt.yaml", words, 7, &s.config, &values));
    check_ok(replay_once(&s));
    int64_t n = 1, n_refused = 0;
    for (int done = 0; !done; n += STRIDE) {
        const ls_alloc_stats before = ls_alloc_get_stats();
        ls_alloc_fail_at(n, n % 2);
        const ls_status status = replay_once(&s);
        ls_alloc_fail_at(0, 0);
        const ls_alloc_stats after = ls_alloc_get_stats();
        assert_int_equal(after.n_live, before.n_live);
        done = after.n_calls - before.n_calls < n;
        if (!done && status != LS_ERR_NO_MEMORY)
            fail_msg("allocation %lld refused: %s: %s", (long long)n, ls_status_words(status),
                     ls_error_message());
        if (done) check_ok(status);
        n_refused += !done;
    }
    print_message("%lld of %lld allocations refused\n", (long long)n_refused, (long long)n);
    assert_true(n_refused > 10);
    ls_config_destroy(values);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gifts),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_state_between_steps),
        cmocka_unit_test(test_votes),
        cmocka_unit_test(test_one_rank),
        cmocka_unit_test(test_right_runs),
        cmocka_unit_test(test_changed_layout),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_refused_memory),
    };
    return cmocka_run_group_tests(tests, make_run_folder, remove_run_folder);
}
