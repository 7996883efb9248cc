/* What the files of fs share. */
#ifndef LS_BASE_FS_INTERNAL_H
#define LS_BASE_FS_INTERNAL_H
#include "lockstep/status.h"

/* Records "cannot <verb> <path>: <what the system said>" with the status that fits the errno. */
ls_status ls_fs_fail(int error_number, const char *verb, const char *path);
/* Counts one write, fsync or rename; nonzero (and errno set) when the fault hook wants it to fail. */
int ls_fs_inject(void);

#endif
