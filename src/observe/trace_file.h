/* Timelines in the Trace Event Format (JSON object form), which ui.perfetto.dev and chrome://tracing open. Spans are complete
 * events ("ph":"X"); on one thread they must nest, as the viewers ask for. Times are given in nanoseconds and printed in microseconds with
 * three digits, so that rounding never makes two spans cross. The file is written atomically, piece by piece. Local. */
#ifndef LS_OBSERVE_TRACE_FILE_H
#define LS_OBSERVE_TRACE_FILE_H
#include "base/alloc.h"
#include "lockstep/status.h"

typedef struct ls_trace_file ls_trace_file;

typedef struct ls_trace_span {
    const char *name, *category;
    int pid, tid;
    int64_t begin_ns, end_ns;
    const char *args; /* members of a JSON object, "\"flops\":8"; "" for none */
} ls_trace_span;

/* `about`: members of the file's "otherData" object. */
LS_API ls_status ls_trace_file_open(const char *path, const char *about, ls_trace_file **out);
/* Names as the viewer shows them; processes stand in the order of pid. */
LS_API ls_status ls_trace_file_process(ls_trace_file *file, int pid, const char *name);
LS_API ls_status ls_trace_file_thread(ls_trace_file *file, int pid, int tid, const char *name);
LS_API ls_status ls_trace_file_span(ls_trace_file *file, const ls_trace_span *span);
/* Completes the file and frees `file`, also on failure; without it ls_trace_file_abort leaves nothing. */
LS_API ls_status ls_trace_file_commit(ls_trace_file *file);
LS_API void ls_trace_file_abort(ls_trace_file *file); /* NULL is fine */

/* Appends `text` as a JSON string, quotes and all. */
LS_API void ls_json_append_string(ls_text *out, const char *text);

#endif
