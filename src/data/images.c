/* N images, H rows, W columns. */
#include "lockstep/images.h"
#include "base/alloc.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/rng.h"
#include "data/idx.h"
#include <math.h>
#include <string.h>

struct ls_images {
    ls_idx pixels_NHW;
    ls_idx labels_N;
    ls_images_info info;
};

/* --- opening ---------------------------------------------------------------------------------------------------- */

static ls_status check_pair(ls_images *images, const char *image_path, const char *label_path) {
    const ls_idx *pixels = &images->pixels_NHW, *labels = &images->labels_N;
    if (pixels->dims[0] != labels->dims[0])
        return LS_FAIL(LS_ERR_FORMAT,
                       "%s and %s: %lld images but %lld labels: the two files do not belong "
                       "together",
                       image_path, label_path, (long long)pixels->dims[0],
                       (long long)labels->dims[0]);
    images->info = (ls_images_info){pixels->dims[0], pixels->dims[1], pixels->dims[2], 0};
    for (int64_t i = 0; i < labels->dims[0]; i++)
        if (labels->data[i] >= images->info.n_classes) images->info.n_classes = labels->data[i] + 1;
    return LS_OK;
}

ls_status ls_images_open_files(const char *image_path, const char *label_path, ls_images **out) {
    ls_images *images = ls_alloc(sizeof *images);
    if (images == NULL) return LS_ERR_NO_MEMORY;
    ls_status status = ls_idx_read(image_path, 3, &images->pixels_NHW);
    if (status == LS_OK) status = ls_idx_read(label_path, 1, &images->labels_N);
    if (status == LS_OK) status = check_pair(images, image_path, label_path);
    if (status != LS_OK) {
        ls_images_close(images);
        return status;
    }
    *out = images;
    return LS_OK;
}

/* <folder>/<name> or <folder>/<name>.gz, whichever is there. */
static char *find_file(const char *folder, const char *part, const char *name) {
    char *path = ls_format("%s/%s-%s", folder, part, name);
    if (path == NULL || ls_path_exists(path)) return path;
    ls_free(path);
    return ls_format("%s/%s-%s.gz", folder, part, name);
}

ls_status ls_images_open(const char *folder, ls_images_part part, ls_images **out) {
    const char *prefix = part == LS_IMAGES_TRAIN ? "train" : "t10k";
    if (!ls_path_is_dir(folder))
        return LS_FAIL(
            LS_ERR_NOT_FOUND,
            "no image folder %s; Debian's package dataset-fashion-mnist installs " LS_FASHION_PATH,
            folder);
    char *image_path = find_file(folder, prefix, "images-idx3-ubyte");
    char *label_path = find_file(folder, prefix, "labels-idx1-ubyte");
    const ls_status status = image_path == NULL || label_path == NULL
                                 ? LS_ERR_NO_MEMORY
                                 : ls_images_open_files(image_path, label_path, out);
    ls_free(image_path);
    ls_free(label_path);
    return status;
}

int ls_images_is_unpacked(const ls_images *images) {
    return ls_idx_is_unpacked(&images->pixels_NHW) || ls_idx_is_unpacked(&images->labels_N);
}

ls_status ls_images_save(const ls_images *images, const char *folder, ls_images_part part) {
    const char *prefix = part == LS_IMAGES_TRAIN ? "train" : "t10k";
    char *image_path = ls_format("%s/%s-images-idx3-ubyte", folder, prefix);
    char *label_path = ls_format("%s/%s-labels-idx1-ubyte", folder, prefix);
    ls_status status = image_path && label_path ? LS_OK : LS_ERR_NO_MEMORY;
    if (status == LS_OK) status = ls_idx_write(&images->pixels_NHW, image_path);
    if (status == LS_OK) status = ls_idx_write(&images->labels_N, label_path);
    ls_free(image_path);
    ls_free(label_path);
    return status;
}

void ls_images_close(ls_images *images) {
    if (images == NULL) return;
    ls_idx_deinit(&images->pixels_NHW);
    ls_idx_deinit(&images->labels_N);
    ls_free(images);
}

ls_images_info ls_images_get_info(const ls_images *images) {
    return images->info;
}

const unsigned char *ls_images_pixels(const ls_images *images, int64_t i) {
    return images->pixels_NHW.data + i * images->info.height * images->info.width;
}

int32_t ls_images_label(const ls_images *images, int64_t i) {
    return images->labels_N.data[i];
}

uint64_t ls_images_hash(const ls_images *images) {
    const size_t n = (size_t)images->info.n_images;
    const size_t area = (size_t)(images->info.height * images->info.width);
    return ls_xxh3(images->labels_N.data, n, ls_xxh3(images->pixels_NHW.data, n * area, area));
}

