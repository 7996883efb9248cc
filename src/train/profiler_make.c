/* The profile of recorded events: whole steps, phases, memory, and what the page says of the run. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "base/cpu.h"
#include "train/profiler.h"

#ifdef __clang__
static const char compiler[] = "clang " __clang_version__;
#else
static const char compiler[] = "gcc " __VERSION__;
#endif

/* Rows of the table of phases: the kinds of segment, then these. */
enum {
    PHASE_FEED = 6,
    PHASE_SUMS,
    PHASE_MESSAGES,
    PHASE_EVALUATE,
    PHASE_SAVE,
    PHASE_REST,
    N_PHASES
};
static const char *const phase_words[N_PHASES] = {"prepare (low-precision copies)",
                                                  "forward",
                                                  "backward",
                                                  "backward of weights",
                                                  "start of exchanges",
                                                  "update",
                                                  "data",
                                                  "lane sums",
                                                  "messages between stages",
                                                  "evaluation",
                                                  "save",
                                                  "around the program (metrics, votes)"};

typedef struct sums {
    char *whole; /* [n]: step first_step + i was recorded from beginning to end on every rank */
    int n;
    double ns[N_PHASES]; /* of whole steps, all ranks together */
    double step_ns, kernel_ns, run_ns;
} sums;

static int64_t find_step(const ls_rank_events *rank, int64_t step) {
    for (int64_t i = 0; i < rank->n; i++)
        if (rank->events[i].kind == LS_TRACE_STEP && rank->events[i].step == step) return i;
    return -1;
}

static ls_status find_whole(const ls_profile_source *s, ls_arena *arena, sums *out) {
    out->n = (int)(s->last_step - s->first_step + 1);
    out->whole = ls_arena_alloc(arena, (size_t)out->n + 1);
    if (!out->whole) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < out->n; i++) {
        out->whole[i] = 1;
        for (int r = 0; r < s->n_ranks; r++)
            if (find_step(&s->ranks[r], s->first_step + i) < 0) out->whole[i] = 0;
    }
    return LS_OK;
}

static int phase_of(const ls_profile_source *s, const ls_trace_event *e) {
    switch (e->kind) {
    case LS_TRACE_RUN:
        return (int)s->session->train_plan->ranks[0].segments[e->index].kind;
    case LS_TRACE_FEED:
        return PHASE_FEED;
    case LS_TRACE_ADD:
    case LS_TRACE_ROUND:
        return PHASE_SUMS;
    case LS_TRACE_SEND:
    case LS_TRACE_RECV:
        return PHASE_MESSAGES;
    case LS_TRACE_EVALUATE:
        return PHASE_EVALUATE;
    case LS_TRACE_SAVE:
        return PHASE_SAVE;
    default:
        return -1;
    }
}

static void add_event(const ls_profile_source *s, const ls_trace_event *e, sums *to) {
    const double ns = (double)(e->end_ns - e->begin_ns);
    const int phase = phase_of(s, e);
    if (phase >= 0) to->ns[phase] += ns;
    if (e->kind == LS_TRACE_STEP) to->step_ns += ns;
    if (e->kind == LS_TRACE_KERNEL) to->kernel_ns += ns;
    if (e->kind == LS_TRACE_RUN) to->run_ns += ns;
}

static void add_events(const ls_profile_source *s, sums *to) {
    double covered = 0;
    for (int r = 0; r < s->n_ranks; r++)
        for (int64_t i = 0; i < s->ranks[r].n; i++) {
            const int64_t step = s->ranks[r].events[i].step - s->first_step;
            if (step >= 0 && step < to->n && to->whole[step])
                add_event(s, &s->ranks[r].events[i], to);
        }
    for (int i = 0; i < PHASE_REST; i++) covered += to->ns[i];
    to->ns[PHASE_REST] = fmax(0, to->step_ns - covered);
}

