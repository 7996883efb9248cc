/* MPI_Allreduce of random f32, in place, to hold beside bench_comm: the same sizes, values and way of timing. Built once with each
 * MPI that is here; links nothing of Lockstep.
 *   mpirun -n 2 bench_mpi_all_reduce_openmpi [SECONDS] */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_RUNS = 20000, WARM_UPS = 5, N_SIZES = 4 };

static const size_t tensor_bytes[N_SIZES] = {1 << 10, 1 << 20, 16 << 20, 64 << 20};

static float value_of(int rank, size_t i) {
    return (float)(int32_t)((uint32_t)(i + 1) * 2654435761u * (uint32_t)(rank + 3)) * 0x1p-31f;
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The time of a call is that of the slowest rank. */
static int time_size(float *x, size_t bytes, double seconds, double *runs) {
    const int count = (int)(bytes / 4);
    int rank, size, go_on = 1, n = 0;
    double spent = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    for (int i = -WARM_UPS; go_on; i++) {
        if (i < 0 || i % 32 == 0)
            for (int e = 0; e < count; e++) x[e] = value_of(rank, (size_t)e) * 0x1p-20f;
        MPI_Barrier(MPI_COMM_WORLD);
        const double begun = MPI_Wtime();
        MPI_Allreduce(MPI_IN_PLACE, x, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        double mine = MPI_Wtime() - begun, slowest = 0;
        MPI_Allreduce(&mine, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
        if (i < 0) continue;
        runs[n++] = slowest;
        spent += slowest;
        go_on = spent < seconds && n < MAX_RUNS;
    }
    qsort(runs, (size_t)n, sizeof *runs, compare_doubles);
    if (rank == 0)
        printf("{\"bench\":\"all_reduce_mpi\",\"ranks\":%d,\"bytes\":%zu,\"median_us\":%.3f,"
               "\"best_us\":%.3f,\"runs\":%d}\n",
               size, bytes, runs[n / 2] * 1e6, runs[0] * 1e6, n);
    return 0;
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    const double seconds = argc > 1 ? atof(argv[1]) : 1.0;
    float *x = malloc(tensor_bytes[N_SIZES - 1]);
    double *runs = malloc(MAX_RUNS * sizeof *runs);
    if (!x || !runs) {
        fprintf(stderr, "bench_mpi_all_reduce: out of memory\n");
        MPI_Abort(MPI_COMM_WORLD, 1);
        return 1;
    }
    for (int i = 0; i < N_SIZES; i++) time_size(x, tensor_bytes[i], seconds, runs);
    free(x);
    free(runs);
    MPI_Finalize();
    return 0;
}
