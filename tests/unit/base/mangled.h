/* A file of given bytes, for readers that have to bear any, and the check that the reader gave back all its memory. */
#ifndef LS_TESTS_MANGLED_H
#define LS_TESTS_MANGLED_H
#include <unistd.h>

#include "base/alloc.h"
#include "unit/base/check.h"

typedef ls_status (*mangled_fn)(void *user, const char *path);

/* Writes the bytes and reads them; fails the test, with `what`, where another number of blocks is live afterwards. */
static inline ls_status read_mangled(const char *path, const void *data, size_t bytes,
                                     mangled_fn read, void *user, const char *what) {
    (void)unlink(path); /* a file system may flush what replaces a file */
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
    const int64_t live = ls_alloc_get_stats().n_live;
    ls_error_clear();
    const ls_status status = read(user, path);
    if (ls_alloc_get_stats().n_live != live)
        fail_msg("%s: memory leaks (%s)", what, ls_error_message());
    return status;
}

#endif
