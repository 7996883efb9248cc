/* `lockstep train --profile`: a few steps are recorded on every rank, the first rank writes what they show. Changes no result.
 *
 * trace.json (Trace Event Format), profile.json and profile.html, in options.profile_dir or <out>/profile. What cannot be written is
 * told, and the run goes on. Collective where it is said: every rank calls the same at the same place. */
#ifndef LS_TRAIN_PROFILER_H
#define LS_TRAIN_PROFILER_H
#include "exec/trace.h"
#include "observe/profile.h"
#include "train/roofs.h"
#include "train/session.h"

typedef struct ls_profiler ls_profiler;

/* Collective. *out stays NULL when options.profile is 0; the others take NULL. */
ls_status ls_profiler_create(ls_session *session, const struct ls_config *values,
                             const ls_train_options *options, ls_profiler **out);
void ls_profiler_destroy(ls_profiler *profiler);
/* Around a step, whatever follows it included; `step` is its number from 0. The last steps' end, or that of a run that ends before,
 * is Collective and writes. Sets result->profile and result->profile_text on the first rank; adds the time that it took to *aside_seconds. */
void ls_profiler_begin_step(ls_profiler *profiler, int64_t step);
ls_status ls_profiler_end_step(ls_profiler *profiler, int ends, ls_train_result *result,
                               double *aside_seconds);

/* --- its parts --- */

/* What one rank recorded, in the first rank's time. */
typedef struct ls_rank_events {
    const ls_trace_event *events;
    int64_t n, n_dropped;
} ls_rank_events;

typedef struct ls_profile_source {
    const ls_session *session;
    const struct ls_config *values;
    const ls_rank_events *ranks;
    int n_ranks;
    const ls_roofs *roofs;
    int64_t first_step, last_step; /* that were recorded, from 0 */
} ls_profile_source;

/* All memory is the arena's. */
ls_status ls_profile_make(const ls_profile_source *source, ls_arena *arena, ls_profile *out);
/* Classes of the plan's nodes and of its lane sums, with the time of the events of the steps marked in whole[step - first_step].
 * out->n_steps and step_median_seconds are known. */
ls_status ls_profile_make_classes(const ls_profile_source *source, const char *whole, int n_whole,
                                  ls_arena *arena, ls_profile *out);
ls_status ls_profile_make_strips(const ls_profile_source *source, int64_t step, ls_arena *arena,
                                 ls_profile *out);
/* trace.json: all events of all ranks. */
ls_status ls_profile_write_trace(const ls_profile_source *source, const char *path);

/* Texts of a node: "f32[64, 256] x f32[256, 256] -> f32[64, 256] transpose_b=1". Arena memory. */
ls_status ls_profile_node_types(const ls_sig *sig, ls_arena *arena, const char **out);
void ls_profile_node_cost(const ls_sig *sig, ls_cost *out);
/* Of a segment: "forward". */
const char *ls_profile_phase_name(const ls_plan *plan, int segment);

#endif
