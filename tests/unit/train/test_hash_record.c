/* Hash records as text, the vote among ranks, and what two records of a step tell together. */
#include "base/alloc.h"
#include "base/json.h"
#include "train/replay.h"
#include "unit/base/check.h"

enum { MOST = 8 };

/* For names of hosts. */
static const ls_comm comm = {.size = MOST, .n_hosts = 1};

typedef struct made {
    ls_hash_record record;
    ls_hash_of_rank ranks[MOST];
} made;

/* All ranks alike, each list another number. */
static ls_hash_record *make_record(made *m, int size) {
    memset(m, 0, sizeof *m);
    m->record = (ls_hash_record){
        .step = 7, .size = size, .hosts = 1, .zero = 1, .logical = 99, .ranks = m->ranks};
    for (int r = 0; r < size; r++) {
        for (int k = 0; k < LS_HASH_COUNT; k++)
            m->ranks[r].of[k] = (uint64_t)(100 * k + r) << 40 | 0xabcu;
        m->ranks[r].shared = 5;
    }
    return &m->record;
}

/* --- text ------------------------------------------------------------------------------------------------------------- */

static char *print_record(const ls_hash_record *record) {
    ls_text text = {0};
    ls_text_append(&text, "{\"kind\":\"hash\",\"step\":%lld,", (long long)record->step);
    ls_hash_print(record, &text);
    ls_text_append(&text, "}");
    assert_int_equal(text.status, LS_OK);
    return text.data;
}

static ls_status parse_text(const char *text, ls_hash_record *out) {
    json_t *object = NULL;
    check_ok(ls_json_parse(text, strlen(text), "here", &object));
    const ls_status status = ls_hash_parse(object, "here", out);
    json_decref(object);
    return status;
}

static void test_round_trip(void **state) {
    made m;
    ls_hash_record back;
    (void)state;
    char *text = print_record(make_record(&m, 4));
    check_ok(parse_text(text, &back));
    assert_int_equal(back.step, 7);
    assert_int_equal(back.size, 4);
    assert_int_equal(back.zero, 1);
    assert_int_equal(back.hosts, 1);
    assert_true(back.logical == 99);
    for (int r = 0; r < 4; r++)
        for (int k = 0; k < LS_HASH_COUNT; k++)
            assert_true(back.ranks[r].of[k] == m.ranks[r].of[k]);
    ls_free(back.ranks);
    ls_free(text);
}

static void test_bad_records(void **state) {
    static const struct {
        const char *find, *put, *says;
    } cases[] = {
        {"\"ranks\":2", "\"ranks\":3", "has 2 hashes, but there were 3 ranks"},
        {"\"ranks\":2", "\"ranks\":0", "no hash record has"},
        {"\"zero\":1", "\"zero\":4", "zero 4"},
        {"\"hosts\":1", "\"hosts\":3", "hosts 3"},
        {"\"step\":7", "\"step\":0", "step 0"},
        {"\"gifts\":[", "\"gift\":[", "gifts"},
        {"\"totals\":[\"0", "\"totals\":[\"G", "16 hexadecimal digits"},
        {"\"logical\":\"0", "\"logical\":\"", "'logical'"},
    };
    made m;
    ls_hash_record back;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *text = print_record(make_record(&m, 2)), changed[4096];
        const char *at = strstr(text, cases[i].find);
        assert_non_null(at);
        snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, cases[i].put,
                 at + strlen(cases[i].find));
        assert_int_not_equal(parse_text(changed, &back), LS_OK);
        if (!strstr(ls_error_message(), cases[i].says))
            fail_msg("'%s' does not say '%s'", ls_error_message(), cases[i].says);
        ls_free(text);
    }
}

/* The JSON text is read before: jansson's allocations are not ours to fail here. */
static ls_status parse_once(void *user) {
    ls_hash_record back;
    LS_TRY(ls_hash_parse(user, "here", &back));
    ls_free(back.ranks);
    return LS_OK;
}

/* --- the vote --------------------------------------------------------------------------------------------------------- */

