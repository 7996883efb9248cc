/* What one machine can do, as `lockstep bench` measured it: the roofs that predictions and profiles are held against.
 *
 * A profile is plain data with a JSON form (docs/bench.md). It is kept in the user's cache folder under a name made of the processor
 * and the number of threads; ls_machine_load takes only one of this machine. Rates count useful work: a multiply-add is two
 * operations, a copy reads and writes its bytes once. Thread-safety: plain data; functions are reentrant. Local. */
#ifndef LS_PLAN_COST_MACHINE_H
#define LS_PLAN_COST_MACHINE_H
#include "base/json.h"
#include "lockstep/tensor.h"
#include <stddef.h>
#include <stdint.h>

enum {
    LS_MACHINE_FORMAT = 1,
    LS_MACHINE_MAX_GEMM = 64,
    LS_MACHINE_MAX_MEMORY = 32,
    LS_MACHINE_MAX_EXCHANGE = 96,
    LS_MACHINE_MAX_KERNEL = 256,
    LS_MACHINE_CLASS_BYTES = 48
};

/* One figure: median, least and most of several runs (of more than twenty: without the twentieth part at either end). n_runs 0: not
 * measured. */
typedef struct ls_measure {
    double median, least, most;
    int64_t n_runs;
} ls_measure;

/* Where operands come from. */
#define LS_LEVEL_MAP(X)     \
    X(REGISTERS, registers) \
    X(L2, l2)               \
    X(L3, l3)               \
    X(DRAM, dram)
typedef enum ls_level {
#define LS_LEVEL_ENUM(upper, lower) LS_LEVEL_##upper,
    LS_LEVEL_MAP(LS_LEVEL_ENUM)
#undef LS_LEVEL_ENUM
        LS_LEVEL_COUNT
} ls_level;
extern LS_API const char *const ls_level_names[]; /* "registers", ..., NULL */

#define LS_STREAM_MAP(X)                    \
    X(READ, read)         /* sum of x */    \
    X(COPY, copy)         /* y = x */       \
    X(TRIAD, triad)       /* z = x + s y */ \
    X(TRIAD_NT, triad_nt) /* the same with non-temporal stores */
typedef enum ls_stream {
#define LS_STREAM_ENUM(upper, lower) LS_STREAM_##upper,
    LS_STREAM_MAP(LS_STREAM_ENUM)
#undef LS_STREAM_ENUM
        LS_STREAM_COUNT
} ls_stream;
extern LS_API const char *const ls_stream_names[];

/* Multiply-add rate of one instruction, both factors random. */
typedef struct ls_machine_gemm {
    char dtype[8];        /* of the factors: "f32", "bf16", "int8" */
    char isa[16];         /* least level that has it: "avx512bf16" */
    char instruction[24]; /* "vdpbf16ps" */
    ls_level from;        /* REGISTERS, L2 or L3 */
    int threads;
    ls_measure rate; /* operations per second, of all threads together */
} ls_machine_gemm;

typedef struct ls_machine_memory {
    ls_stream stream;
    ls_level level; /* L2, L3 or DRAM */
    int threads;
    double bytes;    /* of all arrays of all threads */
    ls_measure rate; /* bytes per second read and written, all threads together */
} ls_machine_memory;

/* A collective between ranks. */
typedef struct ls_machine_exchange {
    char op[24];        /* "all_reduce" */
    char transport[16]; /* "threads", "shm", "mpi" */
    int ranks, hosts;
    double bytes; /* that one rank takes from the others */
    ls_measure seconds;
} ls_machine_exchange;

/* How near the kernels of one kind of node come to the roof: roof time / measured time, over nodes of reference models. */
typedef struct ls_machine_kernel {
    char kind[LS_MACHINE_CLASS_BYTES]; /* ls_cost_kind: "matmul bf16 nt" */
    double efficiency; /* may pass 1 where data stay in a cache the rule does not count on */
    int64_t n_nodes;
} ls_machine_kernel;

