/* Who gave the first value that was not a number? Ranks see it in what they add; here they put together what they saw. */
#include "base/alloc.h"
#include "comm/comm.h"
#include <string.h>

void ls_comm_suspect_note(ls_comm *comm, const ls_comm_suspect *suspect) {
    if (comm->suspect.found && comm->suspect.step == suspect->step) return;
    comm->suspect = *suspect;
    comm->suspect.found = 1;
}

/* Nodes run in the order of their numbers: the least is the first. */
static const ls_comm_suspect *find_first(const ls_comm_suspect *all, int size, uint64_t step) {
    const ls_comm_suspect *first = NULL;
    for (int r = 0; r < size; r++)
        if (all[r].found && all[r].step == step && (!first || all[r].node < first->node))
            first = &all[r];
    return first;
}

ls_status ls_comm_suspect_report(ls_comm *comm, uint64_t step) {
    if (ls_comm_size(comm) == 1) return LS_OK;
    ls_comm_suspect *all = ls_alloc((size_t)comm->size * sizeof *all);
    /* A rank without memory tells the others so. */
    ls_status status = ls_comm_agree(comm, "look for who gave a value that is not finite",
                                     all ? LS_OK : LS_ERR_NO_MEMORY);
    if (status == LS_OK)
        status = ls_comm_exchange(comm, "who gave a value that is not finite", &comm->suspect,
                                  sizeof comm->suspect, all);
    const ls_comm_suspect *first = status == LS_OK ? find_first(all, comm->size, step) : NULL;
    if (first)
        status =
            LS_FAIL(LS_ERR_NUMERIC,
                    "step %llu: rank %d on host %s is the first that gave a value that is not "
                    "finite: to %s%s%s, tensor %lld, element %lld of its part. Computed again, "
                    "what can be looked at is finite: lower the learning rate, or suspect the "
                    "memory of that host",
                    (unsigned long long)step, first->member, ls_comm_host(comm, first->member),
                    first->op, *first->scope ? " in " : "", first->scope, (long long)first->tensor,
                    (long long)first->element);
    ls_free(all);
    return status;
}