/* Of whole steps on every rank. */
static ls_status find_median_step(const ls_profile_source *s, const sums *from, ls_profile *out) {
    const int64_t most = (int64_t)from->n * s->n_ranks;
    int64_t n = 0;
    double ns = 0;
    ls_profile_sample *samples = ls_alloc(sizeof *samples * (size_t)(most + 1));
    if (!samples) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < from->n; i++)
        for (int r = 0; from->whole[i] && r < s->n_ranks; r++) {
            const ls_trace_event *e =
                &s->ranks[r].events[find_step(&s->ranks[r], s->first_step + i)];
            samples[n++] = (ls_profile_sample){.rank = r, .ns = (double)(e->end_ns - e->begin_ns)};
        }
    ls_profile_add_medians(samples, n, &ns);
    out->step_median_seconds = n > 0 ? 1e-9 * ns / (double)n : 0;
    ls_free(samples);
    return LS_OK;
}

static ls_status make_phases(const sums *from, double n, ls_arena *arena, ls_profile *out) {
    ls_profile_part *parts = ls_arena_alloc(arena, sizeof *parts * N_PHASES);
    if (!parts) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < N_PHASES; i++)
        if (from->ns[i] > 0)
            parts[out->n_phases++] =
                (ls_profile_part){.name = phase_words[i],
                                  .seconds = 1e-9 * from->ns[i] / n,
                                  .share = from->step_ns > 0 ? from->ns[i] / from->step_ns : 0};
    out->phases = parts;
    return LS_OK;
}

static ls_status make_memory(const ls_plan *plan, ls_arena *arena, ls_profile *out) {
    static const char *const names[] = {
#define LS_REGION_WORD(upper, lower) #lower,
        LS_REGION_MAP(LS_REGION_WORD)
#undef LS_REGION_WORD
    };
    ls_profile_part *parts = ls_arena_alloc(arena, sizeof *parts * LS_REGION_COUNT);
    if (!parts) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < LS_REGION_COUNT; i++)
        if (plan->ranks[0].bytes[i] > 0)
            parts[out->n_memory++] =
                (ls_profile_part){.name = names[i], .bytes = (double)plan->ranks[0].bytes[i]};
    out->memory = parts;
    return LS_OK;
}

/* "batch=8, lanes=2": the keys that somebody set. */
static ls_status print_settings(const struct ls_config *values, ls_text *out) {
    json_t *list = NULL;
    if (!values) return LS_OK;
    LS_TRY(ls_config_to_json(values, &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i), *value = json_object_get(item, "value");
        const char *origin = json_string_value(json_object_get(item, "origin"));
        if (!origin || strcmp(origin, "default") == 0) continue;
        ls_text_append(out, "%s%s=", out->size ? ", " : "",
                       json_string_value(json_object_get(item, "key")));
        if (json_is_string(value))
            ls_text_append(out, "%s", json_string_value(value));
        else if (json_is_boolean(value))
            ls_text_append(out, "%s", json_is_true(value) ? "true" : "false");
        else
            ls_text_append(out, "%g", json_number_value(value));
    }
    json_decref(list);
    return out->status;
}

/* Hosts by name, each once, in the order of their ranks. */
static void print_hosts(const ls_session *s, ls_text *out) {
    const int size = ls_comm_size(s->comm);
    for (int r = 0; r < size; r++) {
        const char *host = ls_comm_host(s->comm, r);
        int is_new = 1;
        for (int k = 0; k < r && is_new; k++) is_new = strcmp(ls_comm_host(s->comm, k), host) != 0;
        if (is_new) ls_text_append(out, "%s%s", r ? ", " : "", host);
    }
}

static ls_status take_text(ls_text *text, ls_arena *arena, const char **out) {
    const ls_status status = text->status;
    char *copy = status == LS_OK ? ls_arena_strdup(arena, text->data ? text->data : "") : NULL;
    ls_text_deinit(text);
    LS_TRY(status);
    if (!copy) return LS_ERR_NO_MEMORY;
    *out = copy;
    return LS_OK;
}

