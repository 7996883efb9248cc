#include "train/bound.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"

/* Written in pieces: the state fills memory already. */
enum { PROBE_BYTES = 32 << 20, PIECE_BYTES = 1 << 20 };
/* What was measured once comes again within half as much: other work on the machine, a disk that is also read. */
static const double measured_factor = 1.5;
/* A probe is short: a disk's own cache may take it all, and what it takes then is several times slower. */
static const double probed_factor = 3;
/* Agreement of the ranks, syncs of folders, the process's end. */
static const double fixed_seconds = 1;
/* A new line is worth it when the bound grew by a tenth or shrank by a third. */
static const double grown = 1.1, shrunk = 0.67;
static const double unwritable_bytes_per_second = 20e6;

static ls_status count_save(const ls_session *s, int64_t *out) {
    ls_arena *arena = NULL;
    ls_plan_part *parts;
    int n;
    LS_TRY(ls_arena_create(&arena));
    const ls_status status = ls_plan_parts(s->train_plan, ls_comm_rank(s->comm), arena, &parts, &n);
    *out = 0;
    for (int i = 0; status == LS_OK && i < n; i++) *out += (int64_t)ls_type_bytes(&parts[i].whole);
    ls_arena_destroy(arena);
    return status;
}

/* Every rank takes its rows of a round. */
static ls_status count_rounds(ls_session *s, double *out) {
    const ls_train_config *c = &s->config;
    const int64_t rows = ls_session_eval_rows(c);
    int64_t n_windows;
    *out = 0;
    const ls_split part = ls_data_watched_part(c);
    if (c->eval_every == 0 || !s->eval || !ls_data_has_part(c, part)) return LS_OK;
    LS_TRY(ls_source_eval_begin(s->source, part, rows, &n_windows));
    if (c->eval_windows > 0 && c->eval_windows < n_windows) n_windows = c->eval_windows;
    *out = ceil((double)n_windows / (double)(rows * ls_comm_size(s->comm)));
    return LS_OK;
}

ls_status ls_bound_init(ls_bound *b, ls_session *session) {
    *b = (ls_bound){0};
    if (!session) return LS_OK;
    const ls_train_config *c = &session->config;
    b->notice_seconds = c->notice_seconds;
    b->saves_in_background = c->save_every > 0 && c->save_mode == LS_SAVE_BACKGROUND;
    b->lanes_per_rank = (double)c->lanes / (double)ls_comm_size(session->comm);
    LS_TRY(count_save(session, &b->save_bytes));
    return count_rounds(session, &b->eval_rounds);
}

void ls_bound_add_step(ls_bound *b, double seconds) {
    if (seconds > b->step_seconds) b->step_seconds = seconds;
    if (!b->eval_is_measured)
        b->eval_seconds = b->eval_rounds * b->step_seconds / b->lanes_per_rank / 2;
}

void ls_bound_add_evaluation(ls_bound *b, double seconds) {
    if (!b->eval_is_measured || seconds > b->eval_seconds) b->eval_seconds = seconds;
    b->eval_is_measured = 1;
}

void ls_bound_add_save(ls_bound *b, int64_t written_bytes, double seconds) {
    /* Too little to tell: the rest was linked. */
    if (written_bytes < b->save_bytes / 2 || written_bytes == 0) return;
    const double whole = seconds * fmax(1, (double)b->save_bytes / (double)written_bytes);
    b->save_seconds = whole;
    b->save_is_measured = 1;
}

static ls_status write_probe(const char *path, int64_t bytes, double *seconds_out) {
    ls_file *file = NULL;
    void *data = ls_alloc(PIECE_BYTES);
    if (!data) return LS_ERR_NO_MEMORY;
    const double start = ls_clock_seconds();
    ls_status status = ls_file_create(path, bytes, &file);
    for (int64_t at = 0; status == LS_OK && at < bytes; at += PIECE_BYTES) {
        const int64_t left = bytes - at;
        status = ls_file_pwrite(file, data, (size_t)(left < PIECE_BYTES ? left : PIECE_BYTES), at);
    }
    if (status == LS_OK) status = ls_file_sync(file);
    *seconds_out = ls_clock_seconds() - start;
    ls_file_close(file);
    (void)unlink(path);
    ls_free(data);
    return status;
}

void ls_bound_probe(ls_bound *b, const char *folder) {
    const int64_t bytes = b->save_bytes < PROBE_BYTES ? b->save_bytes : PROBE_BYTES;
    /* A name that ls_ckpt_sweep removes, should this process be killed now. */
    char *path = ls_format("%s/step-probe.tmp.%ld", folder, (long)getpid());
    double seconds = 0;
    b->save_seconds = (double)b->save_bytes / unwritable_bytes_per_second;
    if (path && bytes > 0 && write_probe(path, bytes, &seconds) == LS_OK)
        b->save_seconds = seconds * (double)b->save_bytes / (double)bytes;
    else
        ls_error_clear();
    ls_free(path);
}

double ls_bound_seconds(const ls_bound *b) {
    const double save = b->save_seconds * (b->save_is_measured ? measured_factor : probed_factor);
    return fixed_seconds + measured_factor * (b->step_seconds + b->eval_seconds) +
           save * (b->saves_in_background ? 2 : 1);
}

/* Of the largest part, what makes it smaller. */
static const char *advise(const ls_bound *b) {
    const double save = b->save_seconds * (b->saves_in_background ? 2 : 1);
    if (save >= b->step_seconds && save >= b->eval_seconds)
        return b->saves_in_background
                   ? "a faster disk for `out`, more hosts that write, or save_mode: wait"
                   : "a faster disk for `out`, or more hosts that write";
    if (b->eval_seconds >= b->step_seconds) return "a smaller eval_windows";
    return "more ranks, or a smaller batch";
}

static void print_line(ls_bound *b) {
    const double seconds = ls_bound_seconds(b);
    if (b->told == 0 && b->notice_seconds > 0 && seconds > b->notice_seconds)
        ls_log(LS_LOG_WARN,
               "notice_seconds is %g, but from SIGTERM until all is saved it may take %.1f s; what "
               "would help most: %s",
               b->notice_seconds, seconds, advise(b));
    if (b->told > 0 && seconds < grown * b->told && seconds > shrunk * b->told) return;
    ls_log(LS_LOG_INFO,
           "from SIGTERM until all is saved it takes at most %.1f s (step %.2f s, evaluation %.2f "
           "s, save of %.3f GB %.2f s%s%s; with reserves)",
           seconds, b->step_seconds, b->eval_seconds, (double)b->save_bytes / 1e9, b->save_seconds,
           b->save_is_measured ? "" : " by a probe of the disk",
           b->saves_in_background ? ", one under way as much again" : "");
    b->told = seconds;
}

ls_status ls_bound_tell(ls_bound *b, ls_recorder *recorder, int64_t step) {
    char *members = ls_format(
        "\"seconds\":%.3f,\"step_seconds\":%.4f,\"eval_seconds\":%.4f,\"save_seconds\":%.4f,"
        "\"save_bytes\":%lld,\"save_measured\":%s,\"notice_seconds\":%g",
        ls_bound_seconds(b), b->step_seconds, b->eval_seconds, b->save_seconds,
        (long long)b->save_bytes, b->save_is_measured ? "true" : "false", b->notice_seconds);
    if (!members) return LS_ERR_NO_MEMORY;
    print_line(b);
    const ls_status status = ls_recorder_record(recorder, "bound", step, members);
    ls_free(members);
    return status;
}
