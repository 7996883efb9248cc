/* Small programs on several ranks (threads of this process), for the tests of checkpoints. */
#ifndef LS_TESTS_UNIT_CKPT_WORLD_H
#define LS_TESTS_UNIT_CKPT_WORLD_H
#include <math.h>

#include "base/fs.h"
#include "ckpt/ckpt.h"
#include "model_run.h"
#include "unit/comm/ranks.h"

enum { WORLD_LANES = 8, WORLD_TOKENS = 4, WORLD_VOCAB = 16 };

typedef struct world_rank {
    ls_comm *comm;
    ls_program *program;
    const ls_plan *plan;
    int rank, size;
} world_rank;
typedef ls_status (*world_fn)(world_rank *rank, void *user);

typedef struct world {
    int zero, lanes, kept;
    ls_plan *plan;
    world_fn fn;
    void *user;
} world;

static inline ls_plan *world_plan(int ranks, int zero, int lanes) {
    const ls_model_options model = small_gpt2(1, 16, WORLD_VOCAB, WORLD_TOKENS);
    const ls_model_batch batch = training_batch(1, WORLD_TOKENS, lanes);
    const ls_optim_options optim = ls_optim_default();
    const ls_plan_options options = {.mode = LS_PLAN_TRAIN,
                                     .device = "cpu",
                                     .threads = 1,
                                     .lanes = lanes,
                                     .zero = zero,
                                     .optim = &optim,
                                     .static_count = (double)lanes * WORLD_TOKENS};
    const ls_mesh mesh = {.dp = ranks};
    return plan_model(&model, &batch, &options, &mesh);
}

static inline ls_status world_feed(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    return feed_values(tensor, name, *(const uint64_t *)user, lane, WORLD_VOCAB);
}

static inline ls_status world_step(world_rank *r, uint64_t step) {
    const ls_run_options run = {.seed = 5, .step = step, .feed = world_feed, .user = &step};
    return ls_program_run(r->program, &run);
}

static inline ls_status world_body(ls_comm *comm, void *user, outcome *out) {
    const world *w = user;
    ls_device *device = NULL;
    (void)out;
    world_rank r = {
        .comm = comm, .plan = w->plan, .rank = ls_comm_rank(comm), .size = ls_comm_size(comm)};
    LS_TRY(ls_device_create("cpu", 0, &device));
    const ls_lower_options lower = {.device = device, .comm = r.size > 1 ? comm : NULL};
    ls_status status = ls_program_lower(w->plan, r.rank, &lower, &r.program);
    if (status == LS_OK) status = w->fn(&r, w->user);
    ls_program_destroy(r.program);
    ls_device_destroy(device);
    return status;
}

/* Runs `fn` on every rank. Outcomes per rank in `out` (MAX_RANKS of them). */
static inline void run_world_outcomes(int ranks, int zero, int lanes, world_fn fn, void *user,
                                      outcome *out) {
    const ls_comm_options options = {.transport = LS_TRANSPORT_THREADS, .late_seconds = 60};
    world w = {.zero = zero, .lanes = lanes, .fn = fn, .user = user};
    w.plan = world_plan(ranks, zero, lanes);
    run_threads(ranks, &options, world_body, &w, out);
    ls_plan_destroy(w.plan);
}

static inline void run_world_lanes(int ranks, int zero, int lanes, world_fn fn, void *user) {
    outcome out[MAX_RANKS];
    run_world_outcomes(ranks, zero, lanes, fn, user, out);
    for (int r = 0; r < ranks; r++)
        if (out[r].status != LS_OK)
            fail_msg("%d ranks, zero %d: rank %d: %s: %s", ranks, zero, r,
                     ls_status_words(out[r].status), out[r].message);
}

static inline void run_world(int ranks, int zero, world_fn fn, void *user) {
    run_world_lanes(ranks, zero, WORLD_LANES, fn, user);
}

static inline ls_ckpt_content world_content(int64_t step) {
    static const ls_ckpt_file files[] = {{"config.json", "{\"torch_dtype\": \"float32\"}", 26}};
    return (ls_ckpt_content){.step = step,
                             .seed = 5,
                             .config_json = "{\"steps\": 9}",
                             .trainer_json = "{\"best\": 1}",
                             .files = files,
                             .n_files = 1,
                             .score = NAN};
}

static char world_root[512];
static inline const char *in_root(const char *name) {
    static _Thread_local char paths[8][1024];
    static _Thread_local int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", world_root, name);
    return path;
}

static inline int make_world_root(void **state) {
    (void)state;
    snprintf(world_root, sizeof world_root, "%s", check_path("world"));
    check_ok(ls_dir_make(world_root));
    return 0;
}

static inline int remove_world_root(void **state) {
    (void)state;
    return ls_dir_remove(world_root) == LS_OK ? 0 : 1;
}

/* Both files have the same bytes? */
static inline int same_file(const char *a, const char *b) {
    char *x, *y;
    size_t n, m;
    check_ok(ls_file_read(a, &x, &n));
    check_ok(ls_file_read(b, &y, &m));
    const int same = n == m && memcmp(x, y, n) == 0;
    ls_free(x);
    ls_free(y);
    return same;
}

#endif
