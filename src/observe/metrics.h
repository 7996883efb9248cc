/* Metrics of a run: JSON Lines always, TensorBoard event files on request. A record is a step and named numbers.
 * Thread-safety: one thread at a time. Local. */
#ifndef LS_OBSERVE_METRICS_H
#define LS_OBSERVE_METRICS_H
#include "lockstep/status.h"
#include <stddef.h>
#include <stdint.h>

typedef struct ls_metrics ls_metrics;

typedef struct ls_metric {
    const char *name;
    double value; /* NaN and infinities are written as null */
} ls_metric;

/* Appends to `dir`/metrics.jsonl; tensorboard also opens a new event file there. `keep_below` >= 0 first drops records of that
 * step and later (a resumed run writes them again). */
LS_API ls_status ls_metrics_open(const char *dir, int tensorboard, int64_t keep_below,
                                 ls_metrics **out);
/* kind: "step", "eval", "final". */
LS_API ls_status ls_metrics_write(ls_metrics *metrics, const char *kind, int64_t step,
                                  const ls_metric *items, int n_items);
/* A record that is not of numbers: `members` is JSON text, "\"a\":1,\"b\":[2]". metrics.jsonl only. */
LS_API ls_status ls_metrics_write_members(ls_metrics *metrics, const char *kind, int64_t step,
                                          const char *members);
LS_API void ls_metrics_close(ls_metrics *metrics); /* NULL is fine */

/* The TensorBoard event writer alone: TFRecord framing (masked CRC-32C) around Event messages with scalar summaries
 * (tensorflow/core/util/event.proto, summary.proto). */
typedef struct ls_tensorboard ls_tensorboard;
LS_API ls_status ls_tensorboard_open(const char *dir, ls_tensorboard **out);
LS_API ls_status ls_tensorboard_write(ls_tensorboard *board, int64_t step, const ls_metric *items,
                                      int n_items);
LS_API void ls_tensorboard_close(ls_tensorboard *board);
LS_API uint32_t ls_crc32c(const void *data, size_t bytes);

#endif
