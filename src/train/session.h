/* A session: configuration made whole by the data, plans, programs. The pieces that train, eval and generate share. */
#ifndef LS_TRAIN_SESSION_H
#define LS_TRAIN_SESSION_H
#include "base/thread.h"
#include "exec/trace.h"
#include "keep/keep.h"
#include "lockstep/train.h"
#include "train/source.h"

/* See train/start.h. */
typedef struct ls_start_watch {
    ls_start_times times;
    double last; /* mark */
} ls_start_watch;

typedef struct ls_session {
    ls_train_config config;  /* model completed from the data */
    ls_source *source;       /* NULL for generation */
    ls_tokenizer *tokenizer; /* generation's own */
    ls_comm *comm;           /* NULL: one rank */
    ls_keep *keep;           /* memory that outlives this process; NULL without recover.copies */
    ls_device *device;
    ls_pool *pool;
    ls_plan *train_plan, *eval_plan;
    ls_program *train, *eval; /* eval shares train's weights when both are there */
    ls_trace *trace;          /* of the step at hand; NULL when it is not recorded */
    int64_t trace_step;
    ls_start_watch start;
} ls_session;

enum { LS_SESSION_TRAIN = 1, LS_SESSION_EVAL = 2 };

/* Opens the data and makes what `parts` asks for. Persistent values are not drawn yet. */
ls_status ls_session_open(ls_session *session, const ls_train_config *config, ls_comm *comm,
                          int parts);
void ls_session_close(ls_session *session);
/* Rows (sequences, images) of one evaluation run. */
int64_t ls_session_eval_rows(const ls_train_config *config);
/* Does a run of this configuration ever evaluate? */
int ls_train_evaluates(const ls_train_config *config);
/* Device and pool only, for generation. */
ls_status ls_session_open_device(ls_session *session);
/* Collective. Mean loss over (at most max_windows of, 0 = all) a part of the data. */
ls_status ls_session_evaluate(ls_session *session, ls_split part, int64_t max_windows,
                              ls_eval_result *out);

#endif
