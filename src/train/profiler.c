/* The window of recorded steps, the gathering of what the ranks recorded, the files. */
#include "train/profiler.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/fs.h"
#include "base/log.h"

/* Events of a step besides its program's: the step, an evaluation, a save. */
enum { HOST_EVENTS = 8 };
enum { PAGE_EVENTS = (LS_COMM_EXCHANGE_BYTES - 8) / (int)sizeof(ls_trace_event) };

/* Events travel in pages, in as many rounds as the rank with the most of them needs. */
typedef struct page {
    int64_t n;
    ls_trace_event events[PAGE_EVENTS];
} page;

/* What a rank says of itself first. */
typedef struct head {
    int64_t n, n_dropped, now_ns;
} head;

struct ls_profiler {
    ls_session *session;
    const struct ls_config *values;
    ls_trace *trace;
    char *dir;
    int64_t first, last;           /* steps of this process, from 1, that are recorded */
    int64_t n_begun;               /* steps of this process so far */
    int64_t first_step, last_step; /* recorded, from 0; -1 = none */
    int64_t begun_ns;
    int done;
    ls_roofs roofs;
    head *heads;           /* one per rank */
    page *pages;           /* one per rank */
    ls_rank_events *ranks; /* the first rank's */
};

static ls_status make_profiler(ls_session *s, const ls_train_options *o, ls_profiler *p) {
    const ls_train_config *c = &s->config;
    const int size = ls_comm_size(s->comm);
    const int64_t per_step = ls_trace_run_events(s->train) + HOST_EVENTS;
    p->first = c->profile_first;
    p->last = c->profile_first + c->profile_steps - 1;
    p->first_step = p->last_step = -1;
    p->dir = o->profile_dir && *o->profile_dir ? ls_strdup(o->profile_dir)
                                               : ls_format("%s/profile", c->out);
    p->heads = ls_alloc(sizeof *p->heads * (size_t)size);
    p->pages = ls_alloc(sizeof *p->pages * (size_t)size);
    p->ranks = ls_alloc(sizeof *p->ranks * (size_t)size);
    if (!p->dir || !p->heads || !p->pages || !p->ranks) return LS_ERR_NO_MEMORY;
    return ls_trace_create(c->profile_events ? c->profile_events : per_step * c->profile_steps,
                           &p->trace);
}

ls_status ls_profiler_create(ls_session *session, const struct ls_config *values,
                             const ls_train_options *options, ls_profiler **out) {
    if (!options->profile) return LS_OK;
    ls_profiler *p = ls_alloc(sizeof *p);
    ls_status status = p ? LS_OK : LS_ERR_NO_MEMORY;
    if (p) {
        p->session = session;
        p->values = values;
        status = make_profiler(session, options, p);
    }
    status = ls_comm_agree(session->comm, "make room for the profile", status);
    if (status != LS_OK) {
        ls_profiler_destroy(p);
        return status;
    }
    *out = p;
    return LS_OK;
}

void ls_profiler_destroy(ls_profiler *p) {
    if (!p) return;
    for (int r = 0; p->ranks && r < ls_comm_size(p->session->comm); r++)
        ls_free((void *)p->ranks[r].events);
    p->session->trace = NULL;
    ls_trace_destroy(p->trace);
    ls_free(p->dir);
    ls_free(p->heads);
    ls_free(p->pages);
    ls_free(p->ranks);
    ls_free(p);
}

void ls_profiler_begin_step(ls_profiler *p, int64_t step) {
    if (!p || p->done || ++p->n_begun < p->first) return;
    if (p->n_begun == p->first) ls_pool_measure(p->session->pool, 1);
    if (p->first_step < 0) p->first_step = step;
    p->last_step = step;
    p->session->trace = p->trace;
    p->session->trace_step = step;
    p->begun_ns = ls_trace_now();
}

/* --- everybody's events to the first rank ---------------------------------------------------------------------------- */

