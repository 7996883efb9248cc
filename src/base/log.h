/* Log lines to standard error: "lockstep: warning: ...". Levels below the threshold are dropped.
 * Thread-safety: lines from several threads do not interleave. Local. */
#ifndef LS_BASE_LOG_H
#define LS_BASE_LOG_H
#include "lockstep/status.h"

typedef enum ls_log_level { LS_LOG_DEBUG, LS_LOG_INFO, LS_LOG_WARN, LS_LOG_ERROR } ls_log_level;

LS_API void ls_log_set_level(ls_log_level level); /* default LS_LOG_INFO */
LS_API void ls_log(ls_log_level level, const char *fmt, ...) LS_PRINTF(2, 3);

#endif
