/* Where a profile is kept, whose it is, and the roofs that follow from it. */
#include "plan/cost/machine.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/config.h"
#include "base/cpu.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/thread.h"

const char *const ls_level_names[] = {
#define LS_LEVEL_NAME(upper, lower) #lower,
    LS_LEVEL_MAP(LS_LEVEL_NAME)
#undef LS_LEVEL_NAME
        NULL};
const char *const ls_stream_names[] = {
#define LS_STREAM_NAME(upper, lower) #lower,
    LS_STREAM_MAP(LS_STREAM_NAME)
#undef LS_STREAM_NAME
        NULL};

void ls_machine_describe(ls_machine *m) {
    snprintf(m->cpu, sizeof m->cpu, "%s", ls_cpu_name());
    snprintf(m->isa, sizeof m->isa, "%s", ls_isa_name(ls_cpu_isa()));
    snprintf(m->version, sizeof m->version, "%s", LS_VERSION);
    m->threads = ls_cpu_count();
    m->cache_bytes[LS_LEVEL_L2] = (double)ls_cpu_cache_bytes(2);
    m->cache_bytes[LS_LEVEL_L3] = (double)ls_cpu_cache_bytes(3);
}

ls_status ls_machine_default_path(int threads, char **out) {
    char key[128];
    const char *cache = ls_config_env("XDG_CACHE_HOME"), *home = ls_config_env("HOME");
    const int n = snprintf(key, sizeof key, "%s, %d threads", ls_cpu_name(),
                           threads ? threads : ls_cpu_count());
    const unsigned long long hash = ls_xxh3(key, (size_t)n, 0);
    char *path;
    /* The specification has relative paths ignored. */
    if (cache && cache[0] == '/')
        path = ls_format("%s/lockstep/machine-%016llx.json", cache, hash);
    else if (home && home[0] == '/')
        path = ls_format("%s/.cache/lockstep/machine-%016llx.json", home, hash);
    else
        return LS_FAIL(LS_ERR_NOT_FOUND,
                       "no folder for the machine profile: neither XDG_CACHE_HOME nor HOME is an "
                       "absolute path; name a file with --out, and give it to plan with --machine");
    if (!path) return LS_ERR_NO_MEMORY;
    *out = path;
    return LS_OK;
}

ls_status ls_machine_check(const ls_machine *m) {
    ls_machine here = {0};
    ls_machine_describe(&here);
    if (strcmp(m->cpu, here.cpu) == 0 && m->threads == here.threads &&
        strcmp(m->isa, here.isa) == 0)
        return LS_OK;
    return LS_FAIL(LS_ERR_UNSUPPORTED,
                   "the profile is of another machine: %s, %d threads, instruction set %s; this is "
                   "%s, %d threads, %s; `lockstep bench` measures this one",
                   m->cpu, m->threads, m->isa, here.cpu, here.threads, here.isa);
}

static ls_status load_from(const char *path, ls_machine *out) {
    if (!ls_path_exists(path))
        return LS_FAIL(LS_ERR_NOT_FOUND,
                       "this machine has no profile (%s); `lockstep bench` measures one in some "
                       "twenty seconds",
                       path);
    LS_TRY(ls_machine_read(path, out));
    const ls_status status = ls_machine_check(out);
    return status == LS_OK ? LS_OK : ls_error_prefix(status, "%s", path);
}

ls_status ls_machine_load(ls_machine *out) {
    char *path = NULL;
    LS_TRY(ls_machine_default_path(0, &path));
    ls_machine *m = ls_alloc(sizeof *m);
    ls_status status = m ? load_from(path, m) : LS_ERR_NO_MEMORY;
    if (status == LS_OK) *out = *m;
    ls_free(m);
    ls_free(path);
    return status;
}

/* --- roofs ----------------------------------------------------------------------------------------------------------- */

/* Between the figure of one thread and that of all. */
static double interpolate(const ls_machine *m, double one, double all, int threads) {
    if (one == 0) return all;
    if (all == 0 || m->threads <= 1 || threads <= 1) return one;
    if (threads >= m->threads) return all;
    return one + (all - one) * (double)(threads - 1) / (double)(m->threads - 1);
}

