/* Where a run's batches come from: token shards or images, one face for both. */
#ifndef LS_TRAIN_SOURCE_H
#define LS_TRAIN_SOURCE_H
#include "lockstep/train.h"

typedef struct ls_source ls_source;

/* Opens (text: prepares when needed) the data of a run. */
ls_status ls_source_open(const ls_train_config *config, ls_progress_fn progress, void *user,
                         ls_source **out);
void ls_source_close(ls_source *source);
int ls_source_is_images(const ls_source *source);
const ls_tokenizer *ls_source_tokenizer(const ls_source *source); /* NULL for images */
/* Bytes of text that opening had to encode, or of images to unpack: 0 when that was kept from before. */
int64_t ls_source_prepared_bytes(const ls_source *source);
/* Of the training part's content. */
uint64_t ls_source_hash(const ls_source *source);
/* Fills in what the model takes from the data: vocabulary, classes, image size. */
ls_status ls_source_fit_model(const ls_source *source, ls_model_options *model);
/* Targets counted in one full global batch. */
double ls_source_static_count(const ls_source *source, const ls_train_config *config);
/* An ls_feed_fn body for training inputs: step from `step`. */
ls_status ls_source_feed(ls_source *source, int64_t step, const char *name, int64_t lane,
                         ls_tensor *tensor);

/* Evaluation of one part, `rows` sequences or images at a time. */
ls_status ls_source_eval_begin(ls_source *source, ls_split part, int64_t rows,
                               int64_t *n_windows_out);
/* Loads rows [first, first + rows); *n_bytes_out bytes of text the targets stand for. */
ls_status ls_source_eval_load(ls_source *source, int64_t first, int64_t *n_targets_out,
                              int64_t *n_bytes_out);
ls_status ls_source_eval_feed(ls_source *source, const char *name, ls_tensor *tensor);

/* Tokenizer and shards of a text run (the folder they are kept in is config->data.cache). */
typedef struct ls_prepared {
    ls_tokenizer *tokenizer;
    ls_tokens *parts[4]; /* by ls_split; ALL unused */
    int64_t encoded_bytes;
} ls_prepared;
ls_status ls_prepare_text(const ls_train_config *config, ls_progress_fn progress, void *user,
                          ls_prepared *out);
void ls_prepared_close(ls_prepared *prepared);

/* Images of a run: as they are when their files are plain; unpacked once into a folder of data.cache when they are compressed. */
typedef struct ls_prepared_images {
    ls_images *train;
    char *folder; /* where the test images lie too */
    double mean, std;
    uint64_t hash;
    int64_t unpacked_bytes; /* 0: they were kept from before, or plain */
} ls_prepared_images;
ls_status ls_prepare_images(const ls_train_config *config, ls_prepared_images *out);
void ls_prepared_images_close(ls_prepared_images *prepared);

/* Parts of a run's data: LS_SPLIT_TRAIN, _STOP and _HELD. Images have their test images as HELD. */
int ls_data_is_shard(const char *path);
int ls_data_has_part(const ls_train_config *config, ls_split part);
/* That which is evaluated within the run. */
ls_split ls_data_watched_part(const ls_train_config *config);
/* Where a part lies: a path, and which share of it, from 0 to 1. Shards are read whole. */
const char *ls_data_part_path(const ls_train_config *config, ls_split part);
void ls_data_part_range(const ls_train_config *config, ls_split part, double *begin_out,
                        double *end_out);

/* A path in the folder that a run keeps its prepared data in. */
enum { LS_PREPARE_PATH = 4096 };
ls_status ls_prepare_path(const ls_train_config *config, const char *name,
                          char out[LS_PREPARE_PATH]);
/* Would ls_prepare_text write nothing? */
ls_status ls_prepare_is_current(const ls_train_config *config, int *out);

#endif
