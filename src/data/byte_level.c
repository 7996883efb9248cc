#include "data/byte_level.h"

enum { N_LOW = 33, LOW_END = 33, MID_BEGIN = 127, MID_END = 161, SOFT_HYPHEN = 173, N_HIDDEN = 68 };

/* Number of the byte among those without a printable character, or -1. */
static int hidden_index(int byte) {
    if (byte < LOW_END) return byte;
    if (byte >= MID_BEGIN && byte < MID_END) return N_LOW + byte - MID_BEGIN;
    return byte == SOFT_HYPHEN ? N_HIDDEN - 1 : -1;
}

uint32_t ls_byte_to_char(int byte) {
    const int hidden = hidden_index(byte);
    return (uint32_t)(hidden < 0 ? byte : 256 + hidden);
}

int ls_byte_from_char(uint32_t code) {
    if (code < 256) return hidden_index((int)code) < 0 ? (int)code : -1;
    const uint32_t hidden = code - 256;
    if (hidden < N_LOW) return (int)hidden;
    if (hidden < N_HIDDEN - 1) return (int)hidden - N_LOW + MID_BEGIN;
    return hidden == N_HIDDEN - 1 ? SOFT_HYPHEN : -1;
}

int32_t ls_byte_gpt2_id(int byte) {
    const int hidden = hidden_index(byte);
    if (hidden >= 0) return 256 - N_HIDDEN + hidden;
    if (byte < MID_BEGIN) return byte - LOW_END;
    return byte - LOW_END - (MID_END - MID_BEGIN) - (byte > SOFT_HYPHEN);
}
