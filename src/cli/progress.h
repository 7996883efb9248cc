/* Progress on standard error: one live line on a terminal, plain lines every few seconds elsewhere.
 *
 *   train  120/400  30 %  loss 3.214  12.3 k tokens/s  ETA 1:23
 *
 * The caller says how far the work is, how many units (tokens, bytes) were done so far, and what else to show; rate and ETA
 * are the progress's own, over the last few seconds and over the whole. No allocation. Local; one thread. */
#ifndef LS_CLI_PROGRESS_H
#define LS_CLI_PROGRESS_H
#include "lockstep/status.h"
#include <stdint.h>
#include <stdio.h>

typedef struct ls_progress_options {
    const char *label;     /* "train"; must outlive the progress */
    int64_t n_total;       /* steps of the whole; 0 = not known: no percentage, no ETA */
    const char *unit;      /* "tokens"; NULL = no rate */
    int quiet;             /* print nothing */
    FILE *stream;          /* NULL = standard error */
    int live;              /* 1 live line, 0 plain lines, -1 = live when the stream is a terminal */
    double every_seconds;  /* between plain lines; 0 = 5. Live lines come ten times a second */
    double (*clock)(void); /* NULL = ls_clock_seconds; tests bring their own */
} ls_progress_options;

enum { LS_PROGRESS_MARKS = 16 };

typedef struct ls_progress {
    ls_progress_options options;
    double started, printed; /* seconds */
    int64_t n_done, n_units;
    struct {
        double at;
        int64_t n_units;
    } marks[LS_PROGRESS_MARKS]; /* a ring, one a second at most, for the recent rate */
    int n_marks;
    int is_open;      /* a live line stands on the terminal */
    char detail[160]; /* the fields in the middle, as last given */
} ls_progress;

void ls_progress_init(ls_progress *progress, const ls_progress_options *options);
/* `n_done` steps and `n_units` units so far; fmt gives the fields in the middle ("loss %.3f"). Prints only when it is time. */
void ls_progress_update(ls_progress *progress, int64_t n_done, int64_t n_units, const char *fmt,
                        ...) LS_PRINTF(4, 5);
/* Prints the last state for good, and ends the live line. Also to be called before other output, on error paths too. */
void ls_progress_end(ls_progress *progress);
/* Units per second over the last few seconds; 0 before there is anything to go by. */
double ls_progress_rate(const ls_progress *progress);

#endif
