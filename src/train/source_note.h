/* What tokens (or unpacked images) were made of: a note beside them, compared at every start. Files whose size and times are those of the note are taken for what
 * they were; others of the same size are hashed, so that a touched or copied text is not encoded again and a changed one always is. Local. */
#ifndef LS_TRAIN_SOURCE_NOTE_H
#define LS_TRAIN_SOURCE_NOTE_H
#include "base/alloc.h"
#include "lockstep/train.h"

typedef struct ls_source_note {
    ls_text what;   /* changes whenever the tokens would: choices, names, sizes */
    ls_text stamps; /* times and file numbers */
    char **paths;   /* of the files that are read */
    int64_t n_paths, capacity;
    int64_t newest_ms; /* the latest change of any, on the wall clock */
    int is_hashed;
    uint64_t content;     /* hash of all of them */
    int64_t hashed_bytes; /* read for it */
} ls_source_note;

/* Looks at the files of a run's data without reading them. Deinit also after a failure. */
ls_status ls_source_note_init(const ls_train_config *config, ls_source_note *note);
void ls_source_note_deinit(ls_source_note *note);
/* Is the note stored at `path` of the same text? Refreshes its stamps where that can be written. */
ls_status ls_source_note_matches(ls_source_note *note, const char *path, int *out);
/* Reads the files: before they are encoded, so that a change in between is seen at the next start. */
ls_status ls_source_note_hash(ls_source_note *note);
/* A note that was hashed. */
ls_status ls_source_note_store(const ls_source_note *note, const char *path);

#endif
