/* labels: slow threads timeout=600
 * A run that reads one buffer of the state and writes the other, looked at before and after every kernel, and made to fail at any:
 * the current buffer holds the state before the step at every instant; before_update comes once, before anything that lets
 * other ranks go on and before the other buffer is touched; a step that failed can be run again. */
#include "plan/kept_run.h"

/* The parts of this rank, one after the other, as they lie in a buffer. */
static char *copy_parts(const rank_run *r, int buffer) {
    ls_arena *arena;
    ls_plan_part *parts;
    int n;
    check_ok(ls_arena_create(&arena));
    check_ok(ls_plan_parts(r->plan, r->rank, arena, &parts, &n));
    assert_true(n > 4);
    char *copy = calloc(1, state_bytes(r->plan));
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        const size_t bytes = (size_t)parts[i].count * ls_dtype_bytes(parts[i].whole.dtype);
        const char *from = ls_program_part_address(r->program, &parts[i]);
        if (buffer != ls_program_current(r->program))
            from += r->program->kept[buffer] - r->program->kept[!buffer];
        memcpy(copy + at, from, bytes);
        at += bytes;
    }
    ls_arena_destroy(arena);
    return copy;
}

static int parts_are(const rank_run *r, int buffer, const char *want) {
    char *now = copy_parts(r, buffer);
    const int same = memcmp(now, want, state_bytes(r->plan)) == 0;
    free(now);
    return same;
}

static void remember(rank_run *r) {
    for (int b = 0; b < 2; b++) {
        free(r->parts[b]);
        r->parts[b] = copy_parts(r, b);
    }
}

static int gives(const ls_node *node) {
    return node->phase == LS_PHASE_UPDATE || strcmp(node->op->name, "reduce_scatter_start") == 0 ||
           strcmp(node->op->name, "all_reduce_start") == 0;
}

/* Stands before every kernel of a program. */
static ls_status launch_hooked(const ls_launch *l) {
    rank_run *r = here;
    const int current = ls_program_current(r->program);
    const ls_node *node = &r->plan->graph->nodes[l->node];
    if (r->watching && gives(node) && r->n_announced != 1)
        return LS_FAIL(LS_ERR_INTERNAL, "%s runs before before_update", node->op->name);
    if (r->watching && r->n_announced == 0 && !parts_are(r, !current, r->parts[!current]))
        return LS_FAIL(LS_ERR_INTERNAL, "the other buffer is written before before_update");
    LS_TRY(r->launch[l->node](l));
    if (r->watching && !parts_are(r, current, r->parts[current]))
        return LS_FAIL(LS_ERR_INTERNAL, "%s writes over the state before the step", node->op->name);
    r->n_launches++;
    if (r->fails && r->n_launches == r->fail_at)
        return LS_FAIL(LS_ERR_INTERNAL, "the %d-th kernel fails", r->fail_at);
    return LS_OK;
}

static void hook(rank_run *r) {
    const size_t n = (size_t)r->plan->graph->n_nodes;
    here = r;
    r->launch = calloc(n, sizeof *r->launch);
    r->kernels = calloc(n, sizeof *r->kernels);
    for (int s = 0; s < r->program->rank->n_segments; s++)
        for (int64_t i = 0; i < r->program->segments[s].n_steps; i++) {
            ls_step *step = &r->program->segments[s].steps[i];
            const int64_t node = step->node - r->plan->graph->nodes;
            r->launch[node] = step->kernel->launch;
            r->kernels[node] = *step->kernel;
            r->kernels[node].launch = launch_hooked;
            step->kernel = &r->kernels[node];
        }
}

/* At every kernel of the third step. */
static ls_status watch(rank_run *r) {
    LS_TRY(lower(r, NULL, NULL));
    LS_TRY(ls_program_init(r->program, 5));
    LS_TRY(run_step(r));
    LS_TRY(run_step(r));
    hook(r);
    for (int i = 0; i < 2; i++) {
        remember(r);
        r->watching = 1;
        LS_TRY(run_step(r));
        r->watching = 0;
    }
    return LS_OK;
}

