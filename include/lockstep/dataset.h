/* Text datasets: where documents come from.
 *
 * A path is a plain text file (one document), a JSON Lines file (.jsonl or .ndjson: one document a line, taken from a
 * string field), either of them compressed (.zst), or a folder of such files, taken in sorted order. Plain text must
 * be UTF-8 unless raw bytes are asked for; a bad byte is an error that names the file and the byte's offset.
 * Documents are streamed: one document (one file, for plain text) is in memory at a time.
 * Thread-safety: a dataset belongs to one thread at a time. Local. */
#ifndef LOCKSTEP_DATASET_H
#define LOCKSTEP_DATASET_H
#include "lockstep/status.h"
#include <stddef.h>
#include <stdint.h>

typedef struct ls_dataset ls_dataset;

/* Called now and then in long work. `done` and `total` count the same thing (bytes, merges; total 0 = not known), `rate` is
 * done per second. */
typedef void (*ls_progress_fn)(void *user, const char *what, int64_t done, int64_t total,
                               double rate);

typedef struct ls_dataset_options {
    const char *text_field;    /* JSON Lines: the member that holds the text; NULL = "text" */
    int raw_bytes;             /* plain text: 1 = any bytes, no UTF-8 check */
    size_t max_document_bytes; /* larger (or decompressing to more) is an error; 0 = 1 GiB */
    double begin, end;         /* the part of the text, as fractions of its bytes; 0, 0 = all */
} ls_dataset_options;

/* The usual split by position: 90 % train, 5 % early stopping, the last 5 % held out. */
#define LS_SPLIT_STOP_BEGIN 0.90
#define LS_SPLIT_HELD_BEGIN 0.95
typedef enum ls_split { LS_SPLIT_ALL, LS_SPLIT_TRAIN, LS_SPLIT_STOP, LS_SPLIT_HELD } ls_split;
/* Sets begin and end. */
LS_API void ls_split_range(ls_split split, double *begin_out, double *end_out);
/* Where a cut at `fraction` of `bytes` of text falls: floor(fraction * bytes), moved forward to the next UTF-8 character
 * boundary. Both sides of a cut compute the same place. */
LS_API size_t ls_split_cut(const char *text, size_t bytes, double fraction);

/* options may be NULL. Lists and opens nothing else than the path's files; text errors come when reading. */
LS_API ls_status ls_dataset_open(const char *path, const ls_dataset_options *options,
                                 ls_dataset **out);
LS_API void ls_dataset_close(ls_dataset *dataset);
LS_API int ls_dataset_file_count(const ls_dataset *dataset);
LS_API const char *ls_dataset_path(const ls_dataset *dataset); /* as given */

typedef struct ls_document {
    const char *text; /* not NUL-terminated; valid during the call */
    size_t bytes;     /* at least 1: empty documents are skipped */
    const char *path; /* the file it is from */
    int64_t index;    /* among the documents of this pass */
    int complete;     /* 0: the split cut off its end */
} ls_document;
/* An error returned by it stops the pass and is passed on. */
typedef ls_status (*ls_document_fn)(void *user, const ls_document *document);
/* One pass over the documents, in order. No text at all is LS_ERR_DATA. */
LS_API ls_status ls_dataset_each(ls_dataset *dataset, ls_document_fn fn, void *user);
/* All documents end to end, ls_alloc'ed with a NUL after the end (the text gzip and xz are compared on). */
LS_API ls_status ls_dataset_read(ls_dataset *dataset, char **text_out, size_t *bytes_out);
/* Bytes of all documents of the dataset, whatever part was asked for; reads everything once, then remembers. */
LS_API ls_status ls_dataset_size(ls_dataset *dataset, int64_t *n_documents_out,
                                 int64_t *n_bytes_out);

#endif
