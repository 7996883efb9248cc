/* Our collectives between four threads against MPI's own between four processes, on whole numbers, whose sums are exact in any order.
 * Skipped, with the reason, where there is no MPI compiler. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "ranks/collective_run.h"
#include "unit/comm/ranks.h"
#include <stdlib.h>

enum { COUNT = 1000, SIZE = 4 };

#define SIZES .lanes = 8, .n = 1, .counts = {COUNT}
#define FLOATS \
    { LS_DTYPE_F32 }
/* In the order of mpi_reference.c. */
static const call_case cases[] = {
    {"reduce_scatter", LS_COLLECTIVE_REDUCE_SCATTER, {SIZES}, FLOATS},
    {"all_reduce", LS_COLLECTIVE_ALL_REDUCE, {SIZES}, FLOATS},
    {"all_gather", LS_COLLECTIVE_ALL_GATHER, {SIZES}, FLOATS},
    {"all_to_all", LS_COLLECTIVE_ALL_TO_ALL, {SIZES}, FLOATS},
    {"broadcast", LS_COLLECTIVE_BROADCAST, {SIZES, .from = 2}, FLOATS},
    {"send", LS_COLLECTIVE_SEND, {SIZES, .from = 0, .to = 1}, FLOATS},
};

static const char *folder(void) {
    const char *path = getenv("LS_TEST_TMP");
    return path ? path : ".";
}

static ls_status compare_cases(rank_room *room, FILE *file, outcome *out) {
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        live_call call;
        ls_tensor y[LS_MAX_OUT];
        static _Thread_local float want[2 * COUNT];
        room->used = 0;
        LS_TRY(start_call(&call, room, &cases[c], (int)c, 0));
        LS_TRY(wait_call(&call, y));
        const size_t bytes = ls_tensor_bytes(&y[0]);
        if (bytes > sizeof want || fread(want, bytes, 1, file) != 1)
            return LS_FAIL(LS_ERR_IO, "%s: MPI wrote less than %zu bytes", cases[c].name, bytes);
        if (memcmp(want, y[0].data, bytes) == 0) continue;
        out->n_wrong++;
        (void)snprintf(out->message, sizeof out->message, "%s differs from MPI's", cases[c].name);
    }
    return fgetc(file) == EOF ? LS_OK : LS_FAIL(LS_ERR_IO, "MPI wrote more than was read");
}

static ls_status run_rank(ls_comm *comm, void *user, outcome *out) {
    char path[4096];
    rank_room room;
    (void)user;
    (void)snprintf(path, sizeof path, "%s/mpi.%d", folder(), ls_comm_rank(comm));
    LS_TRY(open_room(comm, &room));
    FILE *file = fopen(path, "rb");
    const ls_status status =
        file ? compare_cases(&room, file, out) : LS_FAIL(LS_ERR_IO, "MPI left no %s", path);
    if (file) (void)fclose(file);
    close_room(&room);
    return status;
}

/* Both MPIs: what one does not know of these variables, it ignores. */
static int start_mpi(void) {
    char command[16384];
    (void)snprintf(command, sizeof command,
                   "mpicc -o '%s/mpi_reference' tests/ranks/mpi_reference.c && "
                   "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
                   "OMPI_MCA_rmaps_base_oversubscribe=1 "
                   "mpirun -n %d '%s/mpi_reference' '%s'",
                   folder(), SIZE, folder(), folder());
    return system(command);
}

static void test_against_mpi(void **state) {
    (void)state;
    outcome out[MAX_RANKS];
    if (system("mpicc --version >/dev/null 2>&1 && command -v mpirun >/dev/null") != 0) {
        print_message("skipped: mpicc and mpirun are not installed\n");
        skip();
    }
    if (start_mpi() != 0) fail_msg("mpi_reference.c did not compile or run");
    run_threads(SIZE, NULL, run_rank, NULL, out);
    for (int r = 0; r < SIZE; r++)
        if (out[r].status != LS_OK || out[r].n_wrong) fail_msg("rank %d: %s", r, out[r].message);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_mpi)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
