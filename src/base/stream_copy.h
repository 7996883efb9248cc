/* Copies of large blocks past the caches: what the destination held is not read first, and what the caches hold stays there. memcpy does
 * so too, but only from a size on (three quarters of the last cache) that the pieces of a copy shared out among threads do not reach.
 * Thread-safe, Local. */
#ifndef LS_BASE_STREAM_COPY_H
#define LS_BASE_STREAM_COPY_H
#include "lockstep/status.h"
#include <stddef.h>

/* The blocks do not overlap. Under LS_STREAM_COPY_BYTES, and where there are no such stores, it is memcpy. */
enum { LS_STREAM_COPY_BYTES = 64 << 10 };
LS_API void ls_stream_copy(void *restrict to, const void *restrict from, size_t bytes);

#endif
