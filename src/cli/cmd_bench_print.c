/* The tables of `lockstep bench`. */
#include <string.h>

#include "cli/cmd_bench.h"

/* "147.3 ±2 %" in units of `unit`, or blanks. */
static void print_figure(const ls_measure *m, double unit, ls_text *out) {
    if (m->n_runs == 0) {
        ls_text_append(out, " %16s", "-");
        return;
    }
    ls_text_append(out, " %9.4g +-%3.0f%%", m->median / unit,
                   50 * (m->most - m->least) / m->median);
}

static void print_head(const ls_machine *m, ls_text *out) {
    ls_text_append(out, "machine: %s, %d thread%s, instruction set %s", m->cpu, m->threads,
                   m->threads == 1 ? "" : "s", m->isa);
    if (m->cache_bytes[LS_LEVEL_L2] > 0)
        ls_text_append(out, ", L2 %.4g MiB", m->cache_bytes[LS_LEVEL_L2] / (1 << 20));
    if (m->cache_bytes[LS_LEVEL_L3] > 0)
        ls_text_append(out, ", L3 %.4g MiB", m->cache_bytes[LS_LEVEL_L3] / (1 << 20));
    ls_text_append(out, "\nmedians of several runs, +- half of (most - least)%s\n\n",
                   m->quick ? "; --quick: short runs" : "");
}

/* One line for registers, L2 and L3 of an instruction and a number of threads. */
static void print_gemm(const ls_machine *m, ls_text *out) {
    ls_text_append(out, "%-31s %7s %16s %16s %16s\n", "multiply-adds, GFLOP/s (int8: Gop/s)",
                   "threads", "registers", "L2", "L3");
    for (int i = 0; i < m->n_gemm; i++) {
        const ls_machine_gemm *g = &m->gemm[i];
        if (g->from != LS_LEVEL_REGISTERS) continue;
        ls_text_append(out, "  %-5s %-28s %7d", g->dtype, g->instruction, g->threads);
        for (int k = i; k < m->n_gemm && k < i + 3; k++) print_figure(&m->gemm[k].rate, 1e9, out);
        ls_text_append(out, "\n");
    }
    ls_text_append(out, "\n");
}

static const ls_machine_memory *find_memory(const ls_machine *m, int stream, int level,
                                            int threads) {
    for (int i = 0; i < m->n_memory; i++)
        if ((int)m->memory[i].stream == stream && (int)m->memory[i].level == level &&
            m->memory[i].threads == threads)
            return &m->memory[i];
    return NULL;
}

static void print_memory_row(const ls_machine *m, int stream, int threads, ls_text *out) {
    static const char *const words[] = {"read", "copy", "triad", "triad, non-temporal stores"};
    static const ls_measure none = {0};
    if (!find_memory(m, stream, LS_LEVEL_DRAM, threads)) return;
    ls_text_append(out, "  %-34s %7d", words[stream], threads);
    for (int level = LS_LEVEL_L2; level <= LS_LEVEL_DRAM; level++) {
        const ls_machine_memory *row = find_memory(m, stream, level, threads);
        print_figure(row ? &row->rate : &none, 1e9, out);
    }
    ls_text_append(out, "\n");
}

static void print_memory(const ls_machine *m, ls_text *out) {
    ls_text_append(out, "%-36s %7s %16s %16s %16s\n", "memory, GB/s", "threads", "L2", "L3",
                   "memory");
    for (int s = 0; s < LS_STREAM_COUNT; s++) {
        print_memory_row(m, s, 1, out);
        if (m->threads > 1) print_memory_row(m, s, m->threads, out);
    }
    ls_text_append(out, "\n");
}

void ls_bench_print_exchange(const ls_machine *m, ls_text *out) {
    ls_text_append(out, "%-36s %7s %16s %16s %16s\n", "collectives, f32", "ranks", "bytes taken",
                   "us", "GB/s");
    for (int i = 0; i < m->n_exchange; i++) {
        const ls_machine_exchange *e = &m->exchange[i];
        ls_text_append(out, "  %-15s %-18s %7d %16.0f", e->op, e->transport, e->ranks, e->bytes);
        print_figure(&e->seconds, 1e-6, out);
        ls_text_append(out, " %16.4g\n", e->bytes / e->seconds.median * 1e-9);
    }
    ls_text_append(out, "\n");
}

static void print_kernels(const ls_machine *m, ls_text *out) {
    ls_text_append(out, "%-36s %7s %16s\n", "kernels of small models", "nodes", "of the roof");
    for (int i = 0; i < m->n_kernel; i++)
        ls_text_append(out, "  %-34s %7lld %14.0f %%\n", m->kernel[i].kind,
                       (long long)m->kernel[i].n_nodes, 100 * m->kernel[i].efficiency);
    ls_text_append(out, "\n");
}

static void print_rest(const ls_machine *m, ls_text *out) {
    if (m->fork_join.n_runs > 0)
        ls_text_append(out,
                       "an empty job on %d threads: %.3g us (99 of 100 within %.3g us); after a "
                       "millisecond of idleness %.3g us (%.3g us)\n",
                       m->threads, m->fork_join.median * 1e6, m->fork_join_p99.median * 1e6,
                       m->wake.median * 1e6, m->wake_p99.median * 1e6);
    if (m->disk_write.n_runs > 0)
        ls_text_append(out, "disk: written and synced %.3g GB/s, read %.3g GB/s\n",
                       m->disk_write.median * 1e-9, m->disk_read.median * 1e-9);
}

void ls_bench_print_machine(const ls_machine *m, ls_text *out) {
    print_head(m, out);
    print_gemm(m, out);
    print_memory(m, out);
    ls_bench_print_exchange(m, out);
    print_kernels(m, out);
    print_rest(m, out);
}
