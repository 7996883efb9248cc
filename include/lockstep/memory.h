/* Memory that the library hands out (texts, paths, lists of ids) goes back to it.
 * Thread-safe. Local. */
#ifndef LOCKSTEP_MEMORY_H
#define LOCKSTEP_MEMORY_H
#include "lockstep/status.h"

/* Frees what a function's comment says is to be freed with ls_free; NULL is fine. */
LS_API void ls_free(void *ptr);

#endif
