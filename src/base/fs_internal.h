/* What the files of fs share. */
#ifndef LS_BASE_FS_INTERNAL_H
#define LS_BASE_FS_INTERNAL_H
#include "lockstep/status.h"
#include <stddef.h>
#include <stdint.h>

/* Records "cannot <verb> <path>: <what the system said>" with the status that fits the errno. */
ls_status ls_fs_fail(int error_number, const char *verb, const char *path);
/* Counts one write, fsync, rename, link or creation; nonzero (and errno set) when the fault hook wants it to fail. */
int ls_fs_inject(void);
/* The same for a write of `bytes` to fd at `offset` (-1: where the file stands), of which a torn one leaves half. */
int ls_fs_inject_write(int fd, const void *data, size_t bytes, int64_t offset);

#endif
