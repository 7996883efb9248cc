#include "base/config.h"
#include "unit/base/check.h"

static const char *const names[] = {"steps",       "seed",     "model.layers",
                                    "model.width", "optim.lr", "optim.weight_decay",
                                    "precision",   "adamw",    "lr"};

static void test_suggestions(void **state) {
    (void)state;
    static const struct {
        const char *given, *wanted; /* NULL = nothing is close */
    } cases[] = {
        {"stpes", "steps"},
        {"step", "steps"},
        {"Steps", "steps"},
        {"sed", "seed"},
        {"model.layer", "model.layers"},
        {"modl.layers", "model.layers"},
        {"model.widht", "model.width"},
        {"layers", "model.layers"},
        {"train.width", "model.width"},
        {"weight_decay", "optim.weight_decay"},
        {"precison", "precision"},
        {"adam", "adamw"},
        {"rl", "lr"},
        {"lr", "lr"},
        {"zzzzzz", NULL},
        {"xy", NULL},
        {"", NULL},
        {"completely_different_thing", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *near =
            ls_nearest_name(cases[i].given, names, (int)(sizeof names / sizeof names[0]));
        if (!cases[i].wanted)
            assert_null(near);
        else if (!near || strcmp(near, cases[i].wanted) != 0)
            fail_msg("%s: got %s, wanted %s", cases[i].given, near ? near : "nothing",
                     cases[i].wanted);
    }
}

static void test_long_names_and_no_names(void **state) {
    (void)state;
    char text[500];
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    const char *const long_names[] = {text};
    assert_null(ls_nearest_name(text, names, 3));
    assert_null(ls_nearest_name("aaa", long_names, 1));
    assert_null(ls_nearest_name("steps", names, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suggestions),
        cmocka_unit_test(test_long_names_and_no_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
