/* The checker of trace files (tests/trace_format.h) itself: it lets right ones pass and names what is wrong in others; and what
 * observe/trace_file.c writes passes. */
#include "observe/trace_file.h"
#include "trace_format.h"
#include "unit/base/check.h"

#define NAMES                                                                                 \
    "{\"ph\":\"M\",\"pid\":1,\"tid\":0,\"name\":\"process_name\",\"args\":{\"name\":\"p\"}}," \
    "{\"ph\":\"M\",\"pid\":1,\"tid\":1,\"name\":\"thread_name\",\"args\":{\"name\":\"t\"}}"
#define FILE_OF(events)     "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[" events "]}"
#define EVENT(ph, more)     ",{\"ph\":\"" ph "\",\"pid\":1,\"tid\":1,\"cat\":\"c\"," more "}"
#define SPAN(name, ts, dur) EVENT("X", "\"name\":\"" name "\",\"ts\":" ts ",\"dur\":" dur)
#define FLOW(ph, ts, more)  EVENT(ph, "\"name\":\"f\",\"ts\":" ts more)

static const struct {
    const char *text, *fault; /* NULL: right */
} cases[] = {
    {FILE_OF(""), NULL},
    {FILE_OF(NAMES), NULL},
    {FILE_OF(NAMES SPAN("a", "0", "10") SPAN("b", "2.5", "3.125") SPAN("c", "5.625", "1")), NULL},
    {FILE_OF(NAMES SPAN("b", "2.5", "3.125") SPAN("a", "0", "10")), NULL},
    {FILE_OF(NAMES SPAN("a", "0", "10") SPAN("a", "0", "10") SPAN("b", "0", "0")), NULL},
    {FILE_OF(NAMES SPAN("a", "0", "10") SPAN("b", "10", "0")), NULL},
    {FILE_OF(NAMES EVENT("B", "\"name\":\"a\",\"ts\":1") EVENT("B", "\"name\":\"b\",\"ts\":1")
                 EVENT("E", "\"name\":\"b\",\"ts\":2") EVENT("E", "\"ts\":2")),
     NULL},
    {FILE_OF(NAMES SPAN("a", "0", "10") FLOW("s", "1", ",\"id\":7") FLOW("t", "2", ",\"id\":7")
                 FLOW("f", "10", ",\"id\":7,\"bp\":\"e\"")),
     NULL},
    {FILE_OF(NAMES EVENT("i", "\"name\":\"a\",\"ts\":1,\"s\":\"t\"")), NULL},
    {FILE_OF(NAMES EVENT("C", "\"name\":\"a\",\"ts\":1,\"args\":{\"x\":3.5}")), NULL},
    /* the file */
    {"[]", "no array 'traceEvents'"},
    {"{\"traceEvents\":{}}", "no array 'traceEvents'"},
    {"{\"traceEvents\":[]}", "'displayTimeUnit' is ''"},
    {"{\"displayTimeUnit\":\"us\",\"traceEvents\":[]}", "'displayTimeUnit' is 'us'"},
    /* fields of every event */
    {FILE_OF(NAMES ",7"), "event 2 is no object"},
    {FILE_OF(NAMES ",{\"pid\":1,\"tid\":1}"), "event 2: no 'ph'"},
    {FILE_OF(NAMES ",{\"ph\":\"XX\",\"pid\":1,\"tid\":1}"), "event 2: no 'ph'"},
    {FILE_OF(NAMES EVENT("Z", "\"name\":\"a\",\"ts\":1")), "event 2: 'ph' is 'Z'"},
    {FILE_OF(NAMES ",{\"ph\":\"X\",\"tid\":1,\"name\":\"a\"}"), "event 2: 'pid' is no whole"},
    {FILE_OF(NAMES ",{\"ph\":\"X\",\"pid\":1,\"tid\":\"1\",\"name\":\"a\"}"),
     "event 2: 'tid' is no whole"},
    {FILE_OF(NAMES EVENT("X", "\"ts\":1,\"dur\":1")), "event 2: no 'name'"},
    {FILE_OF(NAMES EVENT("X", "\"name\":\"a\",\"dur\":1")), "event 2: 'ts' is no number"},
    {FILE_OF(NAMES EVENT("X", "\"name\":\"a\",\"ts\":\"1\",\"dur\":1")), "'ts' is no number"},
    {FILE_OF(NAMES EVENT("X", "\"name\":\"a\",\"ts\":1")), "event 2: 'dur' is no number"},
    {FILE_OF(NAMES SPAN("a", "1", "-0.001")), "event 2: 'dur' is negative"},
    {FILE_OF(NAMES SPAN("a", "-1", "1")), "event 2: 'ts' is negative"},
    {FILE_OF(NAMES SPAN("a", "1.0005", "1")), "event 2: 'ts' has parts of a nanosecond"},
    {FILE_OF(NAMES EVENT("X", "\"name\":\"a\",\"ts\":1,\"dur\":1,\"args\":[]")),
     "event 2: 'args' is no object"},
    {FILE_OF(NAMES ",{\"ph\":\"X\",\"pid\":1,\"tid\":1,\"name\":\"a\",\"ts\":1,\"dur\":1}"),
     "event 2: no 'cat'"},
    /* names */
    {FILE_OF("{\"ph\":\"M\",\"pid\":1,\"tid\":0,\"name\":\"process_name\",\"args\":{}}"),
     "event 0: process_name without args.name"},
    {FILE_OF("{\"ph\":\"M\",\"pid\":1,\"tid\":0,\"name\":\"thread_sort_index\",\"args\":{"
             "\"sort_index\":\"1\"}}"),
     "event 0: thread_sort_index without args.sort_index"},
    {FILE_OF("{\"ph\":\"M\",\"pid\":1,\"tid\":0,\"name\":\"processname\",\"args\":{}}"),
     "event 0: metadata 'processname' is not known"},
    {FILE_OF("{\"ph\":\"X\",\"pid\":1,\"tid\":1,\"cat\":\"c\",\"name\":\"a\",\"ts\":1,\"dur\":1}"),
     "process 1 does not have one name"},
    {FILE_OF(NAMES "," NAMES SPAN("a", "0", "1")), "process 1 does not have one name"},
    {FILE_OF(NAMES ",{\"ph\":\"X\",\"pid\":1,\"tid\":2,\"cat\":\"c\",\"name\":\"a\",\"ts\":1,"
                   "\"dur\":1}"),
     "thread 2 of process 1 does not have one name"},
    /* nesting */
    {FILE_OF(NAMES SPAN("a", "0", "10") SPAN("b", "5", "10")), "events 2 and 3 overlap in part"},
    {FILE_OF(NAMES SPAN("b", "5", "10") SPAN("a", "0", "10")), "events 3 and 2 overlap in part"},
    {FILE_OF(NAMES SPAN("a", "0", "10") SPAN("b", "1", "8") SPAN("c", "8.999", "0.002")),
     "events 3 and 4 overlap in part"},
    {FILE_OF(NAMES SPAN("b", "0", "5") SPAN("a", "0", "10")),
     "events 2 and 3 begin together and the shorter comes first"},
    {FILE_OF(NAMES EVENT("B", "\"name\":\"a\",\"ts\":1")), "event 2: 'B' without 'E'"},
    {FILE_OF(NAMES EVENT("E", "\"name\":\"a\",\"ts\":1")), "event 2: 'E' without 'B'"},
    {FILE_OF(NAMES EVENT("B", "\"name\":\"a\",\"ts\":1") EVENT("E", "\"name\":\"b\",\"ts\":2")),
     "event 3: 'E' of 'b' closes 'a'"},
    {FILE_OF(NAMES EVENT("B", "\"name\":\"a\",\"ts\":3") EVENT("E", "\"ts\":2")),
     "event 3: ends before it begins"},
    {FILE_OF(NAMES EVENT("B", "\"name\":\"a\",\"ts\":1") EVENT("E", "\"ts\":9")
                 SPAN("b", "5", "10")),
     "events 2 and 4 overlap in part"},
    /* others */
    {FILE_OF(NAMES SPAN("a", "0", "10") FLOW("s", "1", "")), "event 3: a flow without 'id'"},
    {FILE_OF(NAMES SPAN("a", "0", "10") FLOW("s", "1", ",\"id\":1")), "without both ends"},
    {FILE_OF(NAMES SPAN("a", "0", "10") FLOW("f", "1", ",\"id\":1")), "without both ends"},
    {FILE_OF(NAMES SPAN("a", "0", "10") FLOW("s", "1", ",\"id\":1") FLOW("f", "2", ",\"id\":2")),
     "without both ends"},
    {FILE_OF(NAMES SPAN("a", "0", "10") FLOW("s", "3", ",\"id\":1") FLOW("f", "2", ",\"id\":1")),
     "a flow goes back in time"},
    {FILE_OF(NAMES SPAN("a", "0", "10") FLOW("s", "3", ",\"id\":1") FLOW("f", "11", ",\"id\":1")),
     "event 4: a flow outside of every slice"},
    {FILE_OF(NAMES EVENT("i", "\"name\":\"a\",\"ts\":1")), "event 2: an instant without a scope"},
    {FILE_OF(NAMES EVENT("C", "\"name\":\"a\",\"ts\":1,\"args\":{\"x\":\"3\"}")),
     "event 2: counter 'x' is no number"},
    {FILE_OF(NAMES EVENT("C", "\"name\":\"a\",\"ts\":1")), "event 2: a counter of nothing"},
};

