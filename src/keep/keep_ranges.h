/* Sets of elements as sorted ranges that neither overlap nor touch. Local. */
#ifndef LS_KEEP_KEEP_RANGES_H
#define LS_KEEP_KEEP_RANGES_H
#include "lockstep/status.h"
#include <stdint.h>

typedef struct ls_keep_range {
    int64_t first, end;
} ls_keep_range;

typedef struct ls_keep_ranges {
    ls_keep_range *items;
    int64_t n, capacity;
} ls_keep_ranges;

LS_API ls_status ls_keep_ranges_add(ls_keep_ranges *ranges, int64_t first, int64_t end);
/* The first range within [first, end) that is not in the set: 0 when all of it is. */
LS_API int ls_keep_ranges_gap(const ls_keep_ranges *ranges, int64_t first, int64_t end,
                              ls_keep_range *out);
LS_API void ls_keep_ranges_deinit(ls_keep_ranges *ranges);

#endif
