/* Times matmul kernels on random data, least time of several runs, against the multiply-add rate this core reaches from
 * registers. Usage: bench_matmul [isa [threads [M K N kind]]], kind one of nt nn dx dw (dx: dy w^T..., dw: x^T dy). */
#include "base/alloc.h"
#include "base/clock.h"
#include "op/matmul/matmul.h"
#include "op/op.h"
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

enum { LEAST_RUNS = 3 };
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
    {1, 768, 3072, "nt"},    {1, 768, 3072, "nn"},     {16, 768, 3072, "nt"},
    {1, 768, 50257, "nt"},   {1024, 1024, 1024, "nn"},
};

static uint32_t random_state = 1;

static double draw(void) {
    random_state = random_state * 1664525u + 1013904223u;
    return (double)(random_state >> 8) / (1 << 23) - 1.0;
}

static int fill(ls_tensor *tensor, const ls_type *type) {
    *tensor = (ls_tensor){type->dtype, type->shape, ls_alloc_pages(ls_type_bytes(type) + 64)};
    if (!tensor->data) return 0;
    for (int64_t i = 0; i < ls_type_count(type); i++) ls_tensor_set(tensor, i, draw());
    return 1;
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
    const ls_kernel *kernel;
    if (ls_kernel_choose(&sig, LS_DEVICE_CPU, isa, &kernel) != LS_OK) return 0;
    ls_tensor tensors[2], result[1];
    const size_t ws_bytes = kernel->workspace_bytes(&sig, ls_pool_threads(pool));
    void *workspace = ls_alloc_pages(ws_bytes + 64);
    if (!workspace || !fill(&tensors[0], &in[0]) || !fill(&tensors[1], &in[1]) ||
        !fill(&result[0], &out[0]))
        return 0;
    const ls_launch launch = {
        .sig = &sig, .in = tensors, .out = result, .workspace = workspace, .pool = pool};
    double best = INFINITY;
    const double start = ls_clock_seconds();
    for (int i = 0; i < LEAST_RUNS || ls_clock_seconds() - start < least_seconds; i++) {
        const double t = read_time(pool);
        if (kernel->launch(&launch) != LS_OK) return 0;
        best = fmin(best, read_time(pool) - t);
    }
    ls_free_pages(workspace, ws_bytes + 64);
    ls_free_pages(tensors[0].data, ls_type_bytes(&in[0]) + 64);
    ls_free_pages(tensors[1].data, ls_type_bytes(&in[1]) + 64);
    ls_free_pages(result[0].data, ls_type_bytes(&out[0]) + 64);
    return 2e-9 * (double)c->m * (double)c->k * (double)c->n / best;
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
    for (int d = 0; d < 2; d++) {
        const ls_dtype dtype = d ? LS_DTYPE_F32 : LS_DTYPE_BF16;
        const double peak = measure_peak(isa, dtype) * n_threads;
        printf("%s, %s, %d threads, register peak %.0f GFLOP/s\n", ls_dtype_name(dtype),
               ls_isa_name(isa), n_threads, peak);
        for (int i = 0; i < n_cases; i++) {
            const bench_case *c = &cases[i];
            const double rate = run_case(c, dtype, isa, pool);
            printf("  %s %5lld x %5lld x %5lld %8.1f GFLOP/s %5.1f %%\n", c->kind, (long long)c->m,
                   (long long)c->k, (long long)c->n, rate, peak > 0 ? 100 * rate / peak : 0);
            fflush(stdout);
        }
    }
    ls_pool_destroy(pool);
    return 0;
}
