/* Monotonic and wall clocks. Local, thread-safe. */
#ifndef LS_BASE_CLOCK_H
#define LS_BASE_CLOCK_H
#include "lockstep/status.h"
#include <stdint.h>

LS_API double ls_clock_seconds(void);         /* monotonic */
LS_API int64_t ls_clock_unix_ms(void);        /* wall */
LS_API double ls_clock_process_seconds(void); /* since the process was started (from /proc) */

#endif