static void test_votes(void **state) {
    static const struct {
        int size;
        uint64_t shared[MOST];
        const char *says, *not ; /* says NULL: all is well */
    } cases[] = {
        {1, {5}, NULL, NULL},
        {4, {5, 5, 5, 5}, NULL, NULL},
        {4, {5, 6, 5, 5}, "step 7: rank 1 on host localhost (0000000000000006): not", "rank 0"},
        {4, {6, 5, 5, 5}, "rank 0 on host", "rank 1"},
        {8,
         {5, 6, 5, 7, 5, 5, 7, 5},
         "rank 1 on host localhost (0000000000000006), rank 3 on",
         "rank 0"},
        {8, {5, 6, 5, 7, 5, 5, 7, 5}, "the other 5 of 8 ranks", "majority"},
        {2, {5, 6}, "no state has a majority: rank 0 on host", "the other"},
        {4, {5, 5, 6, 6}, "no state has a majority", NULL},
        {4, {5, 6, 7, 8}, "`lockstep replay OUT --step 7`", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        made m;
        ls_hash_record *record = make_record(&m, cases[i].size);
        for (int r = 0; r < record->size; r++) record->ranks[r].shared = cases[i].shared[r];
        const ls_status status = ls_hash_check(record, &comm);
        assert_int_equal(status, cases[i].says ? LS_ERR_NUMERIC : LS_OK);
        if (!cases[i].says) continue;
        if (!strstr(ls_error_message(), cases[i].says))
            fail_msg("'%s' does not say '%s'", ls_error_message(), cases[i].says);
        if (cases[i].not &&strstr(ls_error_message(), cases[i].not ))
            fail_msg("'%s' says '%s'", ls_error_message(), cases[i].not );
    }
}

/* Its own memory speaks before the vote. */
static void test_changed_memory(void **state) {
    made m;
    ls_hash_record *record = make_record(&m, 2);
    (void)state;
    for (int r = 0; r < 2; r++) {
        record->ranks[r].has_before = 1;
        record->ranks[r].before = record->ranks[r].of[LS_HASH_BEGIN];
    }
    check_ok(ls_hash_check(record, &comm));
    record->ranks[1].before++;
    record->ranks[0].shared = 9;
    assert_int_equal(ls_hash_check(record, &comm), LS_ERR_NUMERIC);
    assert_non_null(strstr(ls_error_message(), "step 7: the memory of rank 1 on host localhost"));
    assert_non_null(strstr(ls_error_message(), "it ended step 6"));
}

/* --- two records ------------------------------------------------------------------------------------------------------ */

typedef struct change {
    int kind, rank;
} change;

static void test_compare(void **state) {
    static const struct {
        change changes[3];
        int n_changes, what, n_wrong, first_wrong;
        const char *says;
    } cases[] = {
        {{{0, 0}}, 0, LS_REPLAY_RIGHT, 0, 0, "step 7: all 4 ranks are right"},
        {{{LS_HASH_STATE, 2}}, 1, LS_HASH_STATE, 1, 2, "step 7: rank 2 wrote another state"},
        {{{LS_HASH_STATE, 0}, {LS_HASH_GRADIENTS, 3}},
         2,
         LS_HASH_GRADIENTS,
         1,
         3,
         "rank 3 gave a gradient"},
        {{{LS_HASH_TOTALS, 0}, {LS_HASH_TOTALS, 1}, {LS_HASH_STATE, 2}},
         3,
         LS_HASH_TOTALS,
         2,
         0,
         "ranks 0 and 1 gave a sum"},
        {{{LS_HASH_GRADIENTS, 0}, {LS_HASH_WEIGHTS, 1}, {LS_HASH_STATE, 2}},
         3,
         LS_HASH_WEIGHTS,
         1,
         1,
         "rank 1 gave weights"},
        {{{LS_HASH_GRADIENTS, 0}, {LS_HASH_WEIGHTS, 1}, {LS_HASH_BEGIN, 3}},
         3,
         LS_HASH_BEGIN,
         1,
         3,
         "rank 3 began with a state"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        made a, b;
        ls_replay_finding found;
        char *text = NULL;
        make_record(&a, 4);
        make_record(&b, 4);
        for (int k = 0; k < cases[i].n_changes; k++)
            b.ranks[cases[i].changes[k].rank].of[cases[i].changes[k].kind]++;
        check_ok(ls_replay_compare(&a.record, &b.record, &found));
        assert_int_equal(found.what, cases[i].what);
        assert_int_equal(found.n_wrong, cases[i].n_wrong);
        if (found.n_wrong) assert_int_equal(found.first_wrong, cases[i].first_wrong);
        found.from = 6;
        check_ok(ls_replay_describe(&found, &text));
        if (!strstr(text, cases[i].says)) fail_msg("'%s' does not say '%s'", text, cases[i].says);
        assert_null(strstr(text, "all ranks at once"));
        assert_null(strstr(text, "have no record"));
        ls_free(text);
        ls_free(found.wrong);
    }
}

/* Another layout: the logical hash alone counts. */
static void test_compare_layouts(void **state) {
    made a, b;
    ls_replay_finding found;
    char *text = NULL;
    (void)state;
    make_record(&a, 4);
    make_record(&b, 2);
    check_ok(ls_replay_compare(&a.record, &b.record, &found));
    assert_int_equal(found.what, LS_REPLAY_RIGHT);
    b.record.logical++;
    check_ok(ls_replay_compare(&a.record, &b.record, &found));
    assert_int_equal(found.what, LS_REPLAY_LOGICAL);
    found.from = 3;
    check_ok(ls_replay_describe(&found, &text));
    assert_non_null(strstr(text, "--ranks 4 tells which rank"));
    assert_non_null(strstr(text, "steps 4 to 6 have no record"));
    ls_free(text);
    make_record(&b, 4)->zero = 2;
    b.record.ranks[1].of[LS_HASH_GRADIENTS]++;
    check_ok(ls_replay_compare(&a.record, &b.record, &found));
    assert_int_equal(found.what, LS_REPLAY_RIGHT);
}

static void test_all_wrong(void **state) {
    made a, b;
    ls_replay_finding found;
    char *text = NULL;
    (void)state;
    make_record(&a, 2);
    make_record(&b, 2);
    for (int r = 0; r < 2; r++) b.ranks[r].of[LS_HASH_BEGIN]++;
    check_ok(ls_replay_compare(&a.record, &b.record, &found));
    found.last_right = 4;
    check_ok(ls_replay_describe(&found, &text));
    assert_non_null(strstr(text, "ranks 0 and 1 began"));
    assert_non_null(strstr(text, "steps 5 to 6 have no record"));
    assert_non_null(strstr(text, "LOCKSTEP_ISA"));
    ls_free(text);
    ls_free(found.wrong);
}

static void test_no_memory(void **state) {
    made m;
    (void)state;
    char *text = print_record(make_record(&m, 2));
    json_t *object = NULL;
    check_ok(ls_json_parse(text, strlen(text), "here", &object));
    assert_true(check_torture(parse_once, object) > 0);
    json_decref(object);
    ls_free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_bad_records),
        cmocka_unit_test(test_votes),      cmocka_unit_test(test_changed_memory),
        cmocka_unit_test(test_compare),    cmocka_unit_test(test_compare_layouts),
        cmocka_unit_test(test_all_wrong),  cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
