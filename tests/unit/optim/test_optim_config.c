/* Options, schedules and early stopping: pure functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "optim/optim_config.h"

static void assert_close(double got, double want) {
    if (!(fabs(got - want) <= 1e-12)) fail_msg("got %.17g, want %.17g", got, want);
}

typedef struct lr_row {
    ls_schedule schedule;
    int64_t warmup;
    double decay, min_ratio;
    int64_t step, total;
    double want;
} lr_row;

static void test_schedules(void **state) {
    (void)state;
    static const lr_row rows[] = {
        {LS_SCHEDULE_CONSTANT, 0, 0, 0.1, 0, 100, 2},
        {LS_SCHEDULE_CONSTANT, 0, 0, 0.1, 99, 100, 2},
        {LS_SCHEDULE_CONSTANT, 4, 0, 0.1, 0, 100, 0.5},
        {LS_SCHEDULE_CONSTANT, 4, 0, 0.1, 3, 100, 2},
        {LS_SCHEDULE_CONSTANT, 4, 0, 0.1, 4, 100, 2},
        {LS_SCHEDULE_LINEAR, 0, 0, 0, 0, 100, 2},
        {LS_SCHEDULE_LINEAR, 0, 0, 0, 25, 100, 1.5},
        {LS_SCHEDULE_LINEAR, 0, 0, 0, 100, 100, 0},
        {LS_SCHEDULE_LINEAR, 10, 0, 0.5, 10, 110, 2},
        {LS_SCHEDULE_LINEAR, 10, 0, 0.5, 60, 110, 1.5},
        {LS_SCHEDULE_LINEAR, 10, 0, 0.5, 110, 110, 1},
        {LS_SCHEDULE_LINEAR, 10, 0, 0.5, 99999, 110, 1},
        {LS_SCHEDULE_LINEAR, 10, 0, 0.5, 99999, 10, 1},
        {LS_SCHEDULE_COSINE, 0, 0, 0, 0, 100, 2},
        {LS_SCHEDULE_COSINE, 0, 0, 0, 25, 100, 1.70710678118654752},
        {LS_SCHEDULE_COSINE, 0, 0, 0, 50, 100, 1},
        {LS_SCHEDULE_COSINE, 20, 0, 0.1, 70, 120, 1.1},
        {LS_SCHEDULE_COSINE, 20, 0, 0.1, 120, 120, 0.2},
        {LS_SCHEDULE_COSINE, 20, 0, 0.1, 500, 120, 0.2},
        {LS_SCHEDULE_WSD, 5, 0.2, 0, 4, 100, 2},
        {LS_SCHEDULE_WSD, 5, 0.2, 0, 5, 100, 2},
        {LS_SCHEDULE_WSD, 5, 0.2, 0, 80, 100, 2},
        {LS_SCHEDULE_WSD, 5, 0.2, 0, 90, 100, 1},
        {LS_SCHEDULE_WSD, 5, 40, 0.25, 80, 100, 1.25},
        {LS_SCHEDULE_WSD, 5, 40, 0.25, 100, 100, 0.5},
        {LS_SCHEDULE_WSD, 0, 0, 0.25, 99, 100, 2},
        {LS_SCHEDULE_WSD, 0, 1, 0, 50, 100, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ls_optim_options o = ls_optim_default();
        o.lr = 2;
        o.schedule = rows[i].schedule;
        o.warmup = rows[i].warmup;
        o.decay = rows[i].decay;
        o.lr_min_ratio = rows[i].min_ratio;
        const double got = ls_optim_lr(&o, rows[i].step, rows[i].total);
        if (!(fabs(got - rows[i].want) <= 1e-12))
            fail_msg("row %d: got %.17g, want %.17g", (int)i, got, rows[i].want);
    }
}

typedef struct refusal {
    const char *key; /* option to change; NULL: none */
    double value;
    int64_t total;
    const char *words;
} refusal;

static void set_option(ls_optim_options *o, const char *key, double value) {
    const ls_config_table *table = &ls_optim_table;
    for (int i = 0; i < table->n_fields; i++) {
        const ls_config_field *f = &table->fields[i];
        if (strcmp(f->key + strlen("optim."), key) != 0) continue;
        void *at = (char *)o + f->offset;
        if (f->type == LS_CONFIG_FLOAT) *(double *)at = value;
        if (f->type == LS_CONFIG_INT) *(int64_t *)at = (int64_t)value;
        if (f->type == LS_CONFIG_BOOL || f->type == LS_CONFIG_ENUM) *(int *)at = (int)value;
        return;
    }
    fail_msg("no option '%s'", key);
}

