/* The profile's page and numbers: well-formed whatever it holds, five ops worth attention by what they would save. */
#include "base/json.h"
#include "observe/profile.h"
#include "unit/base/check.h"
#include "unit/observe/markup.h"
#include <math.h>

enum { MOST = 12 };

typedef struct made {
    ls_profile profile;
    ls_profile_class classes[MOST];
    ls_profile_roof roofs[3];
    ls_profile_part phases[2], memory[2];
    ls_profile_pair about[2];
    ls_profile_piece pieces[3];
    ls_profile_phase_piece phase_pieces[2];
    ls_profile_strip strips[2];
} made;

static ls_profile_class make_class(int i) {
    static const char *const ops[] = {"matmul", "attention", "gelu", "adamw_step",
                                      "all_gather_wait"};
    ls_profile_class c = {.op = ops[i % 5],
                          .phase = "forward",
                          .kernel = "k<1>",
                          .family = "x",
                          .types = "f32[4, 8] & \"x\" <y>",
                          .scope = "h.3",
                          .n_nodes = 2,
                          .calls = 4,
                          .seconds = 0.01 * (MOST - i),
                          .mean_seconds = 0.02 * (MOST - i),
                          .share = 0.05,
                          .flops = i % 3 == 2 ? 0 : 1e6 * (i + 1),
                          .bytes = 1e5,
                          .flops_per_second = i % 3 == 2 ? 0 : 1e9,
                          .bytes_per_second = 1e9,
                          .threads = 1.5,
                          .roof = i % 2,
                          .roof_share = 0.5,
                          .saved_seconds = 0.001 * ((i * 7) % MOST),
                          .waits = i % 5 == 4};
    return c;
}

static void fill(made *m, int n_classes) {
    *m = (made){0};
    for (int i = 0; i < n_classes; i++) m->classes[i] = make_class(i);
    m->roofs[0] = (ls_profile_roof){"f32 arithmetic", 0, 1e11};
    m->roofs[1] = (ls_profile_roof){"memory", 1, 2e10};
    m->roofs[2] = (ls_profile_roof){"the L2 cache", 1, 2e11};
    m->phases[0] = (ls_profile_part){"forward", 0.3, 0.3, 0};
    m->phases[1] = (ls_profile_part){"backward <&>", 0.7, 0.7, 0};
    m->memory[0] = (ls_profile_part){"weights", 0, 0, 1e6};
    m->memory[1] = (ls_profile_part){"slots", 0, 0, 3e6};
    m->about[0] = (ls_profile_pair){"machine", "a <b> & \"c\""};
    m->about[1] = (ls_profile_pair){"model", "1 parameter"};
    for (int i = 0; i < 3; i++) m->pieces[i] = (ls_profile_piece){0.3 * i, 0.3 * i + 0.3, 3 * i};
    m->phase_pieces[0] = (ls_profile_phase_piece){0, 0.4, "forward 0"};
    m->phase_pieces[1] = (ls_profile_phase_piece){0.4, 0.401, "backward <0>"};
    for (int r = 0; r < 2; r++)
        m->strips[r] = (ls_profile_strip){r, "host<1>", m->pieces, 3, m->phase_pieces, 2};
    m->profile = (ls_profile){.title = "T <1>",
                              .about = m->about,
                              .n_about = 2,
                              .first_step = 3,
                              .n_steps = 3,
                              .n_ranks = 2,
                              .n_threads = 2,
                              .step_seconds = 1,
                              .step_median_seconds = 0.8,
                              .items_per_second = 1234,
                              .flops_per_second = 1e10,
                              .items = "tokens",
                              .n_events = 10,
                              .roofs = m->roofs,
                              .n_roofs = 3,
                              .roofs_source = "measured",
                              .classes = m->classes,
                              .n_classes = n_classes,
                              .phases = m->phases,
                              .n_phases = 2,
                              .memory = m->memory,
                              .n_memory = 2,
                              .strips = m->strips,
                              .n_strips = 2,
                              .strip_seconds = 1,
                              .strip_step = 5};
}

