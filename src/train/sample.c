#include "train/sample.h"

#include <math.h>
#include <stdlib.h>

#include "base/rng.h"

static int by_logit(const void *a, const void *b) {
    const ls_candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* How many of the sorted candidates stay, and the sum of their weights exp((logit - best) / temperature). */
static int64_t keep_candidates(const ls_candidate *c, int64_t n, const ls_generate_options *o,
                               double *sum_out) {
    if (o->top_k > 0 && o->top_k < n) n = o->top_k;
    double all = 0, sum = 0;
    for (int64_t i = 0; i < n; i++)
        all += exp(((double)c[i].logit - (double)c[0].logit) / o->temperature);
    int64_t kept = 0;
    while (kept < n && (kept == 0 || sum < o->top_p * all))
        sum += exp(((double)c[kept++].logit - (double)c[0].logit) / o->temperature);
    *sum_out = sum;
    return kept;
}

ls_status ls_sample_token(const ls_tensor *logits, int64_t row, const ls_generate_options *o,
                          int64_t position, ls_candidate *scratch, int32_t *out) {
    const int64_t n = logits->shape.dims[logits->shape.n_dims - 1];
    for (int64_t i = 0; i < n; i++) {
        scratch[i] = (ls_candidate){(float)ls_tensor_get(logits, row * n + i), (int32_t)i};
        if (isnan(scratch[i].logit))
            return LS_FAIL(LS_ERR_NUMERIC,
                           "generate: the logit of token %lld at position %lld is NaN; the "
                           "checkpoint's weights are no use",
                           (long long)i, (long long)position);
    }
    qsort(scratch, (size_t)n, sizeof *scratch, by_logit);
    *out = scratch[0].id;
    if (o->temperature <= 0) return LS_OK;
    double sum, seen = 0;
    const int64_t kept = keep_candidates(scratch, n, o, &sum);
    const ls_rng_key key = {o->seed, 0, ls_rng_stream("generate")};
    const double target = ls_rng_uniform(key, (uint64_t)position) * sum;
    for (int64_t i = 0; i < kept; i++) {
        *out = scratch[i].id;
        seen += exp(((double)scratch[i].logit - (double)scratch[0].logit) / o->temperature);
        if (seen > target) break;
    }
    return LS_OK;
}
