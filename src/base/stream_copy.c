#include "base/stream_copy.h"
#include <stdint.h>
#include <string.h>

#if defined(LS_X86)
#include <emmintrin.h>

/* Ahead of the line at hand: beyond what the processor fetches by itself. One stream is faster than several in turn. */
enum { LINE = 64, AHEAD_BYTES = 2048 };

/* `to` is a multiple of LINE. */
static void copy_lines(char *restrict to, const char *restrict from, size_t n_lines) {
    for (size_t at = 0; at < n_lines * LINE; at += LINE) {
        _mm_prefetch(from + at + AHEAD_BYTES, _MM_HINT_T0);
        for (size_t i = at; i < at + LINE; i += 16)
            _mm_stream_si128((__m128i *)(to + i), _mm_loadu_si128((const __m128i *)(from + i)));
    }
}

void ls_stream_copy(void *restrict to, const void *restrict from, size_t bytes) {
    const size_t head = (LINE - (uintptr_t)to % LINE) % LINE;
    if (bytes < LS_STREAM_COPY_BYTES) {
        memcpy(to, from, bytes);
        return;
    }
    const size_t n_lines = (bytes - head) / LINE, done = head + n_lines * LINE;
    memcpy(to, from, head);
    copy_lines((char *)to + head, (const char *)from + head, n_lines);
    memcpy((char *)to + done, (const char *)from + done, bytes - done);
    _mm_sfence(); /* before anyone is told that the copy is there */
}

#else

void ls_stream_copy(void *restrict to, const void *restrict from, size_t bytes) {
    memcpy(to, from, bytes);
}

#endif