/* Sums of whole numbers, so exact whatever the order. */
void ls_images_statistics(const ls_images *images, double *mean_out, double *std_out) {
    const int64_t n = images->info.n_images * images->info.height * images->info.width;
    uint64_t sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        const uint64_t pixel = images->pixels_NHW.data[i];
        sum += pixel;
        squares += pixel * pixel;
    }
    const double mean = (double)sum / (double)n;
    *mean_out = mean / 255;
    *std_out = sqrt((double)squares / (double)n - mean * mean) / 255;
}

/* --- batches ---------------------------------------------------------------------------------------------------- */

typedef struct augmentation {
    int64_t down, right; /* pixels the image is moved by */
    int flip;
} augmentation;

static augmentation draw_augmentation(const ls_images_options *o, int64_t sample) {
    const ls_rng_key key = {o->seed, (uint64_t)sample, ls_rng_stream("data.augment")};
    augmentation a = {0};
    const uint64_t n = 2 * (uint64_t)o->max_shift + 1;
    a.down = (int64_t)ls_rng_below(key, 0, n) - o->max_shift;
    a.right = (int64_t)ls_rng_below(key, 1, n) - o->max_shift;
    a.flip = o->flip && (ls_rng_u32(key, 16) & 1);
    return a;
}

/* Pixels moved in from outside are black before normalisation. */
static void fill_image(const ls_images *images, const ls_images_options *o, int64_t i,
                       augmentation a, float *out_HW) {
    const unsigned char *in_HW = ls_images_pixels(images, i);
    const int64_t height = images->info.height, width = images->info.width;
    const double scale = 1 / (255 * (o->std > 0 ? o->std : 1));
    const double shift = -o->mean / (o->std > 0 ? o->std : 1);
    for (int64_t y = 0; y < height; y++) {
        for (int64_t x = 0; x < width; x++) {
            const int64_t from_y = y - a.down;
            const int64_t from_x = (a.flip ? width - 1 - x : x) - a.right;
            const int inside = from_y >= 0 && from_y < height && from_x >= 0 && from_x < width;
            const double pixel = inside ? in_HW[from_y * width + from_x] : 0;
            out_HW[y * width + x] = (float)(pixel * scale + shift);
        }
    }
}

static ls_status check_options(const ls_images *images, const ls_images_options *o, int64_t step,
                               int64_t lane, int64_t *lanes_out) {
    const int64_t lanes = o->lanes > 0 ? o->lanes : 1;
    if (o->batch < 1 || o->batch > INT32_MAX || o->lanes < 0 || o->batch % lanes != 0)
        return LS_FAIL(
            LS_ERR_INVALID,
            "a batch of %lld images in %lld lanes; the batch must be a positive multiple of "
            "the lanes",
            (long long)o->batch, (long long)o->lanes);
    if (step < 0 || step > INT64_MAX / o->batch - 1 || lane < 0 || lane >= lanes)
        return LS_FAIL(LS_ERR_INVALID,
                       "batch of step %lld, lane %lld asked for; there are %lld lanes",
                       (long long)step, (long long)lane, (long long)lanes);
    if (o->max_shift < 0 || o->max_shift >= images->info.height ||
        o->max_shift >= images->info.width)
        return LS_FAIL(LS_ERR_INVALID, "a shift of up to %d pixels in images of %lld x %lld",
                       o->max_shift, (long long)images->info.height, (long long)images->info.width);
    *lanes_out = lanes;
    return LS_OK;
}

ls_status ls_images_next(const ls_images *images, const ls_images_options *options, int64_t step,
                         int64_t lane, float *images_out, int32_t *labels_out) {
    int64_t lanes = 1;
    LS_TRY(check_options(images, options, step, lane, &lanes));
    const int64_t n_rows = options->batch / lanes, n = images->info.n_images;
    const int64_t image_size = images->info.height * images->info.width;
    for (int64_t b = 0; b < n_rows; b++) {
        const int64_t sample = step * options->batch + lane * n_rows + b;
        const ls_rng_key order = {options->seed, (uint64_t)(sample / n),
                                  ls_rng_stream("data.order")};
        const int64_t i = (int64_t)ls_rng_permute(order, (uint64_t)(sample % n), (uint64_t)n);
        fill_image(images, options, i, draw_augmentation(options, sample),
                   images_out + b * image_size);
        labels_out[b] = ls_images_label(images, i);
    }
    return LS_OK;
}

ls_status ls_images_evaluation(const ls_images *images, const ls_images_options *options,
                               int64_t first, int64_t count, float *images_out,
                               int32_t *labels_out) {
    const int64_t image_size = images->info.height * images->info.width;
    if (first < 0 || count < 0)
        return LS_FAIL(LS_ERR_INVALID, "images %lld and %lld on asked for", (long long)first,
                       (long long)count);
    for (int64_t b = 0; b < count; b++) {
        float *out_HW = images_out + b * image_size;
        labels_out[b] = -1;
        memset(out_HW, 0, (size_t)image_size * sizeof *out_HW);
        if (first >= images->info.n_images - b) continue;
        fill_image(images, options, first + b, (augmentation){0}, out_HW);
        labels_out[b] = ls_images_label(images, first + b);
    }
    return LS_OK;
}