static double best_gemm(const ls_machine *m, const char *dtype, int threads) {
    double best = 0;
    for (int i = 0; i < m->n_gemm; i++) {
        const ls_machine_gemm *g = &m->gemm[i];
        if (g->from != LS_LEVEL_REGISTERS || g->threads != threads || strcmp(g->dtype, dtype) != 0)
            continue;
        if (g->rate.median > best) best = g->rate.median;
    }
    return best;
}

static double gemm_rate(const ls_machine *m, const char *dtype, int threads) {
    return interpolate(m, best_gemm(m, dtype, 1), best_gemm(m, dtype, m->threads), threads);
}

double ls_machine_flops(const ls_machine *m, ls_dtype dtype, int threads) {
    const double wide = gemm_rate(m, "f32", threads);
    const double own = dtype == LS_DTYPE_BF16 ? gemm_rate(m, "bf16", threads) : 0;
    return own > wide ? own : wide;
}

static double best_stream(const ls_machine *m, ls_level level, int threads) {
    double best = 0;
    for (int i = 0; i < m->n_memory; i++) {
        const ls_machine_memory *row = &m->memory[i];
        if (row->level == level && row->threads == threads && row->rate.median > best)
            best = row->rate.median;
    }
    return best;
}

ls_level ls_machine_level_of(const ls_machine *m, double bytes, int threads) {
    const int own = threads < m->threads ? threads : m->threads;
    if (bytes <= m->cache_bytes[LS_LEVEL_L2] * own / 2) return LS_LEVEL_L2;
    if (bytes <= m->cache_bytes[LS_LEVEL_L3] / 2) return LS_LEVEL_L3;
    return LS_LEVEL_DRAM;
}

double ls_machine_bandwidth(const ls_machine *m, double bytes, int threads) {
    double rate = 0;
    for (int level = (int)ls_machine_level_of(m, bytes, threads);
         rate == 0 && level < LS_LEVEL_COUNT; level++)
        rate = interpolate(m, best_stream(m, (ls_level)level, 1),
                           best_stream(m, (ls_level)level, m->threads), threads);
    return rate;
}

double ls_machine_roof_seconds(const ls_machine *m, ls_dtype dtype, double flops, double bytes,
                               int threads) {
    const double rate = ls_machine_flops(m, dtype, threads);
    const double bandwidth = ls_machine_bandwidth(m, bytes, threads);
    const double compute = rate > 0 ? flops / rate : 0;
    const double move = bandwidth > 0 ? bytes / bandwidth : 0;
    return compute > move ? compute : move;
}

double ls_machine_efficiency(const ls_machine *m, const char *kind) {
    for (int i = 0; i < m->n_kernel; i++)
        if (strcmp(m->kernel[i].kind, kind) == 0) return m->kernel[i].efficiency;
    return 0;
}

static int distance(int a, int b) {
    return a > b ? a - b : b - a;
}

/* Ranks and transport whose figures come nearest. */
static const ls_machine_exchange *nearest_exchange(const ls_machine *m, const char *op, int ranks) {
    const ls_machine_exchange *best = NULL;
    for (int i = 0; i < m->n_exchange; i++) {
        const ls_machine_exchange *e = &m->exchange[i];
        if (strcmp(e->op, op) != 0 || e->hosts > 1) continue;
        if (!best || distance(e->ranks, ranks) < distance(best->ranks, ranks)) best = e;
    }
    return best;
}

double ls_machine_exchange_seconds(const ls_machine *m, const char *op, int ranks, double bytes) {
    const ls_machine_exchange *like = nearest_exchange(m, op, ranks), *least = NULL, *most = NULL;
    for (int i = 0; like && i < m->n_exchange; i++) {
        const ls_machine_exchange *e = &m->exchange[i];
        if (strcmp(e->op, op) != 0 || e->ranks != like->ranks || e->hosts != like->hosts ||
            strcmp(e->transport, like->transport) != 0)
            continue;
        if (!least || e->bytes < least->bytes) least = e;
        if (!most || e->bytes > most->bytes) most = e;
    }
    if (!least) return 0;
    const double more = most->bytes - least->bytes;
    const double slope = most->seconds.median - least->seconds.median;
    const double latency = least->seconds.median;
    return more > 0 && slope > 0 ? latency + bytes * slope / more : latency;
}
