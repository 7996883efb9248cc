/* The ceiling that a kernel is held against: what plain loops of this machine's widest vectors move in as much memory, with as many
 * threads, in the same seconds. Loops of a kind, of which the fastest counts:
 *   read    a kernel that writes next to nothing: the sum of an array
 *   copy    results in memory of their own: y = x and z = x + s y, with ordinary stores and with stores past the caches, and memcpy
 *   update  results in the place of operands: x = x + s y, and those of copy
 * Bytes counted are the least that must move: every operand read once, every result written once, not what a cache adds. Arrays lie in huge
 * pages and take together as many bytes as the kernel moves (at most 192 MB); those of `memory` take 192 MB: a kernel whose operands are
 * in a cache can pass 100 % of memory, hardly of its own size. Each loop runs at least three times and for its share of the
 * seconds asked for; the best run counts, as for the kernels. */
#ifndef LS_BENCH_ROOF_H
#define LS_BENCH_ROOF_H
#include "lockstep/status.h"
#include <stdint.h>

typedef enum roof_kind { ROOF_READ, ROOF_COPY, ROOF_UPDATE } roof_kind;
extern const char *const roof_kind_names[];

typedef struct roof roof;
/* With `threads` threads of a pool of its own. */
ls_status roof_create(int threads, double seconds, roof **out);
void roof_destroy(roof *r);
/* GB/s of the fastest loop of that kind that moves `bytes` in all. */
ls_status roof_measure(roof *r, roof_kind kind, double bytes, double *gbps_out);
/* The same from memory. */
ls_status roof_measure_memory(roof *r, roof_kind kind, double *gbps_out);

#endif
