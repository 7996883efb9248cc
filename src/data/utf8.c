#include "data/utf8.h"
#include <string.h>

static int is_tail(unsigned char byte) {
    return (byte & 0xC0) == 0x80;
}

/* Only the second byte has a range that depends on the first (Unicode 15, table 3-7). */
static int is_second(unsigned char first, unsigned char second) {
    switch (first) {
    case 0xE0:
        return second >= 0xA0 && second <= 0xBF;
    case 0xED:
        return second >= 0x80 && second <= 0x9F;
    case 0xF0:
        return second >= 0x90 && second <= 0xBF;
    case 0xF4:
        return second >= 0x80 && second <= 0x8F;
    default:
        return is_tail(second);
    }
}

size_t ls_utf8_char(const unsigned char *text, size_t bytes) {
    const unsigned char first = text[0];
    if (first < 0x80) return 1;
    const size_t n = first >= 0xC2 && first <= 0xDF   ? 2
                     : first >= 0xE0 && first <= 0xEF ? 3
                     : first >= 0xF0 && first <= 0xF4 ? 4
                                                      : 0;
    if (n == 0 || bytes < n || !is_second(first, text[1])) return 0;
    for (size_t i = 2; i < n; i++)
        if (!is_tail(text[i])) return 0;
    return n;
}

size_t ls_utf8_check(const void *text, size_t bytes) {
    const unsigned char *p = text;
    size_t i = 0;
    while (i < bytes) {
        uint64_t word;
        if (bytes - i >= sizeof word) {
            memcpy(&word, p + i, sizeof word);
            if ((word & UINT64_C(0x8080808080808080)) == 0) {
                i += sizeof word;
                continue;
            }
        }
        const size_t n = ls_utf8_char(p + i, bytes - i);
        if (n == 0) return i;
        i += n;
    }
    return bytes;
}

uint32_t ls_utf8_decode(const unsigned char *text, size_t n) {
    static const unsigned char mask[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t code = text[0] & mask[n];
    for (size_t i = 1; i < n; i++) code = code << 6 | (text[i] & 0x3F);
    return code;
}

size_t ls_utf8_encode(uint32_t code, unsigned char out[4]) {
    if (code < 0x80) {
        out[0] = (unsigned char)code;
        return 1;
    }
    const size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, code >>= 6) out[i] = (unsigned char)(0x80 | (code & 0x3F));
    out[0] = (unsigned char)((n == 2 ? 0xC0 : n == 3 ? 0xE0 : 0xF0) | code);
    return n;
}
