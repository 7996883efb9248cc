/* What a run refuses on whatever it is started, its plan refuses too, in the same words.
 *
 * labels: slow timeout=300 */
#include "train_run.h"

/* The folders come last, so that no value of a case makes others. */
static run_result run_verb(const char *verb, const char *words) {
    return run_program(text_of("%s " SMALL_RUN "steps=1 optim.warmup=0 threads=1 %s out='%s/%s' "
                               "data.cache='%s/cache' -q",
                               verb, words, run_folder(), verb, run_folder()));
}

static void check_alike(const char *words, const char *part) {
    const run_result train = run_verb("train", words), plan = run_verb("plan", words);
    if (train.exit_code != plan.exit_code ||
        (train.exit_code != 0 && strcmp(train.err, plan.err) != 0))
        fail_msg("%s: train %d: %splan %d: %s", words, train.exit_code, train.err, plan.exit_code,
                 plan.err);
    if (part && (train.exit_code == 0 || !strstr(plan.err, part)))
        fail_msg("%s: exit %d: %s", words, plan.exit_code, plan.err);
}

static const struct {
    const char *words, *part;
} cases[] = {
    {"device=frob", "device = frob: this version trains on cpu"},
    {"device=cuda", "this version trains on cpu"},
    {"mesh.dp=2 mesh.hosts=3", "mesh.hosts = 3 with mesh.dp = 2: every host has at least one rank"},
    {"transport=nccl", "transport nccl was asked for"},
    {"transport=threads", "transport threads was asked for"},
    {"transport=self mesh.dp=2", "mesh.dp = 2, but 1 rank was started"},
    {"mode=fast zero=1", "mode = fast with zero = 1"},
    {"mode=fast wire=int8", "mode = fast with wire = int8"},
    {"zero=2 optim.kind=lamb", "zero = 2 with optim.kind = lamb"},
    {"recompute=bytes", "needs recompute_bytes"},
    {"recompute=bytes recompute_bytes=5", "recompute_bytes = 5 asks for less"},
    {"lanes=3", "power of two"},
    {"batch=3", "is not a multiple of lanes"},
    {"window=33", "is longer than model.context = 32"},
    {"model.heads=5", "must be a multiple of model.heads"},
    {"model.vocab=5", "model.vocab = 5, but the tokenizer has"},
    {"model.kind=resnet", NULL},
    {"optim.nesterov=true", "optim.nesterov needs"},
    {"optim.patience=2 data.split=false", "optim.patience goes by the loss on the early-stopping"},
    {"optim.patience=2 eval_every=0", "there are none: set eval_every above 0"},
    {"keep_best=true data.split=false", "keep_best goes by the loss on the early-stopping part"},
    {"keep_best=true eval_every=0", "there are none: set eval_every above 0"},
    {"data.path=none.txt", "data.path 'none.txt': no such file or folder"},
    {"data.held_path=none.txt", "data.held_path 'none.txt': no such file or folder"},
    {"data.stop_path=none.txt", "data.stop_path 'none.txt': no such file or folder"},
    {"data.held_path=none.tok", "data.held_path 'none.tok' is a token shard, data.path"},
    {"data.path=none.tok data.stop_path=a.txt", "data.stop_path 'a.txt' is text, data.path"},
    {"data.tokenizer=none.json", "none.json"},
    {"data.tokenizer=configs/tiny.yaml", "configs/tiny.yaml"},
    {"optim.patience=2 eval_every=1", NULL},
    {"transport=self", NULL},
    {"mode=fast", NULL},
    {"", NULL},
};

static void test_cases(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_alike(cases[i].words, cases[i].part);
}

/* Depends on what starts the run, which the plan is made before: other words, or none. */
static void test_ranks(void **state) {
    (void)state;
    static const struct {
        const char *words, *train, *plan;
    } rows[] = {
        {"mesh.hosts=2", "mesh.hosts = 2, but the ranks are on 1 host", "without mesh.dp"},
        {"mesh.dp=2", "mesh.dp = 2, but 1 rank was started", NULL},
        {"mesh.dp=2 mesh.hosts=2", "mesh.dp = 2, but 1 rank was started", NULL},
        {"mesh.dp=1 mesh.hosts=1", NULL, NULL},
        {"recover.copies=1", "start with `lockstep run`", NULL},
        {"transport=shm", "start it with `lockstep run -n R", NULL},
        {"transport=shm mesh.dp=2 mesh.hosts=2", "start it with `lockstep run -n R",
         "hosts share no memory"},
        {"transport=shm mode=fast mesh.dp=2", "start it with `lockstep run -n R",
         "transport shm makes no sums of its own"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const run_result train = run_verb("train", rows[i].words),
                         plan = run_verb("plan", rows[i].words);
        const char *err[2] = {train.err, plan.err}, *parts[2] = {rows[i].train, rows[i].plan};
        const int exits[2] = {train.exit_code, plan.exit_code};
        for (int k = 0; k < 2; k++)
            if (parts[k] ? exits[k] == 0 || !strstr(err[k], parts[k]) : exits[k] != 0)
                fail_msg("%s %s: exit %d: %s", k ? "plan" : "train", rows[i].words, exits[k],
                         err[k]);
    }
    /* Between two ranks of one host the run says what its plan says. */
    const run_result two = run_program(
        text_of("run -n 2 --no-recover -- train " SMALL_RUN
                "steps=1 optim.warmup=0 mesh.hosts=2 out='%s/two' data.cache='%s/cache' -q",
                run_folder(), run_folder()));
    assert_int_equal(two.exit_code, 2);
    assert_non_null(strstr(two.err, "mesh.hosts = 2, but the ranks are on 1 host"));
}

/* Every key with values that are wrong for most. */
static void test_every_key(void **state) {
    (void)state;
    static const char *const values[] = {"frob", "-1", ""};
    FILE *file = fopen("docs/configuration.md", "r");
    char line[2048];
    int n_keys = 0;
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        char key[64];
        if (sscanf(line, "| `%63[^`]` |", key) != 1) continue;
        n_keys++;
        for (size_t i = 0; i < sizeof values / sizeof *values; i++)
            check_alike(text_of("%s=%s", key, values[i]), NULL);
    }
    assert_int_equal(fclose(file), 0);
    assert_true(n_keys > 70);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_ranks),
        cmocka_unit_test(test_every_key),
    };
    return cmocka_run_group_tests(tests, make_run_folder, remove_run_folder);
}
