/* What it costs to write a step's updates to another buffer than the one that is read (plan option `kept`).
 *   bench_kept [zero=0] [precision=f32] [ranks=2] [layers=12] [width=768] [vocab=50257] [batch=4] [window=64] [pairs=12]
 * Two worlds of the same ranks, as threads, with one buffer and with two, take steps in turn: whatever else the machine does meets both.
 * Prints the seconds of each pair, and the median of their ratios, by the clock and by the processor time of all threads (steadier
 * on a machine that does something else too). The defaults are GPT-2 124M. */
#include "base/clock.h"
#include "base/rng.h"
#include "exec/program.h"
#include "lockstep/model.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_RANKS = 8, MAX_PAIRS = 1000, UNTIMED = 2 };

typedef struct setting {
    const char *name;
    int value;
} setting;

static setting settings[] = {
    {"zero", 0},  {"ranks", 2},   {"layers", 12}, {"width", 768}, {"vocab", 50257},
    {"batch", 4}, {"window", 64}, {"pairs", 12},  {"heads", 12},  {"precision", LS_PRECISION_F32}};

static int get(const char *name) {
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if (strcmp(settings[i].name, name) == 0) return settings[i].value;
    return 0;
}

static int set(const char *word) {
    static const char *const precisions[] = {"f32", "bf16", "f16"};
    const char *equals = strchr(word, '=');
    for (size_t i = 0; equals && i < sizeof settings / sizeof settings[0]; i++) {
        if (strncmp(settings[i].name, word, (size_t)(equals - word)) != 0) continue;
        settings[i].value = atoi(equals + 1);
        for (int p = 0; p < 3; p++)
            if (strcmp(precisions[p], equals + 1) == 0) settings[i].value = p;
        return 1;
    }
    return 0;
}

static ls_status make_plan(int kept, ls_plan **out) {
    ls_model_options model = ls_model_default();
    model.kind = LS_MODEL_GPT2;
    model.layers = get("layers");
    model.width = get("width");
    model.heads = get("heads");
    model.vocab = get("vocab");
    model.context = 1024;
    model.tied = 1;
    model.dropout = 0;
    const int lanes = get("ranks");
    const double count = (double)get("batch") * get("window");
    const ls_model_batch batch = {.batch = get("batch") / lanes,
                                  .tokens = get("window"),
                                  .lanes = lanes,
                                  .grad_scale = 1 / count,
                                  .training = 1,
                                  .with_loss = 1};
    const ls_optim_options optim = ls_optim_default();
    const ls_plan_options options = {.mode = LS_PLAN_TRAIN,
                                     .device = "cpu",
                                     .threads = 1,
                                     .lanes = lanes,
                                     .precision = (ls_precision)get("precision"),
                                     .zero = get("zero"),
                                     .kept = kept,
                                     .optim = &optim,
                                     .static_count = count};
    const ls_mesh mesh = {.dp = lanes};
    ls_graph *graph = NULL;
    LS_TRY(ls_graph_create(&graph));
    ls_status status = ls_model_build(&model, &batch, graph);
    if (status == LS_OK) status = ls_plan_make(graph, &mesh, &options, out);
    ls_graph_destroy(graph);
    return status;
}

static ls_status feed(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    const uint64_t step = *(const uint64_t *)user;
    const ls_rng_key key = {3, step * 64 + (uint64_t)lane, ls_rng_stream(name)};
    for (int64_t i = 0; i < ls_shape_count(&tensor->shape); i++)
        ls_tensor_set(tensor, i, lane < 0 ? 1e-4 : (double)ls_rng_below(key, (uint64_t)i, 256));
    return LS_OK;
}

/* One rank in both worlds. */
typedef struct rank_work {
    ls_plan *const *plans;
    ls_comm *comms[2];
    ls_device *device;
    ls_program *programs[2];
    int rank;
    double (
        *seconds)[4]; /* per pair, of one buffer and of two, then the processor's; rank 0 writes */
    ls_status status;
} rank_work;

static double processor_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static ls_status take_step(rank_work *w, int world, uint64_t step, double seconds_out[2]) {
    const ls_run_options run = {.seed = 1, .step = step, .feed = feed, .user = &step};
    LS_TRY(ls_comm_agree(w->comms[world], "the step", LS_OK));
    const double begin = ls_clock_seconds(), used = processor_seconds();
    LS_TRY(ls_program_run(w->programs[world], &run));
    LS_TRY(ls_comm_agree(w->comms[world], "the step's end", LS_OK));
    seconds_out[0] = ls_clock_seconds() - begin;
    seconds_out[1] = processor_seconds() - used;
    return LS_OK;
}

