/* The roofs that a profile holds a rank's ops against: of the machine's profile (`lockstep bench`), or, where there is none, of a short
 * measurement. Local. */
#ifndef LS_TRAIN_ROOFS_H
#define LS_TRAIN_ROOFS_H
#include "base/thread.h"
#include "observe/profile.h"
#include "op/op.h"
#include "plan/cost/machine.h"

typedef struct ls_roofs {
    ls_machine machine;
    int threads;            /* of a rank */
    int neighbours;         /* ranks on this host, which share its memory; this one counts */
    double link_per_second; /* bytes, between hosts; 0 = ranks share memory */
    char source[200];       /* where the figures come from */
    ls_profile_roof rows[LS_PROFILE_MAX_ROOFS];
    int n_rows;
} ls_roofs;

/* Takes about half a second where no profile is stored: ranks that share a machine call it together. `precision` is an ls_precision. */
ls_status ls_roofs_find(ls_pool *pool, int precision, int neighbours, ls_roofs *out);

/* Rates for operands of `dtype` and for a working set of `bytes`; *row_out is the row of the roof, -1 when it was not measured. */
double ls_roofs_flops(const ls_roofs *roofs, ls_dtype dtype, int *row_out);
double ls_roofs_bandwidth(const ls_roofs *roofs, double bytes, int *row_out);
/* A row for the link, once it is known. */
int ls_roofs_add_link(ls_roofs *roofs, double bytes_per_second);

#endif