static void test_cases(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *root = NULL;
        char fault[256] = "";
        check_ok(ls_json_parse(cases[i].text, strlen(cases[i].text), "trace", &root));
        const char *found = find_trace_fault(root, fault, sizeof fault);
        if (!cases[i].fault != !found || (found && !strstr(found, cases[i].fault)))
            fail_msg("%s\n%s; wanted %s", cases[i].text, found ? found : "right",
                     cases[i].fault ? cases[i].fault : "right");
        json_decref(root);
    }
}

/* What the program writes passes, hostile names and rounding at the edges too. */
static void test_what_is_written(void **state) {
    (void)state;
    static const int64_t spans[][2] = {{0, 1000000007}, {1, 1000000006}, {999, 1001},
                                       {1001, 2000},    {1001, 1001},    {2000, 2000}};
    const char *path = check_path("format.json");
    ls_trace_file *file = NULL;
    char fault[256] = "";
    json_t *root = NULL;
    check_ok(ls_trace_file_open(path, "\"ranks\":2", &file));
    for (int pid = 1; pid <= 2; pid++) {
        check_ok(ls_trace_file_process(file, pid, "rank \"0\" \\ \xff"));
        check_ok(ls_trace_file_thread(file, pid, 1, "run loop"));
        for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) {
            const ls_trace_span span = {"a\n\"b\"",  "c",         pid,         1,
                                        spans[i][0], spans[i][1], "\"lane\":2"};
            check_ok(ls_trace_file_span(file, &span));
        }
    }
    check_ok(ls_trace_file_commit(file));
    check_ok(ls_json_read(path, &root));
    if (find_trace_fault(root, fault, sizeof fault)) fail_msg("%s", fault);
    json_decref(root);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases),
                                       cmocka_unit_test(test_what_is_written)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