static const setup crash_setups[] = {
    {.model = LS_MODEL_GPT2, .optim = LS_OPTIM_ADAMW, .ranks = 1, .tied = 1, .kept = 1},
    {.model = LS_MODEL_RESNET, .optim = LS_OPTIM_SGD, .ranks = 1, .width = 8, .kept = 1},
    {.model = LS_MODEL_GPT2, .optim = LS_OPTIM_ADAMW, .ranks = 2, .zero = 0, .kept = 1},
    {.model = LS_MODEL_GPT2, .optim = LS_OPTIM_ADAMW, .ranks = 2, .zero = 1, .kept = 1},
    {.model = LS_MODEL_LLAMA,
     .optim = LS_OPTIM_ADAMW,
     .precision = LS_PRECISION_BF16,
     .ranks = 2,
     .zero = 1,
     .kept = 1},
    {.model = LS_MODEL_GPT2, .optim = LS_OPTIM_LION, .ranks = 2, .zero = 2, .kept = 1},
    {.model = LS_MODEL_LLAMA, .optim = LS_OPTIM_ADAMW, .ranks = 2, .zero = 3, .kept = 1},
    {.model = LS_MODEL_GPT2, .optim = LS_OPTIM_ADAMW, .ranks = 4, .zero = 1, .tied = 1, .kept = 1},
    {.model = LS_MODEL_RESNET,
     .optim = LS_OPTIM_ADAMW,
     .ranks = 2,
     .zero = 2,
     .width = 8,
     .kept = 1},
};
enum { N_CRASH_SETUPS = sizeof crash_setups / sizeof crash_setups[0] };

static void test_every_instant(void **state) {
    (void)state;
    for (int i = 0; i < N_CRASH_SETUPS; i++) {
        rank_run ranks[MAX_RANKS] = {{0}};
        run_ranks(&crash_setups[i], watch, ranks);
        for (int r = 0; r < crash_setups[i].ranks; r++) {
            if (ranks[r].status != LS_OK) fail_msg("setup %d rank %d: %s", i, r, ranks[r].message);
            assert_true(ranks[r].n_launches > 40);
        }
    }
}

/* Two steps, then one that fails; alone, the step is run again. */
static ls_status fail_once(rank_run *r) {
    LS_TRY(lower(r, NULL, NULL));
    LS_TRY(ls_program_init(r->program, 5));
    LS_TRY(run_step(r));
    LS_TRY(run_step(r));
    hook(r);
    remember(r);
    if (r->comm)
        LS_TRY(ls_comm_agree(r->comm, "two steps", LS_OK)); /* nobody fails before all got here */
    const int current = ls_program_current(r->program), announce_fails = r->announce_fails;
    const ls_status status = run_step(r);
    if (status == LS_OK)
        return r->fails ? LS_FAIL(LS_ERR_INTERNAL, "the step did not fail") : LS_OK;
    snprintf(r->message, sizeof r->message, "%s", ls_error_message());
    if (ls_program_current(r->program) != current || !parts_are(r, current, r->parts[current]))
        return LS_FAIL(LS_ERR_INTERNAL, "a step that failed changed the state");
    if (r->fails && announce_fails && !parts_are(r, !current, r->parts[!current]))
        return LS_FAIL(LS_ERR_INTERNAL, "before_update failed, but the other buffer was written");
    if (r->comm) return LS_OK;
    r->fails = r->announce_fails = 0;
    LS_TRY(run_step(r));
    return fetch_state(r);
}

/* Returns 0 when the step has fewer kernels than fail_at. */
static int fail_setup(const setup *s, int victim, int fail_at, const char *want) {
    rank_run ranks[MAX_RANKS] = {{0}};
    ranks[victim].fails = 1;
    ranks[victim].fail_at = fail_at;
    ranks[victim].announce_fails = fail_at == 0;
    run_ranks(s, fail_once, ranks);
    const int too_late = strstr(ranks[victim].message, "did not fail") != NULL;
    for (int r = 0; r < s->ranks && !too_late; r++) {
        if (ranks[r].status != LS_OK)
            fail_msg("zero %d, kernel %d of rank %d fails: rank %d: %s", s->zero, fail_at, victim,
                     r, ranks[r].message);
        if (ranks[r].state && memcmp(ranks[r].state, want, ranks[r].bytes) != 0)
            fail_msg("kernel %d fails: other bits when the step is run again", fail_at);
    }
    for (int r = 0; r < s->ranks; r++) free(ranks[r].state);
    return !too_late;
}

static void test_failed_steps(void **state) {
    (void)state;
    for (int i = 0; i < N_CRASH_SETUPS; i++) {
        setup s = crash_setups[i];
        size_t bytes;
        float loss, skipped;
        s.steps = 3;
        char *want = s.ranks == 1 ? train_setup(&s, &bytes, &loss, &skipped) : NULL;
        const int stride = s.ranks == 1 ? 1 : 3;
        int n = 0;
        for (int at = 0; fail_setup(&s, at % s.ranks, at, want); at += stride) n++;
        assert_true(n > 5);
        free(want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_instant),
        cmocka_unit_test(test_failed_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
