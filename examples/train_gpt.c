/* Trains a small GPT from a configuration file, with a progress line of its own, and prints the hash of the weights.
 * usage: train_gpt [KEY=VALUE...]   (run from the repository's root: it reads configs/tiny.yaml) */
#include "lockstep/train.h"
#include <stdio.h>

enum { MAX_ASSIGNMENTS = 32, REPORT_EVERY = 5 };

/* Called by the loop after each step; `user` is what the options say. */
static void report(void *user, const ls_train_progress *p) {
    FILE *out = user;
    if (p->step % REPORT_EVERY == 0 || p->step == p->steps)
        fprintf(out, "step %3lld of %lld  loss %.4f  gradient norm %.3f\n", (long long)p->step,
                (long long)p->steps, p->loss, p->grad_norm);
}

static ls_status train(const char *const *assignments, int n) {
    ls_train_config config;
    struct ls_config *values = NULL;
    LS_TRY(ls_train_config_load("configs/tiny.yaml", assignments, n, &config, &values));
    const ls_train_options options = {.progress = report, .user = stdout};
    ls_train_result result;
    const ls_status status = ls_train(&config, values, &options, &result);
    if (status == LS_OK) {
        printf("held-out text: %.3f bits per byte after %lld steps\n", result.held_bits_per_byte,
               (long long)result.steps);
        printf("bytes planned %lld, allocated %lld; allocations inside the loop: %lld\n",
               (long long)result.planned_bytes, (long long)result.allocated_bytes,
               (long long)result.run_allocations);
        printf("checkpoint %s\nweights sha256:%s\n", result.checkpoint, result.weights_sha256);
    }
    ls_config_destroy(values); /* it owns the strings of `config` */
    return status;
}

int main(int argc, char **argv) {
    /* Later assignments win, so the command line may change any of these. */
    const char *assignments[MAX_ASSIGNMENTS] = {"steps=20", "optim.warmup=5", "eval_every=0",
                                                "tensorboard=false", "out=out/example_train"};
    int n = 5;
    for (int i = 1; i < argc && n < MAX_ASSIGNMENTS; i++) assignments[n++] = argv[i];
    const ls_status status = train(assignments, n);
    if (status != LS_OK) fprintf(stderr, "train_gpt: %s\n", ls_error_message());
    return ls_status_exit_code(status);
}
