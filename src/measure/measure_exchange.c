/* Collectives between ranks, by the very ops and kernels of a run: start and wait of one f32 tensor. A run's time is that of the
 * slowest rank, from a common start. */
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "measure/measure.h"
#include "op/collective.h"
#include "op/op.h"

enum { N_OPS = 3, N_SIZES = 4, MAX_RUNS = 200, QUICK_RUNS = 15, WARM_UPS = 3, REFILL = 16 };
static const int64_t tensor_bytes[N_SIZES] = {1 << 10, 64 << 10, 1 << 20, 16 << 20};
static const int full_runs[N_SIZES] = {MAX_RUNS, 100, 50, 15};

typedef struct exchange_op {
    const char *name;
    const ls_op *start, *wait;
    int in_place;
    int takes_all; /* every other rank's whole tensor; otherwise all but its own piece of one */
} exchange_op;

static const exchange_op exchange_ops[N_OPS] = {
    {"all_reduce", &ls_op_all_reduce_start, &ls_op_all_reduce_wait, 0, 1},
    {"reduce_scatter", &ls_op_reduce_scatter_start, &ls_op_reduce_scatter_wait, 1, 0},
    {"all_gather", &ls_op_all_gather_start, &ls_op_all_gather_wait, 1, 0},
};

/* One collective made ready: start's operands and wait's. */
typedef struct exchange {
    ls_comm *comm;
    ls_pool *pool;
    ls_collective_attr attr;
    ls_type x, made[LS_MAX_OUT], taken[LS_MAX_OUT], result[LS_MAX_OUT];
    ls_tensor start_in[1], start_out[2], wait_in[3], wait_out[1];
    ls_sig start, wait;
    const ls_kernel *start_kernel, *wait_kernel;
    char *memory; /* of the transport */
    void *workspace;
} exchange;

static ls_status infer(exchange *e, const exchange_op *op, int64_t count) {
    const int size = ls_comm_size(e->comm), staged = ls_comm_hosts(e->comm) > 1;
    int n_made, n_result;
    e->attr = (ls_collective_attr){.size = size,
                                   .lanes = size,
                                   .staged = staged,
                                   .in_place = op->in_place,
                                   .from = -1,
                                   .to = -1,
                                   .n = 1,
                                   .counts = {count}};
    e->x = (ls_type){LS_DTYPE_F32, {1, {count}}};
    LS_TRY(op->start->infer(&e->attr, 1, &e->x, &n_made, e->made));
    e->taken[0] = e->made[0];
    e->taken[1] = e->x;
    e->taken[2] = e->made[1];
    LS_TRY(op->wait->infer(&e->attr, n_made + 1, e->taken, &n_result, e->result));
    e->start = (ls_sig){op->start, &e->attr, 1, n_made, &e->x, e->made};
    e->wait = (ls_sig){op->wait, &e->attr, n_made + 1, n_result, e->taken, e->result};
    LS_TRY(ls_kernel_choose(&e->start, LS_DEVICE_CPU, ls_cpu_isa(), &e->start_kernel));
    return ls_kernel_choose(&e->wait, LS_DEVICE_CPU, ls_cpu_isa(), &e->wait_kernel);
}