static ls_status make_about(const ls_profile_source *s, const sums *from, ls_arena *arena,
                            ls_profile *out) {
    const ls_session *session = s->session;
    const ls_plan *plan = session->train_plan;
    ls_profile_pair *about = ls_arena_alloc(arena, sizeof *about * 6);
    if (!about) return LS_ERR_NO_MEMORY;
    const char *values[6] = {0};
    ls_text text[6] = {{0}};
    const int n_cpus = ls_cpu_count();
    ls_text_append(&text[0], "%s, instruction set %s, %d CPU%s usable by a rank", ls_cpu_name(),
                   ls_isa_name(ls_cpu_isa()), n_cpus, n_cpus == 1 ? "" : "s");
    ls_text_append(&text[1], "lockstep %s, %s", LS_VERSION, compiler);
    ls_text_append(&text[2], "%lld parameters, %.4g FLOP a step by the plan",
                   (long long)plan->n_parameters, plan->flops_per_step);
    ls_status status = print_settings(s->values, &text[3]);
    print_hosts(session, &text[4]);
    ls_text_append(&text[5], "%.2f %% of the step lies between the kernels of a segment",
                   from->step_ns > 0 ? 100 * (from->run_ns - from->kernel_ns) / from->step_ns : 0);
    static const char *const keys[] = {"machine",       "program", "model",
                                       "configuration", "hosts",   "launches"};
    for (int i = 0; i < 6; i++) {
        const ls_status taken = take_text(&text[i], arena, &values[i]);
        if (status == LS_OK) status = taken;
        about[i] = (ls_profile_pair){keys[i], values[i]};
    }
    out->about = about;
    out->n_about = 6;
    return status;
}

static int last_whole(const sums *s) {
    for (int i = s->n - 1; i >= 0; i--)
        if (s->whole[i]) return i;
    return -1;
}

static void count_events(const ls_profile_source *s, ls_profile *out) {
    for (int r = 0; r < s->n_ranks; r++) {
        out->n_events += s->ranks[r].n;
        out->n_dropped += s->ranks[r].n_dropped;
    }
}

static void fill_rates(const ls_profile_source *s, const sums *from, ls_profile *out) {
    const ls_session *session = s->session;
    const double n = fmax(1, (double)out->n_steps * s->n_ranks);
    out->step_seconds = 1e-9 * from->step_ns / n;
    const double busy =
        1e-9 * (from->step_ns - from->ns[PHASE_EVALUATE] - from->ns[PHASE_SAVE]) / n;
    if (!(busy > 0)) return;
    out->items_per_second = ls_source_static_count(session->source, &session->config) / busy;
    out->flops_per_second = session->train_plan->flops_per_step / busy;
}

ls_status ls_profile_make(const ls_profile_source *s, ls_arena *arena, ls_profile *out) {
    sums from = {0};
    *out = (ls_profile){.title = "Profile of a training run",
                        .first_step = s->first_step + 1,
                        .n_ranks = s->n_ranks,
                        .n_threads = ls_pool_threads(s->session->pool),
                        .items = ls_source_is_images(s->session->source) ? "images" : "tokens",
                        .roofs = s->roofs->rows,
                        .n_roofs = s->roofs->n_rows,
                        .roofs_source = s->roofs->source};
    LS_TRY(find_whole(s, arena, &from));
    for (int i = 0; i < from.n; i++) out->n_steps += from.whole[i];
    add_events(s, &from);
    count_events(s, out);
    fill_rates(s, &from, out);
    LS_TRY(find_median_step(s, &from, out));
    LS_TRY(make_phases(&from, fmax(1, (double)out->n_steps * s->n_ranks), arena, out));
    LS_TRY(make_memory(s->session->train_plan, arena, out));
    LS_TRY(make_about(s, &from, arena, out));
    LS_TRY(ls_profile_make_classes(s, from.whole, from.n, arena, out));
    const int shown = last_whole(&from);
    return shown < 0 ? LS_OK : ls_profile_make_strips(s, s->first_step + shown, arena, out);
}
