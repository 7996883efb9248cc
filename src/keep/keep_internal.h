/* A rank's side, between keep.c and keep_restore.c. */
#ifndef LS_KEEP_KEEP_INTERNAL_H
#define LS_KEEP_KEEP_INTERNAL_H
#include "keep/keep_segment.h"
#include "keep/keep_wire.h"

struct ls_keep {
    ls_comm *comm;
    int fd; /* to the keeper of this host; -1: it is gone */
    int64_t job;
    char cookie[LS_KEEPER_COOKIE];
    ls_keep_header *image;  /* the layout of mine */
    ls_keep_header *mapped; /* mine */
    int64_t noted;          /* the last step that the keeper was told of */
    int has_new;            /* a step of this job was committed */
    int is_alone_said;      /* that there are no copies any more */
    char here, *all_here;   /* [size] of the exchange in begin */
    ls_keep_stats stats;
};

/* The state of `step`, wherever it is, into one of the buffers. Local. */
ls_status ls_keep_fetch(ls_keep *keep, int64_t step, int *buffer_out, char blob_out[LS_KEEP_BLOB],
                        size_t *blob_bytes_out);

#endif