static ls_status gather_round(ls_profiler *p, int64_t first, int64_t *kept) {
    ls_comm *comm = p->session->comm;
    int64_t n;
    page mine = {0};
    const ls_trace_event *events = ls_trace_events(p->trace, &n);
    for (int64_t i = first; i < n && mine.n < PAGE_EVENTS; i++) mine.events[mine.n++] = events[i];
    LS_TRY(ls_comm_exchange(comm, "the profile's events", &mine, sizeof mine, p->pages));
    for (int r = 0; r < ls_comm_size(comm) && ls_comm_rank(comm) == 0; r++) {
        ls_trace_event *to = (ls_trace_event *)p->ranks[r].events;
        const int64_t offset = p->heads[r].now_ns; /* from this rank's time to the first one's */
        for (int64_t i = 0; i < p->pages[r].n; i++) {
            to[kept[r]] = p->pages[r].events[i];
            to[kept[r]].begin_ns -= offset;
            to[kept[r]++].end_ns -= offset;
        }
        p->ranks[r].n = kept[r];
    }
    return LS_OK;
}

/* Ranks leave an exchange at about the same time: the difference of their clocks there is that of the hosts. On one host there is
 * one clock. Afterwards heads[r].now_ns is what is to be taken off a rank's times. */
static void align_clocks(ls_profiler *p) {
    ls_comm *comm = p->session->comm;
    const int64_t base = p->heads[0].now_ns;
    for (int r = 0; r < ls_comm_size(comm); r++) {
        const int near = strcmp(ls_comm_host(comm, r), ls_comm_host(comm, 0)) == 0;
        p->heads[r].now_ns = near ? 0 : p->heads[r].now_ns - base;
    }
}

static ls_status make_room(ls_profiler *p) {
    for (int r = 0; r < ls_comm_size(p->session->comm); r++) {
        p->ranks[r].events = ls_alloc(sizeof(ls_trace_event) * (size_t)(p->heads[r].n + 1));
        p->ranks[r].n_dropped = p->heads[r].n_dropped;
        if (!p->ranks[r].events) return LS_ERR_NO_MEMORY;
    }
    return LS_OK;
}

static ls_status gather_pages(ls_profiler *p) {
    const int size = ls_comm_size(p->session->comm);
    int64_t most = 0;
    int64_t *kept = ls_alloc(sizeof *kept * (size_t)size);
    for (int r = 0; r < size; r++)
        if (p->heads[r].n > most) most = p->heads[r].n;
    ls_status status = kept ? LS_OK : LS_ERR_NO_MEMORY;
    if (status == LS_OK && ls_comm_rank(p->session->comm) == 0) status = make_room(p);
    status = ls_comm_agree(p->session->comm, "make room for everybody's profile", status);
    for (int64_t first = 0; status == LS_OK && first < most; first += PAGE_EVENTS)
        status = gather_round(p, first, kept);
    ls_free(kept);
    return status;
}

static ls_status gather(ls_profiler *p) {
    ls_comm *comm = p->session->comm;
    head mine = {.n_dropped = ls_trace_dropped(p->trace)};
    (void)ls_trace_events(p->trace, &mine.n);
    LS_TRY(ls_comm_agree(comm, "end the profiled steps", LS_OK));
    mine.now_ns = ls_trace_now();
    LS_TRY(ls_comm_exchange(comm, "the profile's sizes", &mine, sizeof mine, p->heads));
    align_clocks(p);
    return gather_pages(p);
}

/* --- the first rank's files ------------------------------------------------------------------------------------------ */

static ls_status write_text(const char *dir, const char *name, ls_text *text) {
    char *path = ls_format("%s/%s", dir, name);
    ls_status status = path ? text->status : LS_ERR_NO_MEMORY;
    if (status == LS_OK) status = ls_file_write_atomic(path, text->data, text->size);
    ls_free(path);
    ls_text_deinit(text);
    return status;
}

