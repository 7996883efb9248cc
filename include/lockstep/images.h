/* Image datasets: IDX files (http://yann.lecun.com/exdb/mnist/, section "File formats"), gzip-compressed or not, as in
 * Debian's dataset-fashion-mnist. Shapes: N images, H rows, W columns, one channel.
 * Thread-safety: immutable after opening; may be used from several threads. Local. */
#ifndef LOCKSTEP_IMAGES_H
#define LOCKSTEP_IMAGES_H
#include "lockstep/status.h"
#include <stddef.h>
#include <stdint.h>

#define LS_FASHION_PATH "/usr/share/datasets/fashion-mnist"
/* Mean and standard deviation of the 60,000 training images, pixels in [0, 1]. */
#define LS_FASHION_MEAN 0.2860
#define LS_FASHION_STD  0.3530

typedef struct ls_images ls_images;
typedef enum ls_images_part { LS_IMAGES_TRAIN, LS_IMAGES_TEST } ls_images_part;

/* <folder>/{train,t10k}-{images-idx3,labels-idx1}-ubyte, each with or without .gz. */
LS_API ls_status ls_images_open(const char *folder, ls_images_part part, ls_images **out);
LS_API ls_status ls_images_open_files(const char *image_path, const char *label_path,
                                      ls_images **out);
LS_API void ls_images_close(ls_images *images);
/* 1 when opening had to unpack compressed files; plain ones are mapped and read where they lie. */
LS_API int ls_images_is_unpacked(const ls_images *images);
/* As plain files in an existing folder, from which ls_images_open takes them. */
LS_API ls_status ls_images_save(const ls_images *images, const char *folder, ls_images_part part);

typedef struct ls_images_info {
    int64_t n_images, height, width;
    int32_t n_classes; /* largest label + 1 */
} ls_images_info;
LS_API ls_images_info ls_images_get_info(const ls_images *images);
LS_API const unsigned char *ls_images_pixels(const ls_images *images, int64_t i); /* [H, W] */
LS_API int32_t ls_images_label(const ls_images *images, int64_t i);
/* Of all pixels, scaled to [0, 1]. */
/* XXH3 of pixels and labels. */
LS_API uint64_t ls_images_hash(const ls_images *images);
LS_API void ls_images_statistics(const ls_images *images, double *mean_out, double *std_out);

typedef struct ls_images_options {
    uint64_t seed;
    int64_t batch;    /* images of one step, over all lanes; a multiple of lanes */
    int64_t lanes;    /* 0 = 1 */
    double mean, std; /* out = (pixel / 255 - mean) / std; std 0 = 1 */
    int max_shift; /* augmentation: moved by -max_shift..max_shift pixels both ways, zero filled; 0 = off */
    int flip; /* augmentation: mirrored left to right, half of the time */
} ls_images_options;

/* images_out f32 [batch / lanes, 1, H, W], labels_out i32 [batch / lanes]. A pure function of (seed, step, lane): sample
 * g = step * batch + lane * (batch / lanes) + b is image permute(g mod N) of epoch g / N; augmentation is keyed by g. */
LS_API ls_status ls_images_next(const ls_images *images, const ls_images_options *options,
                                int64_t step, int64_t lane, float *images_out, int32_t *labels_out);
/* Images [first, first + count) in order, without augmentation; rows past the end are zero with label -1. */
LS_API ls_status ls_images_evaluation(const ls_images *images, const ls_images_options *options,
                                      int64_t first, int64_t count, float *images_out,
                                      int32_t *labels_out);

#endif
