/* GPT-2's byte alphabet: every byte written as one printable character, so that any bytes fit into JSON strings.
 * Printable Latin-1 characters stand for themselves; the 68 other bytes are U+0100..U+0143 in order. GPT-2's ids list the
 * printable ones first. Source: bytes_to_unicode in https://github.com/openai/gpt-2, src/encoder.py. */
#ifndef LS_DATA_BYTE_LEVEL_H
#define LS_DATA_BYTE_LEVEL_H
#include <stdint.h>

uint32_t ls_byte_to_char(int byte);
int ls_byte_from_char(uint32_t code); /* -1: not of the alphabet */
int32_t ls_byte_gpt2_id(int byte);    /* 0..255 */

#endif
