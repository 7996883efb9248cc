/* Exchange and agreement over any transport: one small call. */
#include "base/alloc.h"
#include "comm/comm.h"
#include <stdio.h>
#include <string.h>

enum { REASON_BYTES = 1024 };

typedef struct verdict {
    int32_t status;
    char reason[REASON_BYTES];
} verdict;

/* The page and the landing stay for the next exchange. */
static ls_status make_room(ls_comm *comm) {
    if (comm->page) return LS_OK;
    void *landing = NULL;
    if (comm->n_hosts > 1) {
        landing = ls_alloc((size_t)comm->size * LS_COMM_EXCHANGE_BYTES);
        if (!landing) return LS_ERR_NO_MEMORY;
    }
    const ls_status status = comm->ops->memory_create(comm, LS_COMM_EXCHANGE_BYTES, &comm->page);
    if (status == LS_OK)
        comm->landing = landing;
    else
        ls_free(landing);
    return status;
}

ls_status ls_comm_exchange(ls_comm *comm, const char *what, const void *mine, size_t bytes,
                           void *all_out) {
    if (bytes > LS_COMM_EXCHANGE_BYTES)
        return LS_FAIL(LS_ERR_INVALID, "%s: %zu bytes to exchange between ranks; at most %d go",
                       what, bytes, LS_COMM_EXCHANGE_BYTES);
    if (!comm) {
        if (bytes) memmove(all_out, mine, bytes);
        return LS_OK;
    }
    LS_TRY(make_room(comm));
    if (bytes) memcpy(comm->page, mine, bytes);
    const ls_comm_part part = {comm->page, bytes * (size_t)comm->size, bytes};
    const ls_comm_call call = {.op = "exchange",
                               .scope = what,
                               .step = comm->step,
                               .id = -1,
                               .dtype = LS_DTYPE_U8,
                               .shape = {1, {(int64_t)bytes}},
                               .ticket = LS_COMM_MAX_TICKETS,
                               .from = -1,
                               .to = -1,
                               .n_parts = 1,
                               .parts = &part,
                               .landing = comm->landing};
    LS_TRY(comm->ops->start(comm, &call));
    for (int p = 0; p < comm->size; p++) {
        ls_comm_view view;
        LS_TRY(comm->ops->arrive(comm, call.ticket, p, &view));
        if (view.bytes) memcpy((char *)all_out + bytes * (size_t)p, view.data, view.bytes);
    }
    return comm->ops->finish(comm, call.ticket);
}

/* The reason of the first rank that failed; every rank reports the same. */
static ls_status report_first(const ls_comm *comm, const char *what, const verdict *all) {
    for (int r = 0; r < comm->size; r++) {
        const ls_status status = (ls_status)all[r].status;
        if (status == LS_OK) continue;
        return LS_FAIL(status, "%s: rank %d on host %s: %.*s", what, r, ls_comm_host(comm, r),
                       REASON_BYTES, all[r].reason[0] ? all[r].reason : ls_status_words(status));
    }
    return LS_OK;
}

ls_status ls_comm_agree(ls_comm *comm, const char *what, ls_status mine) {
    if (ls_comm_size(comm) == 1) return mine;
    verdict my = {.status = (int32_t)mine};
    if (mine != LS_OK) (void)snprintf(my.reason, sizeof my.reason, "%s", ls_error_message());
    verdict *all = ls_alloc((size_t)comm->size * sizeof *all);
    ls_status status = all ? LS_OK : LS_ERR_NO_MEMORY;
    if (status == LS_OK) status = ls_comm_exchange(comm, what, &my, sizeof my, all);
    if (status == LS_OK) {
        status = report_first(comm, what, all);
    } else if (mine != LS_OK) {
        /* My own failure is the better news. */
        status = LS_FAIL(mine, "%s", my.reason);
    }
    ls_free(all);
    return status;
}
