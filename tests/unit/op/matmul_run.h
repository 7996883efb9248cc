/* Random operands for a signature and one run of a kernel on them. */
#ifndef LS_TEST_MATMUL_RUN_H
#define LS_TEST_MATMUL_RUN_H
#include "base/alloc.h"
#include "op/op.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { RUN_MAX_IN = 4 };

typedef struct run {
    ls_sig sig;
    ls_type in_types[RUN_MAX_IN], out_types[LS_MAX_OUT];
    ls_tensor in[RUN_MAX_IN], out[LS_MAX_OUT];
} run;

static inline double run_draw(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return (double)(*state >> 8) / (1 << 23) - 1.0;
}

static inline void run_alloc(ls_tensor *tensor, const ls_type *type) {
    *tensor = (ls_tensor){type->dtype, type->shape, ls_alloc(ls_type_bytes(type) + 1)};
    assert_non_null(tensor->data);
}

/* Infers, allocates, fills the inputs with numbers in [-1, 1). */
static inline void run_init(run *r, const ls_op *op, const void *attr, int n_in,
                            const ls_type *in) {
    uint32_t state = 7;
    *r = (run){0};
    assert_int_equal(op->infer(attr, n_in, in, &r->sig.n_out, r->out_types), LS_OK);
    for (int i = 0; i < n_in; i++) {
        r->in_types[i] = in[i];
        run_alloc(&r->in[i], &in[i]);
        const int64_t n = ls_type_count(&in[i]);
        for (int64_t k = 0; k < n; k++) ls_tensor_set(&r->in[i], k, run_draw(&state));
    }
    for (int i = 0; i < r->sig.n_out; i++) run_alloc(&r->out[i], &r->out_types[i]);
    r->sig = (ls_sig){op, attr, n_in, r->sig.n_out, r->in_types, r->out_types};
}

static inline void run_deinit(run *r) {
    for (int i = 0; i < r->sig.n_in; i++) ls_free(r->in[i].data);
    for (int i = 0; i < r->sig.n_out; i++) ls_free(r->out[i].data);
}

static inline void run_kernel(run *r, const ls_kernel *kernel, int n_threads) {
    ls_pool *pool = NULL;
    if (n_threads > 1) assert_int_equal(ls_pool_create(n_threads, -1, &pool), LS_OK);
    const size_t bytes = kernel->workspace_bytes ? kernel->workspace_bytes(&r->sig, n_threads) : 0;
    void *workspace = ls_alloc(bytes);
    assert_non_null(workspace);
    memset(workspace, 0xff, bytes); /* NaN */
    const ls_launch launch = {
        .sig = &r->sig, .in = r->in, .out = r->out, .workspace = workspace, .pool = pool};
    assert_int_equal(kernel->launch(&launch), LS_OK);
    ls_free(workspace);
    ls_pool_destroy(pool);
}

/* Largest |got - want| / (1 + |want|) over result i. */
static inline double run_worst(const run *got, const run *want, int i) {
    double worst = 0;
    const int64_t n = ls_type_count(&got->out_types[i]);
    for (int64_t k = 0; k < n; k++) {
        const double w = ls_tensor_get(&want->out[i], k), g = ls_tensor_get(&got->out[i], k);
        const double error = fabs(g - w) / (1 + fabs(w));
        if (!(error <= worst)) worst = isnan(error) ? INFINITY : error;
    }
    return worst;
}

#endif