static void test_check(void **state) {
    (void)state;
    static const refusal refusals[] = {
        {"kind", 9, 100, "optim.kind"},
        {"schedule", -1, 100, "optim.schedule"},
        {"lr", -1, 100, "optim.lr must be between 0"},
        {"lr", NAN, 100, "optim.lr"},
        {"beta1", 1, 100, "optim.beta1"},
        {"beta2", 1, 100, "optim.beta2"},
        {"eps", -1e-8, 100, "optim.eps"},
        {"momentum", 1.5, 100, "optim.momentum"},
        {"weight_decay", -0.1, 100, "optim.weight_decay"},
        {"clip", INFINITY, 100, "optim.clip"},
        {"warmup", 101, 100, "optim.warmup (101) is longer than the run (100 steps)"},
        {"lr_min_ratio", 1.5, 100, "optim.lr_min_ratio"},
        {"loss_scale", 1e9, 100, "optim.loss_scale must be between 1 and"},
        {"loss_scale_max", 0.5, 100, "optim.loss_scale"},
        {"patience", -1, 100, "optim.patience"},
        {"nesterov", 1, 100, "optim.nesterov needs optim.kind=sgd"},
        {NULL, 0, 0, "at least one step"},
    };
    ls_optim_options good = ls_optim_default();
    assert_int_equal(ls_optim_check(&good, 1), LS_OK);
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        ls_optim_options o = good;
        if (refusals[i].key) set_option(&o, refusals[i].key, refusals[i].value);
        assert_int_equal(ls_optim_check(&o, refusals[i].total), LS_ERR_CONFIG);
        if (!strstr(ls_error_message(), refusals[i].words))
            fail_msg("'%s' does not say '%s'", ls_error_message(), refusals[i].words);
    }
    ls_optim_options o = good;
    o.schedule = LS_SCHEDULE_WSD;
    o.warmup = 90;
    o.decay = 20;
    assert_int_equal(ls_optim_check(&o, 100), LS_ERR_CONFIG);
    assert_non_null(strstr(ls_error_message(), "do not both fit in 100 steps"));
    o.warmup = 80;
    assert_int_equal(ls_optim_check(&o, 100), LS_OK);
}

/* The table's defaults are ls_optim_default; keys come back where they belong; bad ones are refused. */
static void test_table(void **state) {
    (void)state;
    typedef struct holder {
        int64_t steps;
        ls_optim_options optim;
    } holder;
    static const ls_config_field fields[] = {LS_OPTIM_FIELDS(offsetof(holder, optim))};
    const ls_config_table table = {fields, ls_optim_table.n_fields};
    holder target = {0};
    ls_config *config;
    if (ls_config_create(&table, 1, &target, &config) != LS_OK) fail_msg("%s", ls_error_message());
    const ls_optim_options want = ls_optim_default();
    for (int i = 0; i < ls_optim_table.n_fields; i++) {
        const ls_config_field *f = &ls_optim_table.fields[i];
        const size_t bytes = f->type == LS_CONFIG_FLOAT || f->type == LS_CONFIG_INT ? 8 : 4;
        if (memcmp((const char *)&target.optim + f->offset, (const char *)&want + f->offset, bytes))
            fail_msg("%s: the table's default is not ls_optim_default's", f->key);
    }
    assert_int_equal(ls_config_set(config, "optim.kind=lion"), LS_OK);
    assert_int_equal(ls_config_set(config, "optim.schedule=wsd"), LS_OK);
    assert_int_equal(ls_config_set(config, "optim.warmup=12"), LS_OK);
    assert_int_equal(ls_config_set(config, "optim.nesterov=true"), LS_OK);
    assert_int_equal(target.optim.kind, LS_OPTIM_LION);
    assert_int_equal(target.optim.schedule, LS_SCHEDULE_WSD);
    assert_int_equal(target.optim.warmup, 12);
    assert_int_equal(target.optim.nesterov, 1);
    static const char *const bad[] = {"optim.kind=sdg", "optim.beta1=1", "optim.lr=-1",
                                      "optim.warmup=1.5", "optim.learning_rate=1"};
    for (int i = 0; i < 5; i++) assert_int_equal(ls_config_set(config, bad[i]), LS_ERR_CONFIG);
    ls_config_destroy(config);
}

static void test_early_stop(void **state) {
    (void)state;
    ls_early_stop stop;
    ls_early_stop_init(&stop, 3, 0.1);
    assert_true(isinf(stop.best) && stop.best_step == -1);
    /* loss, is it the best, is the run due to stop */
    static const struct {
        double loss;
        int best, due;
    } rows[] = {
        {5, 1, 0},        {4, 1, 0},    {3.95, 1, 0}, /* better, but not by 0.1 */
        {3.92, 1, 0},     {3.89, 1, 0},               /* small falls add up to progress */
        {4.5, 0, 0},      {NAN, 0, 0},  {3.85, 1, 1}, /* three in a row without it */
        {3.5, 1, 0},                                  /* asked to go on: it counts again */
        {INFINITY, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(ls_early_stop_update(&stop, rows[i].loss, (int64_t)i), rows[i].best);
        assert_int_equal(ls_early_stop_due(&stop), rows[i].due);
    }
    assert_close(stop.best, 3.5);
    assert_int_equal(stop.best_step, 8);
    ls_early_stop_init(&stop, 0, 0);
    for (int i = 0; i < 50; i++) ls_early_stop_update(&stop, i, i);
    assert_int_equal(ls_early_stop_due(&stop), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_early_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
