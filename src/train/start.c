#include "train/start.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

typedef struct stage {
    const char *name;
    double seconds;
} stage;

enum { N_STAGES = 7 };

static void list_stages(const ls_start_times *t, stage out[N_STAGES]) {
    const stage stages[N_STAGES] = {
        {"launch", t->launch},        {"data", t->data},       {"plan", t->plan},
        {"memory", t->memory},        {"weights", t->weights}, {"records", t->records},
        {"first_step", t->first_step}};
    for (int i = 0; i < N_STAGES; i++) out[i] = stages[i];
}

void ls_start_begin(ls_start_watch *watch) {
    *watch = (ls_start_watch){.last = ls_clock_seconds()};
    watch->times.launch = ls_clock_process_seconds();
}

void ls_start_mark(ls_start_watch *watch, double *seconds) {
    const double now = ls_clock_seconds();
    *seconds += now - watch->last;
    watch->last = now;
}

double ls_start_seconds(const ls_start_times *times) {
    stage stages[N_STAGES];
    double sum = 0;
    list_stages(times, stages);
    for (int i = 0; i < N_STAGES; i++) sum += stages[i].seconds;
    return sum;
}

/* Underscores are for programs. */
static void append_name(ls_text *text, const char *name) {
    for (; *name; name++) ls_text_append(text, "%c", *name == '_' ? ' ' : *name);
}

char *ls_start_describe(const ls_start_times *times) {
    stage stages[N_STAGES];
    ls_text text = {0};
    list_stages(times, stages);
    for (int i = 0; i < N_STAGES; i++) {
        if (i > 0) ls_text_append(&text, ", ");
        append_name(&text, stages[i].name);
        ls_text_append(&text, " %.0f ms", 1e3 * stages[i].seconds);
    }
    if (times->prepared_bytes)
        ls_text_append(&text, "; %lld bytes of data prepared", (long long)times->prepared_bytes);
    if (text.status == LS_OK) return text.data;
    ls_text_deinit(&text);
    return NULL;
}

static char *print_members(const ls_start_times *times) {
    stage stages[N_STAGES];
    ls_text text = {0};
    list_stages(times, stages);
    ls_text_append(&text, "\"seconds\":%.6f", ls_start_seconds(times));
    for (int i = 0; i < N_STAGES; i++)
        ls_text_append(&text, ",\"%s_seconds\":%.6f", stages[i].name, stages[i].seconds);
    ls_text_append(&text, ",\"prepared_bytes\":%lld", (long long)times->prepared_bytes);
    if (text.status == LS_OK) return text.data;
    ls_text_deinit(&text);
    return NULL;
}

ls_status ls_start_tell(const ls_start_times *times, ls_recorder *recorder, int64_t step) {
    char *line = ls_start_describe(times), *members = print_members(times);
    ls_status status = line && members ? LS_OK : LS_ERR_NO_MEMORY;
    if (status == LS_OK) {
        ls_log(LS_LOG_INFO, "start: %s", line);
        status = ls_recorder_record(recorder, "start", step, members);
    }
    ls_free(line);
    ls_free(members);
    return status;
}
