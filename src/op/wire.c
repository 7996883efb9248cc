#include "op/wire.h"

#include <math.h>
#include <string.h>

enum { SCALE_MIN = -126, SCALE_MAX = 121, NAN_BYTE = 255, EXPONENT_BIAS = 127, LARGEST = 127 };

static size_t unit_bytes(int wire) {
    if (wire == LS_WIRE_BF16) return 2 * LS_SHARD_UNIT;
    return wire == LS_WIRE_INT8 ? LS_SHARD_UNIT + LS_SHARD_UNIT / LS_WIRE_BLOCK
                                : sizeof(float) * LS_SHARD_UNIT;
}

size_t ls_wire_bytes(int wire, int64_t count) {
    if (wire == LS_WIRE_F32) return sizeof(float) * (size_t)count;
    return (size_t)((count + LS_SHARD_UNIT - 1) / LS_SHARD_UNIT) * unit_bytes(wire);
}

static uint16_t to_bf16(float x) {
    uint32_t bits;
    if (isnan(x)) return 0x7fc0;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static float from_bf16(uint16_t half) {
    const uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The scale's byte for one block. */
static int scale_byte(const float *x) {
    float amax = 0;
    for (int i = 0; i < LS_WIRE_BLOCK; i++) {
        if (!isfinite(x[i])) return NAN_BYTE;
        amax = fmaxf(amax, fabsf(x[i]));
    }
    int k = SCALE_MIN;
    while (k < SCALE_MAX && (double)amax > ldexp(LARGEST, k)) k++;
    return k + EXPONENT_BIAS;
}

static float scale_of(int byte) {
    return byte == NAN_BYTE ? NAN : (float)ldexp(byte ? 1 : 0, byte - EXPONENT_BIAS);
}

static int quantize(float x, int byte) {
    const double whole = nearbyint(ldexp(x, EXPONENT_BIAS - byte));
    return (int)fmax(fmin(whole, LARGEST), -LARGEST);
}

static void encode_unit(int wire, const float *x, unsigned char *out) {
    for (int i = 0; wire == LS_WIRE_BF16 && i < LS_SHARD_UNIT; i++) {
        const uint16_t half = to_bf16(x[i]);
        memcpy(out + 2 * i, &half, sizeof half);
    }
    for (int b = 0; wire == LS_WIRE_INT8 && b < LS_SHARD_UNIT / LS_WIRE_BLOCK; b++) {
        const int byte = scale_byte(x + b * LS_WIRE_BLOCK);
        out[LS_SHARD_UNIT + b] = (unsigned char)byte;
        for (int i = b * LS_WIRE_BLOCK; i < (b + 1) * LS_WIRE_BLOCK; i++)
            out[i] = (unsigned char)(byte == NAN_BYTE ? 0 : quantize(x[i], byte));
    }
}

static void decode_unit(int wire, const unsigned char *in, float *y) {
    for (int i = 0; i < LS_SHARD_UNIT; i++) {
        if (wire == LS_WIRE_BF16) {
            uint16_t half;
            memcpy(&half, in + 2 * i, sizeof half);
            y[i] = from_bf16(half);
        } else {
            y[i] = (float)(signed char)in[i] * scale_of(in[LS_SHARD_UNIT + i / LS_WIRE_BLOCK]);
        }
    }
}

static int64_t unit_count(int64_t count, int64_t at) {
    return count - at < LS_SHARD_UNIT ? count - at : LS_SHARD_UNIT;
}

void ls_wire_encode(int wire, const float *x, int64_t count, void *out) {
    if (wire == LS_WIRE_F32) {
        memcpy(out, x, sizeof *x * (size_t)count);
        return;
    }
    unsigned char *to = out;
    for (int64_t at = 0; at < count; at += LS_SHARD_UNIT, to += unit_bytes(wire)) {
        float unit[LS_SHARD_UNIT] = {0};
        memcpy(unit, x + at, sizeof *x * (size_t)unit_count(count, at));
        encode_unit(wire, unit, to);
    }
}

void ls_wire_decode(int wire, const void *bytes, int64_t count, float *y) {
    if (wire == LS_WIRE_F32) {
        memcpy(y, bytes, sizeof *y * (size_t)count);
        return;
    }
    const unsigned char *from = bytes;
    for (int64_t at = 0; at < count; at += LS_SHARD_UNIT, from += unit_bytes(wire)) {
        float unit[LS_SHARD_UNIT];
        decode_unit(wire, from, unit);
        memcpy(y + at, unit, sizeof *y * (size_t)unit_count(count, at));
    }
}

void ls_wire_round(int wire, const float *x, int64_t count, float *y) {
    unsigned char bytes[2 * LS_SHARD_UNIT];
    if (wire == LS_WIRE_F32) {
        memmove(y, x, sizeof *x * (size_t)count);
        return;
    }
    for (int64_t at = 0; at < count; at += LS_SHARD_UNIT) {
        ls_wire_encode(wire, x + at, unit_count(count, at), bytes);
        ls_wire_decode(wire, bytes, unit_count(count, at), y + at);
    }
}

/* One unit of the sum of operands first .. first + n. */
static void sum_unit(const ls_wire_sum *s, int first, int n, int64_t at, int64_t count, float *y) {
    if (n == 1) {
        const char *data = s->views[(int64_t)first * s->stride].data;
        if (s->encoded)
            ls_wire_decode(s->wire, data + ls_wire_bytes(s->wire, at), count, y);
        else
            ls_wire_round(s->wire, (const float *)(const void *)data + at, count, y);
        return;
    }
    float right[LS_SHARD_UNIT];
    sum_unit(s, first, n / 2, at, count, y);
    sum_unit(s, first + n / 2, n / 2, at, count, right);
    for (int64_t i = 0; i < count; i++) y[i] += right[i];
    ls_wire_round(s->wire, y, count, y);
}

static void sum_reference(const ls_wire_sum *sum, int64_t begin, int64_t count, float *y) {
    for (int64_t at = 0; at < count; at += LS_SHARD_UNIT) {
        float unit[LS_SHARD_UNIT];
        sum_unit(sum, 0, sum->n, begin + at, unit_count(count, at), unit);
        memcpy(y + at, unit, sizeof *y * (size_t)unit_count(count, at));
    }
}

const ls_wire_fns ls_wire_fns_ref = {sum_reference, ls_wire_encode};
