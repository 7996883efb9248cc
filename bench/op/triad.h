/* What memory gives: a[i] = b[i] + s c[i] over arrays far larger than the caches, in huge pages, by a pool. Bytes counted are the least
 * that must move: 12 an element. */
#ifndef LS_BENCH_TRIAD_H
#define LS_BENCH_TRIAD_H
#include "lockstep/status.h"
#include <stdint.h>

typedef struct triad_result {
    int64_t array_bytes;
    double triad_gbps;  /* stores past the caches */
    double stored_gbps; /* ordinary stores */
    double read_gbps;   /* a sum of one array */
} triad_result;

/* Best of at least three runs and `seconds` each. */
ls_status triad_measure(int threads, double seconds, triad_result *out);

#endif