static size_t round_up(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

static ls_tensor tensor_at(const ls_type *type, char *data) {
    return (ls_tensor){type->dtype, type->shape, data};
}

/* x; the result where it is not x; the staging. */
static ls_status bind(exchange *e) {
    const size_t x = round_up(ls_type_bytes(&e->x)), y = round_up(ls_type_bytes(&e->made[0]));
    const size_t staging = e->start.n_out > 1 ? ls_type_bytes(&e->made[1]) : 0;
    LS_TRY(ls_comm_memory_create(e->comm, x + y + staging + 64, (void **)&e->memory));
    char *result = e->attr.in_place ? e->memory : e->memory + x;
    e->start_in[0] = tensor_at(&e->x, e->memory);
    e->start_out[0] = e->wait_in[0] = tensor_at(&e->made[0], result);
    e->wait_in[1] = e->start_in[0];
    if (e->start.n_out > 1)
        e->start_out[1] = e->wait_in[2] = tensor_at(&e->made[1], e->memory + x + y);
    e->wait_out[0] = tensor_at(&e->result[0], result);
    e->workspace =
        ls_alloc(e->wait_kernel->workspace_bytes
                     ? e->wait_kernel->workspace_bytes(&e->wait, ls_pool_threads(e->pool)) + 64
                     : 64);
    return ls_comm_agree(e->comm, "memory for bench", e->workspace ? LS_OK : LS_ERR_NO_MEMORY);
}

static ls_status run_once(exchange *e) {
    ls_launch launch = {.sig = &e->start,
                        .in = e->start_in,
                        .out = e->start_out,
                        .pool = e->pool,
                        .comm = e->comm,
                        .scope = "bench"};
    LS_TRY(e->start_kernel->launch(&launch));
    launch.sig = &e->wait;
    launch.in = e->wait_in;
    launch.out = e->wait_out;
    launch.workspace = e->workspace;
    launch.node = 1;
    return e->wait_kernel->launch(&launch);
}

/* Sums in place grow with every run, so the tensor is filled anew now and then. */
static ls_status time_runs(exchange *e, int n, double *seconds, double *all) {
    const int size = ls_comm_size(e->comm);
    for (int i = -WARM_UPS; i < n; i++) {
        if ((i + WARM_UPS) % REFILL == 0)
            ls_fill_random_f32(e->start_in[0].data, ls_type_count(&e->x),
                               (uint32_t)ls_comm_rank(e->comm) + 1);
        LS_TRY(ls_comm_exchange(e->comm, "ready", NULL, 0, NULL));
        const double begun = ls_clock_seconds();
        LS_TRY(run_once(e));
        const double took = ls_clock_seconds() - begun;
        LS_TRY(ls_comm_exchange(e->comm, "time", &took, sizeof took, all));
        double slowest = took;
        for (int r = 0; r < size; r++) slowest = all[r] > slowest ? all[r] : slowest;
        if (i >= 0) seconds[i] = slowest;
    }
    return LS_OK;
}

static ls_status measure_size(ls_meter *meter, exchange *e, const exchange_op *op, int which,
                              ls_machine *m) {
    const int size = ls_comm_size(e->comm);
    const int n = meter->options.quick ? QUICK_RUNS : full_runs[which];
    const double bytes = (double)tensor_bytes[which] * (size - 1) / (op->takes_all ? 1 : size);
    double seconds[MAX_RUNS];
    if (m->n_exchange == LS_MACHINE_MAX_EXCHANGE)
        return LS_FAIL(LS_ERR_INTERNAL, "a profile has room for %d collectives",
                       LS_MACHINE_MAX_EXCHANGE);
    ls_machine_exchange *row = &m->exchange[m->n_exchange];
    *row = (ls_machine_exchange){.ranks = size, .hosts = ls_comm_hosts(e->comm), .bytes = bytes};
    memcpy(row->op, op->name, strlen(op->name));
    const char *transport = ls_comm_transport(e->comm);
    memcpy(row->transport, transport, strnlen(transport, sizeof row->transport - 1));
    double *all = ls_alloc(sizeof *all * (size_t)size);
    ls_status status = ls_comm_agree(e->comm, "memory for bench", all ? LS_OK : LS_ERR_NO_MEMORY);
    if (status == LS_OK) status = infer(e, op, tensor_bytes[which] / 4);
    if (status == LS_OK) status = bind(e);
    if (status == LS_OK) status = time_runs(e, n, seconds, all);
    if (e->memory) ls_comm_memory_destroy(e->comm, e->memory);
    ls_free(e->workspace);
    ls_free(all);
    e->memory = e->workspace = NULL;
    LS_TRY(status);
    row->seconds = ls_measure_of(seconds, n);
    m->n_exchange++;
    return LS_OK;
}

static int is_wanted(const ls_meter *meter, int size) {
    return !meter->options.quick || size % 2 == 0;
}

ls_status ls_measure_exchange(ls_meter *meter, ls_comm *comm, ls_machine *m) {
    const int size = ls_comm_size(comm), share = ls_cpu_count() / size;
    if (size < 2 || (size & (size - 1)) != 0)
        return LS_FAIL(LS_ERR_INVALID,
                       "bench: collectives are between 2, 4, 8, ... ranks (a run has no others); "
                       "this is one of %d",
                       size);
    exchange *e = ls_alloc(sizeof *e);
    if (!e) return LS_ERR_NO_MEMORY;
    e->comm = comm;
    ls_status status = ls_pool_create(share > 1 ? share : 1, -1, &e->pool);
    status = ls_comm_agree(comm, "threads for bench", status);
    for (int i = 0; status == LS_OK && i < N_OPS; i++) {
        if (ls_comm_rank(comm) == 0) ls_meter_tell(meter, exchange_ops[i].name);
        for (int s = 0; status == LS_OK && s < N_SIZES; s++)
            if (is_wanted(meter, s)) status = measure_size(meter, e, &exchange_ops[i], s, m);
    }
    ls_pool_destroy(e->pool);
    ls_free(e);
    return status;
}

/* --- ranks as threads ------------------------------------------------------------------------------------------------ */

enum { MOST_RANKS = 8 };

typedef struct thread_ranks {
    ls_meter *meter;
    ls_machine *machine; /* the first rank's */
    ls_comm_hub *hub;
} thread_ranks;

static ls_status run_rank(void *user, int64_t rank, int worker) {
    const thread_ranks *ranks = user;
    (void)worker;
    ls_comm *comm = ls_comm_hub_rank(ranks->hub, (int)rank);
    ls_machine *own = rank == 0 ? ranks->machine : ls_alloc(sizeof *own);
    ls_status status = ls_comm_agree(comm, "memory for bench", own ? LS_OK : LS_ERR_NO_MEMORY);
    if (status == LS_OK) status = ls_measure_exchange(ranks->meter, comm, own);
    if (status != LS_OK && status != LS_ERR_COMM) ls_comm_abort(comm, ls_error_message());
    if (rank != 0) ls_free(own);
    return status;
}

ls_status ls_measure_exchange_threads(ls_meter *meter, ls_machine *m) {
    const ls_comm_options options = {.quiet = 1};
    thread_ranks ranks = {meter, m, NULL};
    ls_pool *pool = NULL;
    int size = 2;
    while (size * 2 <= ls_cpu_count() && size < MOST_RANKS) size *= 2;
    ls_status status = ls_comm_hub_create(size, &options, &ranks.hub);
    if (status == LS_OK) status = ls_pool_create(size, -1, &pool);
    /* As many threads as tasks: no rank waits for another one's thread. */
    if (status == LS_OK) status = ls_pool_run(pool, size, run_rank, &ranks);
    ls_pool_destroy(pool);
    ls_comm_hub_destroy(ranks.hub);
    return status;
}
