/* MPI's own collectives on whole numbers, for test_collectives_peer.c, which compiles and starts this: rank r writes FOLDER/mpi.r, all
 * results one after the other. COUNT elements, dealt to the ranks in pieces of PIECE. */
#include <mpi.h>
#include <stdio.h>
#include <string.h>

enum { COUNT = 1000, SIZE = 4, PIECE = 256 };

static float value_of(int rank, int e) {
    return (float)((rank * 131 + e * 7) % 201 - 100);
}

int main(int argc, char **argv) {
    float x[COUNT], zero_rank[COUNT], sums[COUNT] = {0}, all[COUNT], gathered[COUNT];
    float mine[PIECE] = {0}, exchanged[SIZE * PIECE] = {0}, sent[COUNT] = {0};
    int rank, size, counts[SIZE], at[SIZE], taken[SIZE], places[SIZE];
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (argc < 2 || size != SIZE) MPI_Abort(MPI_COMM_WORLD, 2);
    for (int e = 0; e < COUNT; e++) {
        x[e] = value_of(rank, e);
        zero_rank[e] = value_of(0, e);
    }
    for (int r = 0; r < SIZE; r++) {
        at[r] = r * PIECE;
        counts[r] = COUNT - at[r] < PIECE ? COUNT - at[r] : PIECE;
        places[r] = r * PIECE;
    }
    for (int r = 0; r < SIZE; r++) taken[r] = counts[rank];
    MPI_Reduce_scatter(x, mine, counts, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Allreduce(x, sums, COUNT, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Allgatherv(zero_rank + at[rank], counts[rank], MPI_FLOAT, gathered, counts, at, MPI_FLOAT,
                   MPI_COMM_WORLD);
    MPI_Alltoallv(x, counts, at, MPI_FLOAT, exchanged, taken, places, MPI_FLOAT, MPI_COMM_WORLD);
    memcpy(all, x, sizeof all);
    MPI_Bcast(all, COUNT, MPI_FLOAT, 2, MPI_COMM_WORLD);
    if (rank == 0) MPI_Send(x, COUNT, MPI_FLOAT, 1, 0, MPI_COMM_WORLD);
    if (rank == 1) MPI_Recv(sent, COUNT, MPI_FLOAT, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/mpi.%d", argv[1], rank);
    FILE *file = fopen(path, "wb");
    if (!file) MPI_Abort(MPI_COMM_WORLD, 3);
    fwrite(mine, sizeof mine, 1, file);
    fwrite(sums, sizeof sums, 1, file);
    fwrite(gathered, sizeof gathered, 1, file);
    fwrite(exchanged, sizeof exchanged, 1, file);
    fwrite(all, sizeof all, 1, file);
    fwrite(sent, sizeof sent, 1, file);
    const int failed = fclose(file);
    MPI_Finalize();
    return failed != 0;
}