static ls_status run_pairs(rank_work *w) {
    for (int world = 0; world < 2; world++) {
        const ls_lower_options lower = {.device = w->device, .comm = w->comms[world]};
        LS_TRY(ls_program_lower(w->plans[world], w->rank, &lower, &w->programs[world]));
        LS_TRY(ls_program_init(w->programs[world], 1));
    }
    const int n = get("pairs") + UNTIMED;
    for (int i = 0; i < n; i++)
        for (int turn = 0; turn < 2; turn++) {
            double seconds[2];
            const int world = (i + turn) % 2; /* each goes first as often as the other */
            LS_TRY(take_step(w, world, (uint64_t)i, seconds));
            for (int k = 0; w->rank == 0 && i >= UNTIMED && k < 2; k++)
                w->seconds[i - UNTIMED][2 * k + world] = seconds[k];
        }
    return LS_OK;
}

static void *run_rank(void *user) {
    rank_work *w = user;
    w->status = run_pairs(w);
    if (w->status == LS_OK) return NULL;
    fprintf(stderr, "bench_kept: rank %d: %s\n", w->rank, ls_error_message());
    for (int world = 0; world < 2; world++) ls_comm_abort(w->comms[world], ls_error_message());
    return NULL;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report_ratio(const char *what, double (*seconds)[4], int column) {
    const int n = get("pairs");
    double one[MAX_PAIRS], ratio[MAX_PAIRS];
    for (int i = 0; i < n; i++) {
        one[i] = seconds[i][column];
        ratio[i] = seconds[i][column + 1] / seconds[i][column];
    }
    qsort(one, (size_t)n, sizeof *one, by_size);
    qsort(ratio, (size_t)n, sizeof *ratio, by_size);
    printf("zero %d, %s: one buffer %.4f s; ratio of two to one: median %.4f, quartiles %.4f to "
           "%.4f\n",
           get("zero"), what, one[n / 2], ratio[n / 2], ratio[n / 4], ratio[n - 1 - n / 4]);
}

static void report(double (*seconds)[4]) {
    for (int i = 0; i < get("pairs"); i++)
        printf("pair %2d: one buffer %.4f s, two %.4f s; processor %.4f s, %.4f s\n", i,
               seconds[i][0], seconds[i][1], seconds[i][2], seconds[i][3]);
    report_ratio("clock", seconds, 0);
    report_ratio("processor", seconds, 2);
}

static ls_status run_bench(double (*seconds)[4]) {
    ls_plan *plans[2] = {NULL, NULL};
    ls_comm_hub *hubs[2] = {NULL, NULL};
    rank_work ranks[MAX_RANKS] = {{0}};
    pthread_t threads[MAX_RANKS];
    const int n = get("ranks");
    const ls_comm_options options = {.late_seconds = 600, .quiet = 1};
    ls_status status = LS_OK;
    for (int world = 0; status == LS_OK && world < 2; world++) {
        status = make_plan(world, &plans[world]);
        if (status == LS_OK) status = ls_comm_hub_create(n, &options, &hubs[world]);
    }
    for (int r = 0; status == LS_OK && r < n; r++) {
        ranks[r] = (rank_work){.plans = plans, .rank = r, .seconds = seconds};
        for (int world = 0; world < 2; world++)
            ranks[r].comms[world] = ls_comm_hub_rank(hubs[world], r);
        status = ls_device_create("cpu", 0, &ranks[r].device);
    }
    if (status != LS_OK) return status;
    for (int r = 0; r < n; r++) pthread_create(&threads[r], NULL, run_rank, &ranks[r]);
    for (int r = 0; r < n; r++) pthread_join(threads[r], NULL);
    for (int r = 0; r < n; r++) {
        if (ranks[r].status != LS_OK) status = ranks[r].status;
        for (int world = 0; world < 2; world++) ls_program_destroy(ranks[r].programs[world]);
        ls_device_destroy(ranks[r].device);
    }
    for (int world = 0; world < 2; world++) {
        ls_comm_hub_destroy(hubs[world]);
        ls_plan_destroy(plans[world]);
    }
    return status;
}

int main(int argc, char **argv) {
    static double seconds[MAX_PAIRS][4];
    for (int i = 1; i < argc; i++)
        if (!set(argv[i])) {
            fprintf(stderr, "bench_kept: '%s' is none of its settings; see the head of %s\n",
                    argv[i], __FILE__);
            return 2;
        }
    if (get("ranks") < 1 || get("ranks") > MAX_RANKS || get("pairs") < 1 ||
        get("pairs") > MAX_PAIRS) {
        fprintf(stderr, "bench_kept: ranks are 1 to %d, pairs 1 to %d\n", MAX_RANKS, MAX_PAIRS);
        return 2;
    }
    if (run_bench(seconds) != LS_OK) return 1;
    report(seconds);
    return 0;
}
