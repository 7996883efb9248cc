/* What the run loop did and when: events in a buffer that is allocated once.
 *
 * A run with ls_run_options.trace records one event per kernel, per command and one for the whole run, and allocates nothing; when the
 * buffer is full it counts what is lost. Without a trace it costs one branch per launch. Events stand in the order of their ends, so
 * what lies within comes before what holds it. Recording changes no result. Local; a trace belongs to the thread of its program. */
#ifndef LS_EXEC_TRACE_H
#define LS_EXEC_TRACE_H
#include "exec/program.h"

typedef enum ls_trace_kind {
    LS_TRACE_KERNEL,  /* node, within a RUN */
    LS_TRACE_FEED,    /* commands: see ls_command_kind */
    LS_TRACE_RUN,     /* index = segment of the rank */
    LS_TRACE_SEND,    /* index = channel */
    LS_TRACE_RECV,    /* index = channel */
    LS_TRACE_ADD,     /* index = fold of the rank */
    LS_TRACE_ROUND,   /* index = fold of the rank */
    LS_TRACE_PROGRAM, /* one ls_program_run */
    /* What the caller of the program adds: */
    LS_TRACE_EVALUATE,
    LS_TRACE_SAVE,
    LS_TRACE_STEP, /* a whole step of a run, from its beginning to the next one's */
    LS_TRACE_KIND_COUNT
} ls_trace_kind;

typedef struct ls_trace_event {
    int64_t begin_ns, end_ns; /* by ls_trace_now */
    int64_t step;             /* ls_run_options.step */
    int64_t bytes;            /* SEND, RECV, ADD, ROUND: of the message or range; else 0 */
    int64_t busy_ns;          /* KERNEL, ADD, ROUND: that the pool's other threads worked, in all */
    int32_t kind;             /* ls_trace_kind */
    int32_t index;            /* see ls_trace_kind; KERNEL: its segment; else -1 */
    int32_t node;             /* KERNEL: number in the plan's graph; else -1 */
    int32_t lane;             /* global number; -1 = none */
    int32_t slot, level;
} ls_trace_event;

LS_API ls_status ls_trace_create(int64_t capacity, ls_trace **out);
LS_API void ls_trace_destroy(ls_trace *trace); /* NULL is fine */
LS_API void ls_trace_add(ls_trace *trace, const ls_trace_event *event);
/* A span of the caller's, until now. A NULL trace records nothing. */
LS_API void ls_trace_add_span(ls_trace *trace, ls_trace_kind kind, int64_t step, int64_t begin_ns);
LS_API const ls_trace_event *ls_trace_events(const ls_trace *trace, int64_t *n_out);
LS_API int64_t ls_trace_dropped(const ls_trace *trace); /* events that found no room */
LS_API void ls_trace_clear(ls_trace *trace);
/* Monotonic, nanoseconds. */
LS_API int64_t ls_trace_now(void);
/* Events that one run of the program records. */
LS_API int64_t ls_trace_run_events(const ls_program *program);

/* For the run loop. */
ls_status ls_trace_launch(ls_program *program, ls_step *step, const ls_command *command,
                          const ls_run_options *options);
void ls_trace_add_command(ls_program *program, const ls_command *command,
                          const ls_run_options *options, int64_t begin_ns, int64_t busy_before);

#endif
