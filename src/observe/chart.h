/* Line charts as SVG, written by ourselves. Local, reentrant. */
#ifndef LS_OBSERVE_CHART_H
#define LS_OBSERVE_CHART_H
#include "base/alloc.h"
#include "lockstep/status.h"

typedef struct ls_series {
    const char *name;
    const double *x, *y; /* ascending x; points that are not finite break the line */
    int64_t n;
    int markers; /* draw points too */
} ls_series;

typedef struct ls_chart_line {
    const char *name;
    double y;
} ls_chart_line;

typedef struct ls_chart {
    const char *title, *x_label, *y_label;
    const ls_series *series;
    int n_series;
    const ls_chart_line *lines; /* horizontal references */
    int n_lines;
} ls_chart;

/* Appends a complete <svg>. Long series are thinned to about one point a pixel (lowest and highest kept). */
LS_API ls_status ls_chart_print(const ls_chart *chart, ls_text *out);

#endif
