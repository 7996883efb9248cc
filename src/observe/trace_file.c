#include "observe/trace_file.h"

#include "base/fs.h"

enum { FLUSH_BYTES = 64 << 10 };

struct ls_trace_file {
    ls_file_writer *writer;
    ls_text text; /* not yet written */
    int64_t n_events;
};

/* Bytes of the UTF-8 sequence that begins here; 0 when there is none (RFC 3629). */
static size_t sequence_bytes(const unsigned char *at) {
    const size_t n = at[0] < 0x80                    ? 1
                     : at[0] >= 0xc2 && at[0] < 0xe0 ? 2
                     : at[0] >= 0xe0 && at[0] < 0xf0 ? 3
                     : at[0] >= 0xf0 && at[0] < 0xf5 ? 4
                                                     : 0;
    for (size_t i = 1; i < n; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    const int overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    const int outside = (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf4 && at[1] > 0x8f);
    return overlong || outside ? 0 : n;
}

void ls_json_append_string(ls_text *out, const char *text) {
    ls_text_append(out, "\"");
    while (*text) {
        const unsigned char c = (unsigned char)*text;
        const size_t n = sequence_bytes((const unsigned char *)text);
        if (n == 0) /* a path may hold any bytes */
            ls_text_append(out, "\\ufffd");
        else if (c == '"' || c == '\\')
            ls_text_append(out, "\\%c", c);
        else if (c < 0x20)
            ls_text_append(out, "\\u%04x", c);
        else
            ls_text_append_bytes(out, text, n);
        text += n ? n : 1;
    }
    ls_text_append(out, "\"");
}

static ls_status flush(ls_trace_file *f, size_t at_least) {
    LS_TRY(f->text.status);
    if (f->text.size < at_least) return LS_OK;
    LS_TRY(ls_file_writer_write(f->writer, f->text.data, f->text.size));
    f->text.size = 0;
    return LS_OK;
}

ls_status ls_trace_file_open(const char *path, const char *about, ls_trace_file **out) {
    ls_trace_file *f = ls_alloc(sizeof *f);
    if (!f) return LS_ERR_NO_MEMORY;
    ls_status status = ls_file_writer_begin(path, &f->writer);
    ls_text_append(&f->text, "{\"displayTimeUnit\":\"ms\",\"otherData\":{%s},\"traceEvents\":[",
                   about);
    if (status == LS_OK) status = f->text.status;
    if (status != LS_OK) {
        ls_trace_file_abort(f);
        return status;
    }
    *out = f;
    return LS_OK;
}

static void begin_event(ls_trace_file *f) {
    ls_text_append(&f->text, f->n_events++ ? ",\n" : "\n");
}

/* A metadata event: {"ph":"M","name":what,"args":{key:value}}. */
static void add_metadata(ls_trace_file *f, int pid, int tid, const char *what, const char *name) {
    begin_event(f);
    ls_text_append(&f->text,
                   "{\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"name\":\"%s\",\"args\":{\"name\":", pid,
                   tid, what);
    ls_json_append_string(&f->text, name);
    ls_text_append(&f->text, "}}");
}

static void add_order(ls_trace_file *f, int pid, int tid, const char *what, int order) {
    begin_event(f);
    ls_text_append(
        &f->text,
        "{\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"name\":\"%s\",\"args\":{\"sort_index\":%d}}", pid,
        tid, what, order);
}

ls_status ls_trace_file_process(ls_trace_file *f, int pid, const char *name) {
    add_metadata(f, pid, 0, "process_name", name);
    add_order(f, pid, 0, "process_sort_index", pid);
    return flush(f, FLUSH_BYTES);
}

ls_status ls_trace_file_thread(ls_trace_file *f, int pid, int tid, const char *name) {
    add_metadata(f, pid, tid, "thread_name", name);
    add_order(f, pid, tid, "thread_sort_index", tid);
    return flush(f, FLUSH_BYTES);
}

ls_status ls_trace_file_span(ls_trace_file *f, const ls_trace_span *s) {
    const int64_t ns = s->end_ns - s->begin_ns;
    begin_event(f);
    ls_text_append(&f->text, "{\"ph\":\"X\",\"pid\":%d,\"tid\":%d,\"name\":", s->pid, s->tid);
    ls_json_append_string(&f->text, s->name);
    ls_text_append(&f->text, ",\"cat\":");
    ls_json_append_string(&f->text, s->category);
    ls_text_append(&f->text, ",\"ts\":%lld.%03lld,\"dur\":%lld.%03lld,\"args\":{%s}}",
                   (long long)(s->begin_ns / 1000), (long long)(s->begin_ns % 1000),
                   (long long)(ns / 1000), (long long)(ns % 1000), s->args);
    return flush(f, FLUSH_BYTES);
}

ls_status ls_trace_file_commit(ls_trace_file *f) {
    ls_text_append(&f->text, "\n]}\n");
    ls_status status = flush(f, 0);
    if (status == LS_OK) {
        status = ls_file_writer_commit(f->writer);
        f->writer = NULL;
    }
    ls_trace_file_abort(f);
    return status;
}

void ls_trace_file_abort(ls_trace_file *f) {
    if (!f) return;
    ls_file_writer_abort(f->writer);
    ls_text_deinit(&f->text);
    ls_free(f);
}
