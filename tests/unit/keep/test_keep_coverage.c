/* The newest step that several keepers hold completely, from inventories written by hand. */
#include "keep/keeper.h"
#include "unit/base/check.h"

/* Inventories are separated by '|', segments by a newline: rank job steps tensors, then parts NAME:WHOLE:FIRST:COUNT. */
typedef struct coverage_case {
    const char *what, *inventories;
    int64_t step;
} coverage_case;

static const coverage_case cases[] = {
    {"no keeper", "", -1},
    {"nothing kept", "|", -1},
    {"one rank", "0 0 7 6 1 a:10:0:10", 7},
    {"torn", "0 0 -1 -1 1 a:10:0:10", -1},
    {"one torn", "0 0 -1 6 1 a:10:0:10", 6},
    {"step zero", "0 0 -1 0 1 a:10:0:10", 0},
    {"a part is missing", "0 0 7 6 1 a:10:0:9", -1},
    {"the beginning is missing", "0 0 7 6 1 a:10:1:9", -1},
    {"two ranks", "0 0 7 6 1 a:10:0:5\n1 0 6 7 1 a:10:5:5", 7},
    {"two hosts", "0 0 7 6 1 a:10:0:5|1 0 6 7 1 a:10:5:5", 7},
    {"one rank is behind", "0 0 7 6 1 a:10:0:5|1 0 6 5 1 a:10:5:5", 6},
    {"one rank is behind and torn", "0 0 7 6 1 a:10:0:5|1 0 6 -1 1 a:10:5:5", 6},
    {"too far apart", "0 0 8 7 1 a:10:0:5|1 0 6 5 1 a:10:5:5", -1},
    {"a host is gone", "0 0 7 6 1 a:10:0:5", -1},
    {"a host is gone, a copy is there", "0 0 7 6 1 a:10:0:5\n1 0 6 5 1 a:10:5:5", 6},
    {"overlapping parts", "0 0 3 -1 1 a:10:0:7|1 0 3 -1 1 a:10:4:6", 3},
    {"several tensors", "0 0 3 -1 3 a:4:0:4 b:1:0:1 c:0:0:0", 3},
    {"a tensor that nobody lists", "0 0 3 -1 3 a:4:0:4 b:1:0:1", -1},
    {"listed without elements", "0 0 3 -1 2 a:4:0:4 b:8:0:0", -1},
    /* 2 -> 4 ranks: rank 0 has the step in its new memory, rank 1 was killed before that. */
    {"a new job half restored", "0 0 5 4 1 a:8:0:4\n1 0 5 4 1 a:8:4:4\n0 1 5 -1 1 a:8:0:2", 5},
    {"a new job that has nothing", "0 0 5 4 1 a:8:0:8\n0 1 -1 -1 1 a:8:0:8", 5},
    {"a new job is at an older step", "0 0 25 24 1 a:8:0:8\n0 1 12 11 1 a:8:0:8", 12},
    {"a new job is further", "0 0 5 4 1 a:8:0:8\n0 1 7 6 1 a:8:0:8", 7},
    {"an old job's rank that is replaced",
     "0 0 9 8 1 a:8:0:4\n1 0 9 8 1 a:8:4:4\n0 1 7 6 1 a:8:0:4", -1},
};

static json_t *read_segment(char *line) {
    char *rest = NULL;
    json_int_t numbers[5];
    for (int i = 0; i < 5; i++) numbers[i] = atoll(strtok_r(i ? NULL : line, " ", &rest));
    json_t *parts = json_array();
    for (char *word; (word = strtok_r(NULL, " ", &rest));) {
        char name[16];
        long long whole, first, count;
        assert_int_equal(sscanf(word, "%15[^:]:%lld:%lld:%lld", name, &whole, &first, &count), 4);
        (void)json_array_append_new(parts,
                                    json_pack("{s:s,s:s,s:[I],s:I,s:I}", "name", name, "dtype",
                                              "f32", "shape", (json_int_t)whole, "first",
                                              (json_int_t)first, "count", (json_int_t)count));
    }
    return json_pack("{s:I,s:I,s:[I,I],s:I,s:o}", "rank", numbers[0], "job", numbers[1], "steps",
                     numbers[2], numbers[3], "tensors", numbers[4], "parts", parts);
}

static json_t *read_inventory(char *text) {
    json_t *segments = json_array();
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        (void)json_array_append_new(segments, read_segment(line));
    return json_pack("{s:o}", "segments", segments);
}

static void test_table(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        json_t *all[4];
        int n = 0;
        (void)snprintf(text, sizeof text, "%s", cases[i].inventories);
        for (char *at = text; at && *cases[i].inventories;) {
            char *end = strchr(at, '|');
            if (end) *end++ = '\0';
            all[n++] = read_inventory(at);
            at = end;
        }
        int64_t step = -2;
        check_ok(ls_keeper_best_step(all, n, &step));
        if (step != cases[i].step)
            fail_msg("%s: step %lld, not %lld", cases[i].what, (long long)step,
                     (long long)cases[i].step);
        for (int k = 0; k < n; k++) json_decref(all[k]);
    }
}

static const struct {
    const char *json, *part;
} malformed[] = {
    {"[]", "object"},
    {"{}", "segments"},
    {"{\"segments\": [5]}", "rank"},
    {"{\"segments\": [{\"rank\":0,\"job\":0,\"steps\":[1],\"parts\":[]}]}", "are two"},
    {"{\"segments\": [{\"rank\":0,\"job\":0,\"steps\":[1,2],\"parts\":[{\"name\":\"a\"}]}]}",
     "shape"},
    {"{\"segments\": "
     "[{\"rank\":0,\"job\":0,\"steps\":[1,2],\"parts\":[{\"name\":\"a\",\"shape\":[-4],"
     "\"first\":0,\"count\":0}]}]}",
     "a shape that is none"},
    {"{\"segments\": [{\"rank\":0,\"job\":0,\"steps\":[1,2],\"parts\":[{\"name\":\"a\",\"shape\":["
     "4611686018427387904,4],\"first\":0,\"count\":0}]}]}",
     "a shape that is none"},
    {"{\"segments\": "
     "[{\"rank\":0,\"job\":0,\"steps\":[1,2],\"parts\":[{\"name\":\"a\",\"shape\":[4],"
     "\"first\":2,\"count\":3}]}]}",
     "beyond its end"},
    {"{\"segments\": "
     "[{\"rank\":0,\"job\":0,\"steps\":[1,2],\"parts\":[{\"name\":\"a\",\"shape\":[4],"
     "\"first\":0,\"count\":3},{\"name\":\"a\",\"shape\":[5],\"first\":0,\"count\":3}]}]}",
     "two runs"},
};

static void test_malformed(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        json_t *inventory = NULL;
        int64_t step = 0;
        check_ok(ls_json_parse(malformed[i].json, strlen(malformed[i].json), "test", &inventory));
        check_fails(ls_keeper_best_step(&inventory, 1, &step), LS_ERR_FORMAT, malformed[i].part);
        json_decref(inventory);
    }
}

static ls_status scenario(void *user) {
    int64_t step;
    return ls_keeper_best_step(user, 1, &step);
}

static void test_no_memory(void **state) {
    (void)state;
    char text[] = "0 0 7 6 2 a:10:0:5 b:3:0:3\n1 0 6 7 2 a:10:5:5";
    json_t *inventory = read_inventory(text);
    (void)check_torture(scenario, &inventory);
    json_decref(inventory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
