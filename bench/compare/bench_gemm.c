/* Lockstep's side of bench/compare/gemm.sh. Reads lines "FORM M K N IN OUT": C[M,N] = A[M,K] B[K,N] with FORM nn, B stored as [N,K] (nt) or
 * A stored as [K,M] (tn), types of operands and result. Answers each with the line and the median GFLOP/s on random data, or with "-"
 * where there is no kernel of such types; i8 is u8 times i8, scaled to f32. Usage: bench_gemm [threads] */
#include "base/alloc.h"
#include "base/clock.h"
#include "op/matmul/matmul.h"
#include "op/op.h"
#include "op/scaled_matmul/scaled_matmul.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_RUNS = 3, MOST_RUNS = 1000, TILE = 999983 /* a prime: rows differ */ };
static const double least_seconds = 0.1;

typedef struct gemm_case {
    char form[8], in[8], out[8];
    long long m, k, n;
} gemm_case;

static int compare_seconds(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A random tile, again and again. */
static int fill(ls_tensor *tensor, const ls_type *type) {
    *tensor = (ls_tensor){type->dtype, type->shape, ls_alloc_pages(ls_type_bytes(type) + 64)};
    if (!tensor->data) return 0;
    const int64_t count = ls_type_count(type), tile = count < TILE ? count : TILE;
    const size_t size = ls_type_bytes(type) / (size_t)count;
    const double scale = size == 1 ? 127 : 1, offset = type->dtype == LS_DTYPE_U8 ? 128 : 0;
    uint32_t state = 1;
    for (int64_t i = 0; i < tile; i++) {
        state = state * 1664525u + 1013904223u;
        ls_tensor_set(tensor, i, scale * ((double)(state >> 8) / (1 << 23) - 1.0) + offset);
    }
    for (int64_t i = tile; i < count; i += tile)
        memcpy((char *)tensor->data + (size_t)i * size, tensor->data,
               (size_t)(count - i < tile ? count - i : tile) * size);
    return 1;
}

static double time_launches(const ls_kernel *kernel, const ls_launch *launch) {
    double seconds[MOST_RUNS];
    int n = 0;
    if (kernel->launch(launch) != LS_OK) return 0;
    for (const double start = ls_clock_seconds();
         n < LEAST_RUNS || (n < MOST_RUNS && ls_clock_seconds() - start < least_seconds); n++) {
        const double begun = ls_clock_seconds();
        if (kernel->launch(launch) != LS_OK) return 0;
        seconds[n] = ls_clock_seconds() - begun;
    }
    qsort(seconds, (size_t)n, sizeof *seconds, compare_seconds);
    return seconds[n / 2];
}

static double run_kernel(const ls_kernel *kernel, const ls_sig *sig, ls_pool *pool) {
    ls_tensor in[4] = {{0}}, out = {0};
    const size_t workspace_bytes = kernel->workspace_bytes(sig, ls_pool_threads(pool)) + 64;
    void *workspace = ls_alloc_pages(workspace_bytes);
    double seconds = 0;
    int good = workspace && fill(&out, &sig->out[0]);
    for (int i = 0; i < sig->n_in && good; i++) good = fill(&in[i], &sig->in[i]);
    if (good) {
        const ls_launch launch = {
            .sig = sig, .in = in, .out = &out, .workspace = workspace, .pool = pool};
        seconds = time_launches(kernel, &launch);
    }
    if (workspace) ls_free_pages(workspace, workspace_bytes);
    for (int i = 0; i < sig->n_in; i++)
        if (in[i].data) ls_free_pages(in[i].data, ls_type_bytes(&sig->in[i]) + 64);
    if (out.data) ls_free_pages(out.data, ls_type_bytes(&sig->out[0]) + 64);
    return seconds;
}

static double run_op(const ls_op *op, const void *attr, int n_in, const ls_type *in,
                     ls_pool *pool) {
    ls_type out[LS_MAX_OUT];
    int n_out;
    if (op->infer(attr, n_in, in, &n_out, out) != LS_OK) return 0;
    const ls_sig sig = {op, attr, n_in, n_out, in, out};
    const ls_kernel *kernel;
    if (ls_kernel_choose(&sig, LS_DEVICE_CPU, ls_cpu_isa(), &kernel) != LS_OK) return 0;
    return run_kernel(kernel, &sig, pool);
}

/* Seconds, or 0 where there is no such product. */
static double run_case(const gemm_case *c, ls_pool *pool) {
    const int tn = strcmp(c->form, "tn") == 0, nt = strcmp(c->form, "nt") == 0;
    const ls_shape a = {2, {tn ? c->k : c->m, tn ? c->m : c->k}};
    const ls_shape b = {2, {nt ? c->n : c->k, nt ? c->k : c->n}};
    if (strcmp(c->in, "i8") == 0) {
        const ls_scaled_matmul_attr attr = {.transpose_b = nt, .out_dtype = LS_DTYPE_F32};
        const ls_type in[4] = {{LS_DTYPE_U8, a},
                               {LS_DTYPE_I8, b},
                               {LS_DTYPE_F32, {1, {c->m}}},
                               {LS_DTYPE_F32, {1, {c->n}}}};
        return tn ? 0 : run_op(&ls_op_scaled_matmul, &attr, 4, in, pool);
    }
    ls_dtype in_type, out_type;
    if (ls_dtype_parse(c->in, &in_type) != LS_OK || ls_dtype_parse(c->out, &out_type) != LS_OK)
        return 0;
    const ls_matmul_attr attr = {
        .transpose_a = tn, .transpose_b = nt, .out_dtype = (int)out_type, .alpha = 1};
    const ls_type in[2] = {{in_type, a}, {in_type, b}};
    return run_op(&ls_op_matmul, &attr, 2, in, pool);
}

int main(int argc, char **argv) {
    ls_pool *pool;
    if (ls_pool_create(argc > 1 ? atoi(argv[1]) : 1, -1, &pool) != LS_OK) return 1;
    gemm_case c;
    while (scanf("%7s %lld %lld %lld %7s %7s", c.form, &c.m, &c.k, &c.n, c.in, c.out) == 6) {
        const double seconds = run_case(&c, pool);
        printf("%s %lld %lld %lld %s %s ", c.form, c.m, c.k, c.n, c.in, c.out);
        if (seconds > 0)
            printf("%.1f\n", 2e-9 * (double)c.m * (double)c.k * (double)c.n / seconds);
        else
            printf("-\n");
        fflush(stdout);
    }
    ls_pool_destroy(pool);
    return 0;
}
