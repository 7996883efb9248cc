/* Times matmul kernels on random data, least time of several runs, against the multiply-add rate this core reaches from
 * registers. Usage: bench_matmul [isa [threads [M K N kind]]], kind one of nt nn dw. dw (x^T dy) is not timed with bytes.
 * bench_matmul isa threads step: bf16 products of GPT-2 124M as a training step runs them: weights and results take turns in memory
 * that no cache holds, with bias, activation (two results) and residual; the median, by the clock. */
#include "base/alloc.h"
#include "base/clock.h"
#include "op/matmul/matmul.h"
#include "op/op.h"
#include "op/scaled_matmul/scaled_matmul.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* On one thread CPU time: the machine may be shared. */
static double read_time(const ls_pool *pool) {
    struct timespec t;
    if (ls_pool_threads(pool) > 1) return ls_clock_seconds();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

enum { LEAST_RUNS = 3, BENCH_IN = 4, MOST_RUNS = 1000, MOST_SETS = 64 };
static const int64_t cold_bytes = (int64_t)96 << 20;
static const double least_seconds = 0.25;

typedef struct bench_case {
    int64_t m, k, n;
    const char *kind; /* "nt" x w[N,K]^T, "nn" x w[K,N], "dw" x[K,M]^T dy[K,N] */
} bench_case;

static const bench_case default_cases[] = {
    {512, 256, 1024, "nt"},  {512, 1024, 256, "nt"},   {512, 256, 2048, "nt"},
    {512, 256, 1024, "nn"},  {512, 1024, 256, "nn"},   {256, 512, 1024, "dw"},
    {1024, 512, 256, "dw"},  {4096, 256, 768, "nt"},   {4096, 256, 1024, "nt"},
    {4096, 1024, 256, "nt"}, {4096, 384, 1536, "nt"},  {4096, 768, 768, "nt"},
    {4096, 768, 3072, "nt"}, {4096, 3072, 768, "nt"},  {4096, 256, 1024, "nn"},
    {4096, 768, 3072, "nn"}, {4096, 3072, 768, "nn"},  {256, 4096, 1024, "dw"},
    {768, 4096, 768, "dw"},  {768, 4096, 3072, "dw"},  {3072, 4096, 768, "dw"},
    {2048, 4096, 256, "dw"}, {4096, 256, 2048, "nt"},  {1024, 768, 50257, "nt"},
    {256, 768, 3072, "nn"},  {256, 768, 3072, "nt"},   {256, 3072, 768, "nn"},
    {256, 3072, 768, "nt"},  {768, 256, 3072, "dw"},   {3072, 256, 768, "dw"},
    {1, 768, 3072, "nt"},    {1, 768, 3072, "nn"},     {4, 768, 3072, "nt"},
    {4, 768, 3072, "nn"},    {12, 768, 3072, "nt"},    {12, 768, 3072, "nn"},
    {16, 768, 3072, "nt"},   {16, 768, 3072, "nn"},    {24, 768, 3072, "nn"},
    {1, 768, 50257, "nt"},   {1024, 1024, 1024, "nn"},
};

/* A product of a step: its epilogue makes the second result of an activation. */
typedef struct step_case {
    bench_case product;
    int has_bias, has_residual;
    ls_activation activation;
} step_case;

static const step_case step_cases[] = {
    {{256, 768, 2304, "nn"}, 0, 0, LS_ACT_NONE},
    {{256, 768, 2304, "nn"}, 1, 0, LS_ACT_NONE},
    {{256, 768, 768, "nn"}, 1, 1, LS_ACT_NONE},
    {{256, 768, 3072, "nn"}, 0, 0, LS_ACT_NONE},
    {{256, 768, 3072, "nn"}, 1, 0, LS_ACT_GELU_TANH},
    {{256, 3072, 768, "nn"}, 1, 1, LS_ACT_NONE},
    {{256, 2304, 768, "nt"}, 0, 0, LS_ACT_NONE},
    {{256, 768, 768, "nt"}, 0, 0, LS_ACT_NONE},
    {{256, 3072, 768, "nt"}, 0, 0, LS_ACT_NONE},
    {{256, 768, 3072, "nt"}, 0, 0, LS_ACT_NONE},
    {{768, 256, 2304, "dw"}, 0, 0, LS_ACT_NONE},
    {{768, 256, 768, "dw"}, 0, 0, LS_ACT_NONE},
    {{768, 256, 3072, "dw"}, 0, 0, LS_ACT_NONE},
    {{3072, 256, 768, "dw"}, 0, 0, LS_ACT_NONE},
    {{4096, 768, 2304, "nn"}, 1, 0, LS_ACT_NONE},
    {{4096, 768, 3072, "nn"}, 1, 0, LS_ACT_GELU_TANH},
    {{4096, 3072, 768, "nn"}, 1, 1, LS_ACT_NONE},
};

static uint32_t random_state = 1;

static double draw(void) {
    random_state = random_state * 1664525u + 1013904223u;
    return (double)(random_state >> 8) / (1 << 23) - 1.0;
}

static int fill(ls_tensor *tensor, const ls_type *type) {
    *tensor = (ls_tensor){type->dtype, type->shape, ls_alloc_pages(ls_type_bytes(type) + 64)};
    if (!tensor->data) return 0;
    const int is_byte = type->dtype == LS_DTYPE_I8 || type->dtype == LS_DTYPE_U8;
    const double size = is_byte ? 127 : 1, middle = type->dtype == LS_DTYPE_U8 ? 128 : 0;
    for (int64_t i = 0; i < ls_type_count(type); i++)
        ls_tensor_set(tensor, i, middle + size * draw());
    return 1;
}

/* Least time of a launch in seconds; 0 when something failed. */
static double time_kernel(const ls_sig *sig, ls_isa isa, ls_pool *pool) {
    const ls_kernel *kernel;
    ls_tensor in[BENCH_IN], result[1];
    if (ls_kernel_choose(sig, LS_DEVICE_CPU, isa, &kernel) != LS_OK) return 0;
    const size_t ws_bytes = kernel->workspace_bytes(sig, ls_pool_threads(pool));
    void *workspace = ls_alloc_pages(ws_bytes + 64);
    if (!workspace || !fill(&result[0], &sig->out[0])) return 0;
    for (int i = 0; i < sig->n_in; i++)
        if (!fill(&in[i], &sig->in[i])) return 0;
    const ls_launch launch = {
        .sig = sig, .in = in, .out = result, .workspace = workspace, .pool = pool};
    double best = INFINITY;
    const double start = ls_clock_seconds();
    for (int i = 0; i < LEAST_RUNS || ls_clock_seconds() - start < least_seconds; i++) {
        const double t = read_time(pool);
        if (kernel->launch(&launch) != LS_OK) return 0;
        best = fmin(best, read_time(pool) - t);
    }
    ls_free_pages(workspace, ws_bytes + 64);
    for (int i = 0; i < sig->n_in; i++) ls_free_pages(in[i].data, ls_type_bytes(&sig->in[i]) + 64);
    ls_free_pages(result[0].data, ls_type_bytes(&sig->out[0]) + 64);
    return best;
}

static double rate(const bench_case *c, double seconds) {
    return seconds > 0 ? 2e-9 * (double)c->m * (double)c->k * (double)c->n / seconds : 0;
}

static double run_case(const bench_case *c, ls_dtype dtype, ls_isa isa, ls_pool *pool) {
    const int is_dw = strcmp(c->kind, "dw") == 0, is_nt = strcmp(c->kind, "nt") == 0;
    const ls_matmul_attr attr = {.transpose_a = is_dw,
                                 .transpose_b = is_nt,
                                 .out_dtype = is_dw ? (int)LS_DTYPE_F32 : -1,
                                 .alpha = 1};
    const ls_type in[2] = {
        {dtype, {2, {is_dw ? c->k : c->m, is_dw ? c->m : c->k}}},
        {dtype, {2, {is_nt ? c->n : c->k, is_nt ? c->k : c->n}}},
    };
    ls_type out[LS_MAX_OUT];
    int n_out;
    if (ls_op_matmul.infer(&attr, 2, in, &n_out, out) != LS_OK) return 0;
    const ls_sig sig = {&ls_op_matmul, &attr, 2, n_out, in, out};
    return rate(c, time_kernel(&sig, isa, pool));
}

/* Bytes by bytes to bf16. */
static double run_bytes(const bench_case *c, ls_dtype dtype, ls_isa isa, ls_pool *pool) {
    const int is_nt = strcmp(c->kind, "nt") == 0;
    const ls_scaled_matmul_attr attr = {.transpose_b = is_nt, .out_dtype = LS_DTYPE_BF16};
    const ls_type in[4] = {
        {dtype, {2, {c->m, c->k}}},
        {LS_DTYPE_I8, {2, {is_nt ? c->n : c->k, is_nt ? c->k : c->n}}},
        {LS_DTYPE_F32, {1, {c->m}}},
        {LS_DTYPE_F32, {1, {c->n}}},
    };
    ls_type out[LS_MAX_OUT];
    int n_out;
    if (ls_op_scaled_matmul.infer(&attr, 4, in, &n_out, out) != LS_OK) return 0;
    const ls_sig sig = {&ls_op_scaled_matmul, &attr, 4, n_out, in, out};
    return rate(c, time_kernel(&sig, isa, pool));
}

/* --- the rate of the tile's own instruction, from registers -------------------------------------------------------- */

#if defined(LS_X86)
typedef float vec __attribute__((vector_size(64)));
#define CHAIN(op, r) op " %0, %1, %%zmm" #r "\n\t"
#define CHAINS_A(op) CHAIN(op, 4) CHAIN(op, 5) CHAIN(op, 6) CHAIN(op, 7) CHAIN(op, 8) CHAIN(op, 9)
#define CHAINS_B(op) CHAIN(op, 10) CHAIN(op, 11) CHAIN(op, 12) CHAIN(op, 13) CHAIN(op, 14)
#define CHAINS(op)   CHAINS_A(op) CHAINS_B(op) CHAIN(op, 15)
/* 12 chains of vector multiply-adds; returns seconds for n rounds. */
__attribute__((target("avx512f,avx512bf16"))) static double time_chains(int64_t n, int pairs) {
    vec x = (vec){0} + 0.37f, y = (vec){0} + 0.91f;
    const double start = ls_clock_seconds();
    for (int64_t i = 0; i < n; i++) {
        if (pairs)
            __asm__ volatile(CHAINS("vdpbf16ps")::"v"(x), "v"(y)
                             : "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                               "xmm12", "xmm13", "xmm14", "xmm15");
        else
            __asm__ volatile(CHAINS("vfmadd231ps")::"v"(x), "v"(y)
                             : "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                               "xmm12", "xmm13", "xmm14", "xmm15");
    }
    return ls_clock_seconds() - start;
}

static double measure_peak(ls_isa isa, ls_dtype dtype) {
    if (isa < LS_ISA_AVX512) return 0;
    const int pairs = isa == LS_ISA_AVX512BF16 && dtype == LS_DTYPE_BF16;
    double best = INFINITY;
    for (int i = 0; i < 10; i++) best = fmin(best, time_chains(200000, pairs));
    return 200000.0 * 12 * 16 * (pairs ? 4 : 2) / best * 1e-9;
}
#else
static double measure_peak(ls_isa isa, ls_dtype dtype) {
    (void)isa, (void)dtype;
    return 0;
}
#endif

/* --- as a step runs them ------------------------------------------------------------------------------------------- */

typedef struct step_sets {
    ls_tensor in[MOST_SETS][BENCH_IN], out[MOST_SETS][2];
    int n;
} step_sets;

/* One operand more of every set; `is_cold` or the first one for all. */
static int fill_sets(step_sets *sets, const ls_type *type, int place, int is_out, int is_cold) {
    for (int i = 0; i < sets->n; i++) {
        ls_tensor *to = is_out ? &sets->out[i][place] : &sets->in[i][place];
        const ls_tensor *first = is_out ? &sets->out[0][place] : &sets->in[0][place];
        if (i > 0 && !is_cold) {
            *to = *first;
        } else if (i > 0) {
            *to = (ls_tensor){type->dtype, type->shape, ls_alloc_pages(ls_type_bytes(type) + 64)};
            if (!to->data) return 0;
            memcpy(to->data, first->data, ls_type_bytes(type));
        } else if (!fill(to, type)) {
            return 0;
        }
    }
    return 1;
}

static int compare_seconds(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median of launches, each with the next set. */
static double time_sets(const ls_kernel *kernel, const ls_sig *sig, const step_sets *sets,
                        ls_pool *pool) {
    static double seconds[MOST_RUNS];
    const size_t bytes = kernel->workspace_bytes(sig, ls_pool_threads(pool)) + 64;
    void *workspace = ls_alloc_pages(bytes);
    const double start = ls_clock_seconds();
    int n = 0;
    for (; workspace && n < MOST_RUNS &&
           (n < 2 * sets->n || ls_clock_seconds() - start < least_seconds);
         n++) {
        const int set = n % sets->n;
        const ls_launch launch = {.sig = sig,
                                  .in = sets->in[set],
                                  .out = (ls_tensor *)sets->out[set],
                                  .workspace = workspace,
                                  .pool = pool};
        const double begun = ls_clock_seconds();
        if (kernel->launch(&launch) != LS_OK) return 0;
        seconds[n] = ls_clock_seconds() - begun;
    }
    ls_free_pages(workspace, bytes);
    qsort(seconds, (size_t)n, sizeof *seconds, compare_seconds);
    return n ? seconds[n / 2] : 0;
}

static double run_step_case(const step_case *c, ls_isa isa, ls_pool *pool) {
    static step_sets sets;
    const bench_case *p = &c->product;
    const int is_dw = strcmp(p->kind, "dw") == 0, is_nt = strcmp(p->kind, "nt") == 0;
    const ls_matmul_attr attr = {.transpose_a = is_dw,
                                 .transpose_b = is_nt,
                                 .has_bias = c->has_bias,
                                 .has_residual = c->has_residual,
                                 .activation = c->activation,
                                 .out_dtype = is_dw ? (int)LS_DTYPE_F32 : -1,
                                 .alpha = 1};
    const ls_type result = {LS_DTYPE_BF16, {2, {p->m, p->n}}};
    const ls_type bias = {LS_DTYPE_F32, {1, {p->n}}};
    const ls_type in[BENCH_IN] = {{LS_DTYPE_BF16, {2, {is_dw ? p->k : p->m, is_dw ? p->m : p->k}}},
                                  {LS_DTYPE_BF16, {2, {is_nt ? p->n : p->k, is_nt ? p->k : p->n}}},
                                  c->has_bias ? bias : result,
                                  result};
    const int n_in = 2 + c->has_bias + c->has_residual;
    ls_type out[LS_MAX_OUT];
    int n_out;
    if (ls_op_matmul.infer(&attr, n_in, in, &n_out, out) != LS_OK) return 0;
    const ls_sig sig = {&ls_op_matmul, &attr, n_in, n_out, in, out};
    const ls_kernel *kernel;
    if (ls_kernel_choose(&sig, LS_DEVICE_CPU, isa, &kernel) != LS_OK) return 0;
    const int64_t bytes = (int64_t)(ls_type_bytes(&in[1]) + ls_type_bytes(&out[0]));
    sets.n = (int)(cold_bytes / bytes + 2 < MOST_SETS ? cold_bytes / bytes + 2 : MOST_SETS);
    double seconds = 0;
    int good = 1;
    for (int i = 0; i < n_in && good; i++) good = fill_sets(&sets, &in[i], i, 0, i == 1);
    for (int i = 0; i < n_out && good; i++) good = fill_sets(&sets, &out[i], i, 1, 1);
    if (good) seconds = time_sets(kernel, &sig, &sets, pool);
    for (int set = 0; set < sets.n; set++) {
        for (int i = 0; i < n_in; i++)
            if (set == 0 || i == 1) ls_free_pages(sets.in[set][i].data, ls_type_bytes(&in[i]) + 64);
        for (int i = 0; i < n_out; i++)
            ls_free_pages(sets.out[set][i].data, ls_type_bytes(&out[i]) + 64);
    }
    return rate(p, seconds);
}

static void print_step(ls_isa isa, ls_pool *pool) {
    for (size_t i = 0; i < sizeof step_cases / sizeof step_cases[0]; i++) {
        const step_case *c = &step_cases[i];
        printf("  %s %5lld x %5lld x %5lld%s%s%s %8.1f GFLOP/s\n", c->product.kind,
               (long long)c->product.m, (long long)c->product.k, (long long)c->product.n,
               c->has_bias ? " + bias" : "", c->activation ? ", gelu" : "",
               c->has_residual ? " + residual" : "", run_step_case(c, isa, pool));
        fflush(stdout);
    }
}

static void print_cases(const bench_case *cases, int n_cases, ls_dtype dtype, ls_isa isa,
                        ls_pool *pool) {
    const int is_float = ls_dtype_is_float(dtype);
    const double peak = is_float ? measure_peak(isa, dtype) * ls_pool_threads(pool) : 0;
    printf("%s, %s, %d threads, register peak %.0f GFLOP/s\n", ls_dtype_name(dtype),
           ls_isa_name(isa), ls_pool_threads(pool), peak);
    for (int i = 0; i < n_cases; i++) {
        const bench_case *c = &cases[i];
        if (!is_float && strcmp(c->kind, "dw") == 0) continue;
        const double reached =
            is_float ? run_case(c, dtype, isa, pool) : run_bytes(c, dtype, isa, pool);
        printf("  %s %5lld x %5lld x %5lld %8.1f GFLOP/s %5.1f %%\n", c->kind, (long long)c->m,
               (long long)c->k, (long long)c->n, reached, peak > 0 ? 100 * reached / peak : 0);
        fflush(stdout);
    }
}

int main(int argc, char **argv) {
    ls_isa isa = ls_cpu_isa();
    if (argc > 1 && ls_isa_parse(argv[1], &isa) != LS_OK) return 2;
    const int n_threads = argc > 2 ? atoi(argv[2]) : 1;
    const bench_case chosen =
        argc > 6 ? (bench_case){atoll(argv[3]), atoll(argv[4]), atoll(argv[5]), argv[6]}
                 : (bench_case){0};
    const bench_case *cases = argc > 6 ? &chosen : default_cases;
    const int n_cases = argc > 6 ? 1 : (int)(sizeof default_cases / sizeof default_cases[0]);
    ls_pool *pool;
    if (ls_pool_create(n_threads, -1, &pool) != LS_OK) return 1;
    if (argc > 3 && strcmp(argv[3], "step") == 0) {
        print_step(isa, pool);
        ls_pool_destroy(pool);
        return 0;
    }
    static const ls_dtype dtypes[] = {LS_DTYPE_BF16, LS_DTYPE_F32, LS_DTYPE_I8, LS_DTYPE_U8};
    for (int d = 0; d < 4; d++) print_cases(cases, n_cases, dtypes[d], isa, pool);
    ls_pool_destroy(pool);
    return 0;
}