static ls_status write_files(const ls_profiler *p, const ls_profile_source *source,
                             const ls_profile *profile) {
    ls_text json = {0}, html = {0};
    LS_TRY(ls_dir_make(p->dir));
    char *path = ls_format("%s/trace.json", p->dir);
    const ls_status status = path ? ls_profile_write_trace(source, path) : LS_ERR_NO_MEMORY;
    ls_free(path);
    LS_TRY(status);
    (void)ls_profile_print_json(profile, &json);
    LS_TRY(write_text(p->dir, "profile.json", &json));
    (void)ls_profile_print_html(profile, &html);
    return write_text(p->dir, "profile.html", &html);
}

/* The lines for the terminal. */
static ls_status tell(const ls_profiler *p, const ls_profile *profile, ls_train_result *result) {
    int indices[LS_PROFILE_ATTENTION];
    ls_text text = {0};
    const int n = ls_profile_find_attention(profile, indices);
    if (n < LS_PROFILE_ATTENTION)
        ls_text_append(&text, "profile: %d class%s of ops below a roof\n", n, n == 1 ? "" : "es");
    for (int i = 0; i < n; i++) {
        ls_text_append(&text, "%d. ", i + 1);
        ls_profile_sentence(profile, indices[i], &text);
        ls_text_append(&text, "\n");
    }
    const ls_status status = text.status;
    if (status == LS_OK) {
        snprintf(result->profile_text, sizeof result->profile_text, "%s", text.data);
        snprintf(result->profile, sizeof result->profile, "%s", p->dir);
    }
    ls_text_deinit(&text);
    return status;
}

static ls_status write_profile(const ls_profiler *p, ls_train_result *result) {
    const ls_profile_source source = {.session = p->session,
                                      .values = p->values,
                                      .ranks = p->ranks,
                                      .n_ranks = ls_comm_size(p->session->comm),
                                      .roofs = &p->roofs,
                                      .first_step = p->first_step,
                                      .last_step = p->last_step};
    ls_arena *arena = NULL;
    ls_profile profile = {0};
    LS_TRY(ls_arena_create(&arena));
    ls_status status = ls_profile_make(&source, arena, &profile);
    if (status == LS_OK) status = write_files(p, &source, &profile);
    if (status == LS_OK) status = tell(p, &profile, result);
    ls_arena_destroy(arena);
    return status;
}

static int count_neighbours(ls_comm *comm) {
    const char *mine = ls_comm_host(comm, ls_comm_rank(comm));
    int n = 0;
    for (int r = 0; r < ls_comm_size(comm); r++) n += strcmp(ls_comm_host(comm, r), mine) == 0;
    return n;
}

static ls_status finish(ls_profiler *p, ls_train_result *result) {
    ls_session *s = p->session;
    p->done = 1;
    s->trace = NULL;
    ls_pool_measure(s->pool, 0);
    if (p->first_step < 0) {
        if (ls_comm_rank(s->comm) == 0)
            ls_log(LS_LOG_WARN,
                   "no profile: this process made %lld step%s, and the first to be recorded is the "
                   "%lldth (profile.first)",
                   (long long)p->n_begun, p->n_begun == 1 ? "" : "s", (long long)p->first);
        return LS_OK;
    }
    LS_TRY(gather(p)); /* all are here: they measure at the same time */
    ls_status status =
        ls_roofs_find(s->pool, s->config.precision, count_neighbours(s->comm), &p->roofs);
    if (status == LS_OK && ls_comm_rank(s->comm) == 0) status = write_profile(p, result);
    if (status != LS_OK && ls_comm_rank(s->comm) == 0)
        ls_log(LS_LOG_WARN, "the profile is lost and the run goes on: %s", ls_error_message());
    ls_error_clear();
    return ls_comm_agree(s->comm, "write the profile", LS_OK);
}

ls_status ls_profiler_end_step(ls_profiler *p, int ends, ls_train_result *result,
                               double *aside_seconds) {
    if (!p || p->done) return LS_OK;
    if (p->session->trace)
        ls_trace_add_span(p->trace, LS_TRACE_STEP, p->session->trace_step, p->begun_ns);
    if (!ends && p->n_begun < p->last) return LS_OK;
    const double begun = ls_clock_seconds();
    const ls_status status = finish(p, result);
    *aside_seconds += ls_clock_seconds() - begun;
    return status;
}
