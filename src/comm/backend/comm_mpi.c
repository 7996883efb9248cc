/* The plugin: one MPI behind the table of comm/mpi_plugin.h. Compiled once with mpicc.openmpi and once with mpicc.mpich; no part
 * of the library, and uses nothing of it. */
#include "comm/mpi_plugin.h"
#include <mpi.h>
#include <stdio.h>
#include <string.h>

/* An MPI_Request is a pointer in one MPI and an int in the other. */
_Static_assert(sizeof(MPI_Request) <= sizeof(ls_mpi_handle), "a request fits its handle");
_Static_assert(sizeof(MPI_Win) <= sizeof(ls_mpi_handle), "a window fits its handle");

enum {
    MAX_REDUCE_FLOATS = 1 << 28,
    SENTENCE_BYTES = 320,
};

typedef struct world {
    MPI_Comm all, host;
    ls_mpi_place place;
    int was_initialized; /* by the program that embeds us: then it finalizes too */
    char sentence[SENTENCE_BYTES];
} world;

/* 0, or -1 with what MPI says about `code`. */
static int check(world *w, int code, const char *asked) {
    if (code == MPI_SUCCESS) return 0;
    char said[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (MPI_Error_string(code, said, &length) != MPI_SUCCESS)
        snprintf(said, sizeof said, "error %d", code);
    snprintf(w->sentence, sizeof w->sentence, "%s: %.*s", asked, SENTENCE_BYTES - 64, said);
    return -1;
}

static int fail(world *w, const char *sentence) {
    snprintf(w->sentence, sizeof w->sentence, "%s", sentence);
    return -1;
}

static int start_mpi(world *w) {
    /* One thread makes all calls, but it need not be the thread that runs main(). */
    int level = MPI_THREAD_SINGLE;
    if (check(w, MPI_Initialized(&w->was_initialized), "MPI_Initialized")) return -1;
    const int code = w->was_initialized
                         ? MPI_Query_thread(&level)
                         : MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level);
    if (check(w, code, "MPI_Init_thread")) return -1;
    if (level < MPI_THREAD_SERIALIZED)
        return fail(w, "this MPI is not safe for programs with threads: MPI_THREAD_SERIALIZED was "
                       "asked for and not given");
    return 0;
}

