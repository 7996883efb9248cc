/* The watchdog: a thread of each process that looks at the board ten times a second and records a rank that died, is stopped, or
 * is late, as the board's first failure. */
#ifndef LS_COMM_WATCH_H
#define LS_COMM_WATCH_H
#include "comm/board.h"

typedef struct ls_watch ls_watch;

typedef struct ls_watch_options {
    double late_seconds; /* 0 = the default, 60 */
    int quiet;
    int node; /* processes of this host are looked at in /proc; of other hosts only the board is read */
} ls_watch_options;

LS_API ls_status ls_watch_start(ls_board *board, const ls_watch_options *options, ls_watch **out);
LS_API void ls_watch_stop(ls_watch *watch); /* NULL is fine */

#endif
