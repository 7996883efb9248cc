/* Opens a checkpoint, checks every hash, lists its tensors and compares the hash of its weights with the one that training
 * printed. usage: inspect_checkpoint [DIR]   (without DIR it trains four steps of configs/tiny.yaml first) */
#include "lockstep/checkpoint.h"
#include "lockstep/memory.h"
#include "lockstep/train.h"
#include <stdio.h>
#include <string.h>

enum { SHOWN = 8 };

static ls_status train(ls_train_result *result) {
    static const char *const assignments[] = {"steps=4", "optim.warmup=1", "eval_every=0",
                                              "tensorboard=false", "out=out/example_checkpoint"};
    ls_train_config config;
    struct ls_config *values = NULL;
    const int n = (int)(sizeof assignments / sizeof assignments[0]);
    LS_TRY(ls_train_config_load("configs/tiny.yaml", assignments, n, &config, &values));
    const ls_train_options options = {0};
    const ls_status status = ls_train(&config, values, &options, result);
    ls_config_destroy(values);
    return status;
}

static void list_tensors(const ls_ckpt *ckpt) {
    size_t bytes = 0;
    for (int i = 0; i < ls_ckpt_count(ckpt); i++) {
        const ls_ckpt_tensor_info t = ls_ckpt_tensor(ckpt, i);
        char shape[128];
        bytes += (size_t)ls_shape_count(&t.shape) * ls_dtype_bytes(t.dtype);
        if (i < SHOWN)
            printf("  %-34s %s %s\n", t.name, ls_dtype_name(t.dtype),
                   ls_shape_print(&t.shape, shape));
    }
    printf("  ... %d tensors, %zu bytes in all\n", ls_ckpt_count(ckpt), bytes);
}

/* `wanted` is the hash to compare with, "" for none. */
static ls_status inspect(const ls_ckpt *ckpt, const char *wanted) {
    printf("%s: step %lld, seed %llu\n", ls_ckpt_dir(ckpt), (long long)ls_ckpt_step(ckpt),
           (unsigned long long)ls_ckpt_seed(ckpt));
    list_tensors(ckpt);
    LS_TRY(ls_ckpt_verify(ckpt));
    puts("every hash of the manifest fits");
    char hash[65];
    LS_TRY(ls_ckpt_hash_weights(ckpt, hash));
    printf("weights sha256:%s\n", hash);
    if (*wanted && strcmp(hash, wanted) != 0)
        return LS_FAIL(LS_ERR_DATA, "training said %s, the checkpoint has %s", wanted, hash);
    return LS_OK;
}

static ls_status open_and_inspect(const char *run, const char *wanted) {
    char *path = NULL;
    ls_ckpt *ckpt = NULL;
    LS_TRY(ls_ckpt_find_latest(run, &path));
    ls_status status = ls_ckpt_open(path, &ckpt);
    if (status == LS_OK) status = inspect(ckpt, wanted);
    ls_ckpt_close(ckpt);
    ls_free(path);
    return status;
}

int main(int argc, char **argv) {
    ls_train_result result = {0};
    ls_status status = argc > 1 ? LS_OK : train(&result);
    if (status == LS_OK)
        status = open_and_inspect(argc > 1 ? argv[1] : result.checkpoint, result.weights_sha256);
    if (status != LS_OK) fprintf(stderr, "inspect_checkpoint: %s\n", ls_error_message());
    return ls_status_exit_code(status);
}
