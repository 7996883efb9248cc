/* A machine profile with round numbers, for the tests of plan/cost and of the verbs that read one. */
#ifndef LS_TESTS_MACHINE_FIXED_H
#define LS_TESTS_MACHINE_FIXED_H
#include "plan/cost/machine.h"
#include <stdio.h>
#include <string.h>

static inline ls_measure fixed_measure(double median) {
    return (ls_measure){median, median * 0.5, median * 2, 7};
}

static inline void add_fixed_gemm(ls_machine *m, const char *dtype, const char *isa, ls_level from,
                                  int threads, double rate) {
    ls_machine_gemm *g = &m->gemm[m->n_gemm++];
    *g = (ls_machine_gemm){.from = from, .threads = threads, .rate = fixed_measure(rate)};
    snprintf(g->dtype, sizeof g->dtype, "%s", dtype);
    snprintf(g->isa, sizeof g->isa, "%s", isa);
    snprintf(g->instruction, sizeof g->instruction, "mul %s", isa);
}

static inline void add_fixed_memory(ls_machine *m, ls_stream stream, ls_level level, int threads,
                                    double rate) {
    m->memory[m->n_memory++] =
        (ls_machine_memory){stream, level, threads, 1e6, fixed_measure(rate)};
}

static inline void add_fixed_exchange(ls_machine *m, const char *op, int ranks, double bytes,
                                      double seconds) {
    ls_machine_exchange *e = &m->exchange[m->n_exchange++];
    *e = (ls_machine_exchange){
        .ranks = ranks, .hosts = 1, .bytes = bytes, .seconds = fixed_measure(seconds)};
    snprintf(e->op, sizeof e->op, "%s", op);
    snprintf(e->transport, sizeof e->transport, "threads");
}

static inline void add_fixed_kernel(ls_machine *m, const char *kind, double efficiency) {
    ls_machine_kernel *k = &m->kernel[m->n_kernel++];
    *k = (ls_machine_kernel){.efficiency = efficiency, .n_nodes = 3};
    snprintf(k->kind, sizeof k->kind, "%s", kind);
}

/* 4 threads; f32 10 and 30 GFLOP/s (1 and 4 threads), bf16 40 and 120; L2 1 MB at 100 GB/s a thread, L3 16 MB at 50 and 100, memory at 10
 * and 20; a job costs 2 us; all_reduce 10 us + 1 GB/s. */
static inline ls_machine fixed_machine(void) {
    ls_machine m = {.threads = 4,
                    .cache_bytes = {[LS_LEVEL_L2] = 1e6, [LS_LEVEL_L3] = 16e6},
                    .fork_join = {2e-6, 1e-6, 3e-6, 100},
                    .disk_write = {1e9, 1e9, 1e9, 3}};
    snprintf(m.cpu, sizeof m.cpu, "Round Numbers 4000");
    snprintf(m.isa, sizeof m.isa, "avx512");
    snprintf(m.version, sizeof m.version, "0.0.1");
    snprintf(m.measured, sizeof m.measured, "2026-01-02T03:04:05Z");
    add_fixed_gemm(&m, "f32", "avx2", LS_LEVEL_REGISTERS, 1, 5e9);
    add_fixed_gemm(&m, "f32", "avx512", LS_LEVEL_REGISTERS, 1, 10e9);
    add_fixed_gemm(&m, "f32", "avx512", LS_LEVEL_REGISTERS, 4, 30e9);
    add_fixed_gemm(&m, "f32", "avx512", LS_LEVEL_L2, 4, 99e9); /* not a roof */
    add_fixed_gemm(&m, "bf16", "avx512", LS_LEVEL_REGISTERS, 1, 40e9);
    add_fixed_gemm(&m, "bf16", "avx512", LS_LEVEL_REGISTERS, 4, 120e9);
    add_fixed_memory(&m, LS_STREAM_READ, LS_LEVEL_L2, 1, 90e9);
    add_fixed_memory(&m, LS_STREAM_COPY, LS_LEVEL_L2, 1, 100e9);
    add_fixed_memory(&m, LS_STREAM_COPY, LS_LEVEL_L2, 4, 400e9);
    add_fixed_memory(&m, LS_STREAM_COPY, LS_LEVEL_L3, 1, 50e9);
    add_fixed_memory(&m, LS_STREAM_COPY, LS_LEVEL_L3, 4, 100e9);
    add_fixed_memory(&m, LS_STREAM_TRIAD, LS_LEVEL_DRAM, 1, 10e9);
    add_fixed_memory(&m, LS_STREAM_TRIAD_NT, LS_LEVEL_DRAM, 4, 20e9);
    add_fixed_exchange(&m, "all_reduce", 2, 1000, 10e-6);
    add_fixed_exchange(&m, "all_reduce", 2, 1001000, 1010e-6);
    add_fixed_kernel(&m, "matmul f32 nn", 0.8);
    add_fixed_kernel(&m, "relu f32", 0.5);
    return m;
}

#endif
