/* A file of memory that processes share by its descriptor.
 *
 * It lies in huge pages (2 MiB) where the system lets this user have them, else in ordinary ones (memfd_create). memfd memory follows
 * /sys/kernel/mm/transparent_hugepage/shmem_enabled, which is "never" on most machines; a tmpfs of one's own follows its own option
 * huge=always. Making one takes CAP_SYS_ADMIN, or a user namespace in which a child process has it. The child ends before the call
 * returns. Sources: tmpfs(5), fsopen in the kernel's Documentation/filesystems/mount_api.rst. Thread-safe, Local. */
#ifndef LS_BASE_SHARED_FILE_H
#define LS_BASE_SHARED_FILE_H
#include "lockstep/status.h"
#include <stdint.h>

/* *fd_out: `bytes` long, zeros, closed on exec, the caller's. `name` is what /proc shows of ordinary pages. LS_ERR_NO_MEMORY. */
LS_API ls_status ls_shared_file_create(const char *name, uint64_t bytes, int *fd_out);
/* Bytes of its pages: 2 MiB or 4 KiB; 0 when it cannot be told. */
LS_API int64_t ls_shared_file_page_bytes(int fd);

#endif