static char *print_page(const ls_profile *p) {
    ls_text text = {0};
    check_ok(ls_profile_print_html(p, &text));
    assert_int_equal(strncmp(text.data, "<!DOCTYPE html>", 15), 0);
    assert_true(check_markup(text.data) > 20);
    static const char *const banned[] = {"nan",  "inf%",    "\"inf",
                                         "-inf", "<script", "http://www.w3.org/1999",
                                         "src=", "@import", "url("};
    for (size_t i = 0; i < sizeof banned / sizeof banned[0]; i++)
        if (strstr(text.data, banned[i])) fail_msg("the page holds '%s'", banned[i]);
    return text.data;
}

static void test_page(void **state) {
    (void)state;
    made m;
    fill(&m, MOST);
    char *page = print_page(&m.profile);
    assert_non_null(strstr(page, "a step, median</div>"));
    assert_non_null(strstr(page, "medians over the steps, those of phases means, which add up"));
    assert_int_equal(count_text(page, "<li>"), 5);
    assert_int_equal(count_text(page, "<svg "), 2);
    assert_int_equal(count_text(page, "class=\"badge\""),
                     3); /* of the five, those with arithmetic */
    assert_non_null(strstr(page, "T &lt;1&gt;"));
    assert_non_null(strstr(page, "a &lt;b&gt; &amp; &quot;c&quot;"));
    assert_non_null(strstr(page, "prefers-color-scheme:dark"));
    assert_non_null(strstr(page, "Timeline of step 5"));
    assert_non_null(strstr(page, "memory, 20.0 GB/s"));
    assert_null(strstr(page, "The buffer was full"));
    ls_free(page);
}

/* The five that would save most, in that order; ones without a gain never. */
static void test_attention(void **state) {
    (void)state;
    made m;
    int indices[LS_PROFILE_ATTENTION];
    fill(&m, MOST);
    assert_int_equal(ls_profile_find_attention(&m.profile, indices), 5);
    for (int i = 0; i < 5; i++)
        assert_float_equal(m.classes[indices[i]].saved_seconds, 0.001 * (MOST - 1 - i), 1e-9);
    for (int n = 0; n < 6; n++) {
        fill(&m, n);
        const int below = n > 0 ? n - 1 : 0; /* the first saves nothing */
        assert_int_equal(ls_profile_find_attention(&m.profile, indices), below < 5 ? below : 5);
        char *page = print_page(&m.profile);
        assert_int_equal(count_text(page, "<li>"), below);
        assert_non_null(strstr(page, "below a roof"));
        ls_free(page);
    }
    m.classes[1].saved_seconds = NAN;
    assert_int_equal(ls_profile_find_attention(&m.profile, indices), 3);
}