static int init(void *user, ls_mpi_place *out) {
    world *w = user;
    if (start_mpi(w)) return -1;
    if (check(w, MPI_Comm_dup(MPI_COMM_WORLD, &w->all), "MPI_Comm_dup") ||
        check(w, MPI_Comm_set_errhandler(w->all, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler") ||
        check(w, MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN),
              "MPI_Comm_set_errhandler") ||
        check(w, MPI_Comm_rank(w->all, &w->place.rank), "MPI_Comm_rank") ||
        check(w, MPI_Comm_size(w->all, &w->place.size), "MPI_Comm_size") ||
        check(w,
              MPI_Comm_split_type(w->all, MPI_COMM_TYPE_SHARED, w->place.rank, MPI_INFO_NULL,
                                  &w->host),
              "MPI_Comm_split_type") ||
        check(w, MPI_Comm_rank(w->host, &w->place.host_rank), "MPI_Comm_rank") ||
        check(w, MPI_Comm_size(w->host, &w->place.host_size), "MPI_Comm_size"))
        return -1;
    w->place.leader = w->place.rank;
    if (check(w, MPI_Bcast(&w->place.leader, 1, MPI_INT, 0, w->host), "MPI_Bcast")) return -1;
    *out = w->place;
    return 0;
}

static const char *error(void *user) {
    return ((world *)user)->sentence;
}

static int all_gather(void *user, const void *mine, size_t bytes, void *all_out) {
    world *w = user;
    const int n = (int)bytes;
    return check(w, MPI_Allgather(mine, n, MPI_BYTE, all_out, n, MPI_BYTE, w->all),
                 "MPI_Allgather");
}

static int query_bases(world *w, MPI_Win win, void **bases_out) {
    for (int r = 0; r < w->place.host_size; r++) {
        MPI_Aint bytes;
        int unit;
        if (check(w, MPI_Win_shared_query(win, r, &bytes, &unit, &bases_out[r]),
                  "MPI_Win_shared_query"))
            return -1;
    }
    return 0;
}

static int window_create(void *user, size_t bytes, ls_mpi_handle *window_out, void **bases_out) {
    world *w = user;
    MPI_Info info = MPI_INFO_NULL;
    MPI_Win win = MPI_WIN_NULL;
    void *mine = NULL;
    if (check(w, MPI_Info_create(&info), "MPI_Info_create")) return -1;
    /* Every rank's part begins on its own page. */
    int code = MPI_Info_set(info, "alloc_shared_noncontig", "true");
    if (code == MPI_SUCCESS)
        code = MPI_Win_allocate_shared((MPI_Aint)bytes, 1, info, w->host, &mine, &win);
    (void)MPI_Info_free(&info);
    if (check(w, code, "MPI_Win_allocate_shared")) return -1;
    if (query_bases(w, win, bases_out)) return -1;
    window_out->bits = 0;
    memcpy(&window_out->bits, &win, sizeof win);
    return 0;
}

static int window_destroy(void *user, ls_mpi_handle *window) {
    MPI_Win win;
    memcpy(&win, &window->bits, sizeof win);
    window->bits = 0;
    return check(user, MPI_Win_free(&win), "MPI_Win_free");
}

static int send(void *user, const void *data, size_t bytes, int peer, int tag,
                ls_mpi_handle *request_out) {
    world *w = user;
    MPI_Request request;
    if (check(w, MPI_Isend(data, (int)bytes, MPI_BYTE, peer, tag, w->all, &request), "MPI_Isend"))
        return -1;
    memcpy(&request_out->bits, &request, sizeof request);
    return 0;
}

static int recv(void *user, void *data, size_t bytes, int peer, int tag,
                ls_mpi_handle *request_out) {
    world *w = user;
    MPI_Request request;
    if (check(w, MPI_Irecv(data, (int)bytes, MPI_BYTE, peer, tag, w->all, &request), "MPI_Irecv"))
        return -1;
    memcpy(&request_out->bits, &request, sizeof request);
    return 0;
}

static int test(void *user, ls_mpi_handle *request, int *done_out) {
    MPI_Request r;
    memcpy(&r, &request->bits, sizeof r);
    const int code = MPI_Test(&r, done_out, MPI_STATUS_IGNORE);
    memcpy(&request->bits, &r, sizeof r);
    return check(user, code, "MPI_Test");
}

static int all_reduce_f32(void *user, float *data, int64_t count) {
    world *w = user;
    for (int64_t at = 0; at < count; at += MAX_REDUCE_FLOATS) {
        const int64_t left = count - at;
        const int n = left < MAX_REDUCE_FLOATS ? (int)left : MAX_REDUCE_FLOATS;
        if (check(w, MPI_Allreduce(MPI_IN_PLACE, data + at, n, MPI_FLOAT, MPI_SUM, w->all),
                  "MPI_Allreduce"))
            return -1;
    }
    return 0;
}

static int finalize(void *user) {
    world *w = user;
    if (check(w, MPI_Comm_free(&w->host), "MPI_Comm_free") ||
        check(w, MPI_Comm_free(&w->all), "MPI_Comm_free"))
        return -1;
    return w->was_initialized ? 0 : check(w, MPI_Finalize(), "MPI_Finalize");
}

const ls_mpi_plugin ls_mpi_plugin_table = {
    .version = LS_MPI_PLUGIN_VERSION,
    .world_bytes = sizeof(world),
#if defined(OPEN_MPI)
    .name = "Open MPI",
#else
    .name = "MPICH",
    .hangs_at_end = 1,
#endif
    .init = init,
    .error = error,
    .all_gather = all_gather,
    .window_create = window_create,
    .window_destroy = window_destroy,
    .send = send,
    .recv = recv,
    .test = test,
    .all_reduce_f32 = all_reduce_f32,
    .finalize = finalize,
};
