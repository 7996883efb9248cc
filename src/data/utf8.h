/* UTF-8 checking (RFC 3629: shortest forms only, no surrogates, at most U+10FFFF). Local, reentrant. */
#ifndef LS_DATA_UTF8_H
#define LS_DATA_UTF8_H
#include <stddef.h>
#include <stdint.h>

/* Offset of the first byte that does not belong to a well-formed character; `bytes` when all are well-formed. */
size_t ls_utf8_check(const void *text, size_t bytes);
/* Bytes of the well-formed character at text, 0 when there is none; bytes >= 1. */
size_t ls_utf8_char(const unsigned char *text, size_t bytes);
/* Decodes a well-formed character of n bytes. */
uint32_t ls_utf8_decode(const unsigned char *text, size_t n);
/* Encodes a code point below 0x110000; returns the number of bytes written. */
size_t ls_utf8_encode(uint32_t code, unsigned char out[4]);

#endif