static void test_sentences(void **state) {
    (void)state;
    made m;
    fill(&m, MOST);
    m.classes[1].share = 0.25;
    m.classes[1].saved_seconds = 0.07;
    static const struct {
        int index;
        const char *part;
    } cases[] = {
        {0, "It reaches 1.00 GFLOP/s of the 100 GFLOP/s that f32 arithmetic allows (50 %)"},
        {1, "It moves 1.00 GB/s of the 20.0 GB/s that memory allows (50 %)"},
        {1, "110 ms, 25.0 % of the step"},
        {1, "at that roof the step would be 8.8 % shorter"},
        {4, "the rest is waiting for other ranks; without it the step"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ls_text text = {0};
        ls_profile_sentence(&m.profile, cases[i].index, &text);
        check_ok(text.status);
        if (!strstr(text.data, cases[i].part))
            fail_msg("'%s' not in: %s", cases[i].part, text.data);
        ls_text_deinit(&text);
    }
    m.classes[1].roof = -1;
    ls_text text = {0};
    ls_profile_sentence(&m.profile, 1, &text);
    assert_non_null(strstr(text.data, "no roof"));
    ls_text_deinit(&text);
}

static void test_quantities(void **state) {
    (void)state;
    static const struct {
        double value;
        const char *unit, *text;
    } cases[] = {{0, "s", "0 s"},
                 {1.5, "s", "1.50 s"},
                 {0.0123, "s", "12.3 ms"},
                 {123e-6, "s", "123 us"},
                 {1e-9, "s", "1.00 ns"},
                 {1234, "B", "1.23 kB"},
                 {999.6, "B", "1.00 kB"},
                 {12.34e9, "B/s", "12.3 GB/s"},
                 {2.5e12, "FLOP/s", "2.50 TFLOP/s"},
                 {120, "s", "120 s"},
                 {NAN, "s", "?"},
                 {0.9996, "s", "1.00 s"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ls_text text = {0};
        ls_profile_quantity(cases[i].value, cases[i].unit, &text);
        assert_string_equal(text.data, cases[i].text);
        ls_text_deinit(&text);
    }
}

/* Nothing recorded, numbers that are none, one class without a measured roof: still a page and still JSON. */
static void test_odd_profiles(void **state) {
    (void)state;
    made m;
    fill(&m, 0);
    m.profile.n_steps = m.profile.n_strips = m.profile.n_roofs = m.profile.n_about = 0;
    m.profile.step_seconds = m.profile.items_per_second = 0;
    m.profile.n_dropped = 90;
    char *page = print_page(&m.profile);
    assert_non_null(strstr(page, "No step was recorded whole"));
    assert_non_null(strstr(page, "90 of 100 events were not recorded"));
    assert_non_null(strstr(page, "profile.events"));
    ls_free(page);
    fill(&m, 3);
    m.classes[0].flops_per_second = INFINITY;
    m.classes[1].seconds = NAN;
    m.roofs[0].per_second = 0;
    ls_free(print_page(&m.profile));
    fill(&m, 1);
    m.strips[0].n_phases = m.strips[0].n_pieces = 0;
    ls_free(print_page(&m.profile));
}

static void test_json(void **state) {
    (void)state;
    made m;
    json_t *root;
    fill(&m, MOST);
    m.classes[2].seconds = NAN;
    ls_text text = {0};
    check_ok(ls_profile_print_json(&m.profile, &text));
    check_ok(ls_json_parse(text.data, text.size, "profile.json", &root));
    assert_int_equal(json_array_size(json_object_get(root, "classes")), MOST);
    assert_int_equal(json_array_size(json_object_get(root, "attention")), 5);
    assert_int_equal(json_array_size(json_object_get(root, "roofs")), 3);
    assert_int_equal(json_array_size(json_object_get(root, "phases")), 2);
    assert_float_equal(json_number_value(json_object_get(root, "step_seconds")), 1, 1e-9);
    assert_float_equal(json_number_value(json_object_get(root, "step_median_seconds")), 0.8, 1e-9);
    assert_non_null(strstr(json_string_value(json_object_get(root, "times")), "medians over"));
    const json_t *c = json_array_get(json_object_get(root, "classes"), 2);
    assert_true(json_is_null(json_object_get(c, "seconds")));
    assert_float_equal(json_number_value(json_object_get(c, "mean_seconds")),
                       m.classes[2].mean_seconds, 1e-9);
    assert_string_equal(json_string_value(json_object_get(c, "types")), m.classes[2].types);
    json_decref(root);
    ls_text_deinit(&text);
}

static ls_status print_scenario(void *user) {
    const made *m = user;
    ls_text html = {0}, json = {0};
    ls_status status = ls_profile_print_html(&m->profile, &html);
    if (status == LS_OK) status = ls_profile_print_json(&m->profile, &json);
    ls_text_deinit(&html);
    ls_text_deinit(&json);
    return status;
}

static void test_torture(void **state) {
    (void)state;
    made m;
    fill(&m, 8);
    assert_true(check_torture(print_scenario, &m) > 5);
}

static void test_families(void **state) {
    (void)state;
    static const struct {
        const char *op;
        int family;
    } cases[] = {{"matmul", LS_FAMILY_PRODUCTS},       {"attention_bwd", LS_FAMILY_ATTENTION},
                 {"rmsnorm_grad", LS_FAMILY_NORMS},    {"gelu", LS_FAMILY_ELEMENTWISE},
                 {"adamw_step", LS_FAMILY_OPTIMIZER},  {"all_gather_wait", LS_FAMILY_RANKS},
                 {"cross_entropy", LS_FAMILY_LOSS},    {"lane sum", LS_FAMILY_SUMS},
                 {"conv2d_input", LS_FAMILY_PRODUCTS}, {"something_new", LS_FAMILY_ELEMENTWISE}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(ls_profile_family(cases[i].op), cases[i].family);
    for (int f = 0; f < LS_PROFILE_FAMILIES; f++) assert_non_null(ls_profile_families[f]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page),         cmocka_unit_test(test_attention),
        cmocka_unit_test(test_sentences),    cmocka_unit_test(test_quantities),
        cmocka_unit_test(test_odd_profiles), cmocka_unit_test(test_json),
        cmocka_unit_test(test_torture),      cmocka_unit_test(test_families),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
