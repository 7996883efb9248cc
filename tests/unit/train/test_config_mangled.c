/* Configurations as people write them wrong: a byte of a good one changed, taken out or put in at each place. It is read, with values within
 * their bounds, or refused with a sentence that names file and line; nothing crashes, nothing leaks.
 *
 * labels: slow */
#include "base/fs.h"
#include "lockstep/train.h"
#include "unit/base/mangled.h"

static const char yaml[] =
    "# a run\n"
    "steps: 20\nseed: 7\nbatch: 16\nlanes: 4\nprecision: bf16\nout: \"out/tiny\"\n"
    "data: {path: examples/data/tiny.txt, split: true}\n"
    "model:\n  kind: gpt2\n  layers: 2\n  width: 64\n  heads: 4\n  context: 64\n"
    "optim:\n  lr: 3e-3\n  warmup: 10\n  clip: 1.0\n";

static int n_taken, n_refused;

static int is_power_of_two(int64_t n) {
    return n > 0 && (n & (n - 1)) == 0;
}

static const char *find_wrong(const ls_train_config *c) {
    if (!is_power_of_two(c->lanes) || c->batch < 1 || c->batch % c->lanes) return "lanes";
    if (c->steps < 1 || c->optim.warmup > c->steps) return "steps";
    if (c->window < 1 || c->window > c->model.context) return "window";
    if (c->threads < 1 || c->zero < 0 || c->zero > 3) return "threads";
    if (!c->data.path || !c->out || !*c->out || !c->device) return "a path";
    if (!(c->optim.lr >= 0) || !(c->optim.clip >= 0)) return "optim";
    return NULL;
}

/* What is wrong with the values, if they are taken. */
static ls_status load(void *user, const char *path) {
    const char **wrong = user;
    ls_train_config config;
    struct ls_config *values = NULL;
    LS_TRY(ls_train_config_load(path, NULL, 0, &config, &values));
    *wrong = find_wrong(&config);
    ls_config_destroy(values);
    return LS_OK;
}

static void try_text(const char *path, const char *text, size_t bytes) {
    const char *wrong = NULL;
    char what[512];
    snprintf(what, sizeof what, "%.*s", (int)(bytes < 400 ? bytes : 400), text);
    const ls_status status = read_mangled(path, text, bytes, load, &wrong, what);
    if (status == LS_OK) {
        n_taken++;
        if (wrong) fail_msg("%s is wrong after\n%s", wrong, what);
    } else {
        n_refused++;
        if (ls_status_exit_code(status) != 2 && status != LS_ERR_UNSUPPORTED)
            fail_msg("exit status %d: %s", ls_status_exit_code(status), ls_error_message());
        if (strlen(ls_error_message()) < 12) fail_msg("\"%s\"", ls_error_message());
    }
}

static void test_mangled(void **state) {
    (void)state;
    static const char put[] = {':', '\n', '\0', '\xff', '-', '"', '9'};
    char path[512], text[sizeof yaml + 1];
    const size_t n = sizeof yaml - 1;
    snprintf(path, sizeof path, "%s", check_path("mangled.yaml"));
    try_text(path, yaml, n);
    assert_int_equal(n_taken, 1);
    for (size_t at = 0; at < n; at++) {
        memcpy(text, yaml, at);
        memcpy(text + at, yaml + at + 1, n - at - 1);
        try_text(path, text, n - 1);
        try_text(path, yaml, at);
        for (size_t i = 0; i < sizeof put; i++) {
            memcpy(text, yaml, n);
            text[at] = put[i];
            try_text(path, text, n);
            memcpy(text + at + 1, yaml + at, n - at);
            try_text(path, text, n + 1);
        }
    }
    unlink(path);
    print_message("%d taken, %d refused\n", n_taken, n_refused);
    assert_true(n_taken > 100 && n_refused > 1000);
}

/* Depth, aliases and length that a parser must bound. */
static void test_hostile(void **state) {
    (void)state;
    char path[512];
    ls_text text = {0};
    snprintf(path, sizeof path, "%s", check_path("hostile.yaml"));
    for (int i = 0; i < 20000; i++) ls_text_append(&text, "[");
    try_text(path, text.data, text.size);
    text.size = 0;
    for (int i = 0; i < 5000; i++) ls_text_append(&text, "{a: ");
    try_text(path, text.data, text.size);
    text.size = 0;
    ls_text_append(&text, "a: &a [x]\n");
    for (int i = 0; i < 30; i++) ls_text_append(&text, "b%d: &b%d [*a, *a]\n", i, i);
    try_text(path, text.data, text.size);
    text.size = 0;
    ls_text_append(&text, "out: ");
    for (int i = 0; i < 100000; i++) ls_text_append(&text, "x");
    ls_text_append(&text, "\nstpes: 1\n");
    try_text(path, text.data, text.size);
    assert_true(strlen(ls_error_message()) < 4096);
    text.size = 0;
    for (int i = 0; i < 100000; i++) ls_text_append(&text, "# nothing\n");
    try_text(path, text.data, text.size);
    ls_text_deinit(&text);
    unlink(path);
    assert_int_equal(n_refused >= 5, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mangled),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
