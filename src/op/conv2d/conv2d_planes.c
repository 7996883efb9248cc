#include "op/conv2d/conv2d_planes.h"
#include "tensor/half.h"
#include <string.h>

int64_t ls_conv_planes_count(const ls_conv_planes *p) {
    return p->channels * p->stride * p->stride * p->rows * p->cols;
}

int64_t ls_conv_planes_tap(const ls_conv_planes *p, int64_t channel, int64_t r, int64_t s) {
    const int64_t st = p->stride, phase = (channel * st + r % st) * st + s % st;
    return (phase * p->rows + r / st) * p->cols + s / st;
}

ls_conv_planes ls_conv_planes_forward(const ls_conv_shape *v) {
    return (ls_conv_planes){.channels = v->c,
                            .height = v->h,
                            .width = v->w,
                            .stride = v->stride,
                            .padding = v->padding,
                            .rows = v->p + (v->r - 1) / v->stride,
                            .cols = v->q + (v->s - 1) / v->stride};
}

static float read_wide(const void *data, ls_dtype dtype, int64_t at) {
    if (dtype == LS_DTYPE_F32) return ((const float *)data)[at];
    const uint16_t bits = ((const uint16_t *)data)[at];
    return dtype == LS_DTYPE_BF16 ? half_from_bf16(bits) : half_from_f16(bits);
}

/* dst[j] = src[at + j * step] for n elements. */
static void copy_elements(void *dst, const void *src, ls_dtype dtype, int is_pairs, int64_t at,
                          int64_t step, int64_t n) {
    float *wide = dst;
    uint16_t *narrow = dst;
    const uint16_t *halves = src;
    if (is_pairs && step == 1)
        memcpy(narrow, halves + at, (size_t)n * sizeof *narrow);
    else if (is_pairs)
        for (int64_t j = 0; j < n; j++) narrow[j] = halves[at + j * step];
    else if (step == 1 && dtype == LS_DTYPE_F32)
        memcpy(wide, (const float *)src + at, (size_t)n * sizeof *wide);
    else if (dtype == LS_DTYPE_BF16)
        for (int64_t j = 0; j < n; j++) wide[j] = half_from_bf16(halves[at + j * step]);
    else
        for (int64_t j = 0; j < n; j++) wide[j] = read_wide(src, dtype, at + j * step);
}

/* Row i of phase (a, b). */
static void fill_row(const ls_conv_planes *p, const void *image, ls_dtype dtype, int is_pairs,
                     const int64_t at[4], void *dst) {
    const size_t bytes = is_pairs ? sizeof(uint16_t) : sizeof(float);
    const int64_t channel = at[0], y = at[3] * p->stride + at[1] - p->padding;
    const int64_t x0 = at[2] - p->padding; /* of column 0 */
    int64_t first = x0 < 0 ? (-x0 + p->stride - 1) / p->stride : 0;
    int64_t end = x0 < p->width ? (p->width - 1 - x0) / p->stride + 1 : 0;
    if (end > p->cols) end = p->cols;
    if (first > end || y < 0 || y >= p->height) first = end = 0;
    memset(dst, 0, (size_t)first * bytes);
    copy_elements((char *)dst + (size_t)first * bytes, image, dtype, is_pairs,
                  (channel * p->height + y) * p->width + x0 + first * p->stride, p->stride,
                  end - first);
    memset((char *)dst + (size_t)end * bytes, 0, (size_t)(p->cols - end) * bytes);
}

void ls_conv_planes_fill(const ls_conv_planes *p, const void *image, ls_dtype dtype, int is_pairs,
                         void *dst) {
    const size_t row_bytes = (size_t)p->cols * (is_pairs ? sizeof(uint16_t) : sizeof(float));
    char *to = dst;
    for (int64_t c = 0; c < p->channels; c++)
        for (int64_t a = 0; a < p->stride; a++)
            for (int64_t b = 0; b < p->stride; b++)
                for (int64_t i = 0; i < p->rows; i++, to += row_bytes)
                    fill_row(p, image, dtype, is_pairs, (int64_t[4]){c, a, b, i}, to);
}
