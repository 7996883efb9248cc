/* IDX files (http://yann.lecun.com/exdb/mnist/, "File formats"): big-endian header, unsigned bytes. gzip is undone. */
#ifndef LS_DATA_IDX_H
#define LS_DATA_IDX_H
#include "base/fs.h"
#include "lockstep/status.h"
#include <stddef.h>
#include <stdint.h>

typedef struct ls_idx {
    int n_dims;
    int64_t dims[3];
    const unsigned char *data;
    unsigned char *unpacked; /* ls_alloc'ed; NULL: data lies in the file itself */
    ls_map map;
} ls_idx;

/* n_dims is what the file must have, 1 to 3. */
ls_status ls_idx_read(const char *path, int n_dims, ls_idx *out);
void ls_idx_deinit(ls_idx *idx);
/* Is it a compressed file's? */
int ls_idx_is_unpacked(const ls_idx *idx);
/* A plain file, complete or absent. */
ls_status ls_idx_write(const ls_idx *idx, const char *path);

#endif