typedef struct ls_machine {
    char cpu[64], isa[16];              /* as the machine that was measured calls itself */
    int threads;                        /* of the columns "all threads" */
    int quick;                          /* measured with --quick: fewer and shorter runs */
    char version[24], measured[24];     /* of lockstep; "2026-11-21T20:40:00Z" */
    double cache_bytes[LS_LEVEL_COUNT]; /* L2 of a core, L3 as one core sees it; 0 unknown */
    ls_machine_gemm gemm[LS_MACHINE_MAX_GEMM];
    ls_machine_memory memory[LS_MACHINE_MAX_MEMORY];
    ls_machine_exchange exchange[LS_MACHINE_MAX_EXCHANGE];
    ls_machine_kernel kernel[LS_MACHINE_MAX_KERNEL];
    int n_gemm, n_memory, n_exchange, n_kernel;
    ls_measure fork_join, fork_join_p99; /* seconds of an empty job on all threads */
    ls_measure wake, wake_p99;           /* the same after a millisecond of idleness */
    ls_measure disk_write, disk_read;    /* bytes per second; write counts the fsync */
} ls_machine;

/* This processor, instruction set and number of CPUs, nothing measured; for whoever fills a profile. */
LS_API void ls_machine_describe(ls_machine *machine);
/* A failed call leaves *out alone. LS_ERR_FORMAT says what is wrong with the text. */
LS_API ls_status ls_machine_parse(const char *text, size_t bytes, const char *what,
                                  ls_machine *out);
LS_API ls_status ls_machine_read(const char *path, ls_machine *out);
LS_API ls_status ls_machine_to_json(const ls_machine *machine, json_t **out);
/* Makes the folder when it is missing; the file is replaced as a whole. */
LS_API ls_status ls_machine_write(const ls_machine *machine, const char *path);
/* $XDG_CACHE_HOME/lockstep/machine-<hash of processor and threads>.json, with ~/.cache where the variable is not set.
 * LS_ERR_NOT_FOUND when neither is. threads 0: those of this process. Free with ls_free. */
LS_API ls_status ls_machine_default_path(int threads, char **out);
/* LS_ERR_UNSUPPORTED, with both names, for a profile of another machine. */
LS_API ls_status ls_machine_check(const ls_machine *machine);
/* The stored profile of this machine. LS_ERR_NOT_FOUND says which command makes one; a damaged or foreign file is an error with its name. */
LS_API ls_status ls_machine_load(ls_machine *out);

/* --- roofs. 0: not measured ------------------------------------------------------------------------------------------ */

/* Operations per second of the best instruction for factors of `dtype` from registers, on `threads` threads (between the measured
 * columns by a straight line, at most all threads). bf16 and f16 can always be widened: at least the f32 rate. */
LS_API double ls_machine_flops(const ls_machine *machine, ls_dtype dtype, int threads);
/* Bytes per second for one node that touches `bytes` in all: the best of read, copy and triad, at the smallest level that holds the
 * bytes (half of the L2s, half of the L3, memory). */
LS_API double ls_machine_bandwidth(const ls_machine *machine, double bytes, int threads);
LS_API ls_level ls_machine_level_of(const ls_machine *machine, double bytes, int threads);
/* Roof of a node, in seconds: the longer of its flops and its bytes. */
LS_API double ls_machine_roof_seconds(const ls_machine *machine, ls_dtype dtype, double flops,
                                      double bytes, int threads);
/* 0 when no reference model has such nodes. */
LS_API double ls_machine_efficiency(const ls_machine *machine, const char *kind);
/* A collective in which a rank takes `bytes` from others: latency of the smallest measured size + bytes / bandwidth between the
 * smallest and the largest; of the transport with the nearest number of ranks on one host. 0: not measured. */
LS_API double ls_machine_exchange_seconds(const ls_machine *machine, const char *op, int ranks,
                                          double bytes);

#endif
