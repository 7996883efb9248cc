/* Runs a kernel that was compiled on the model of AMX over the bf16 cases of its op: what test_op_cases demands, no fault of the model, no
 * configuration left behind, and nothing read or written beyond its operands: they lie against a page that cannot be touched, at whatever
 * address that gives, and give the same bits there. */
#ifndef LS_TEST_AMX_CASES_H
#define LS_TEST_AMX_CASES_H
#include "op/amx_model.h"
#include "op/op_applied.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static inline void assert_no_fault(const char *name) {
    if (atomic_load(&model_n_faults))
        fail_msg("%s: %d faults, first: %s", name, atomic_load(&model_n_faults), model_fault_text);
    if (atomic_load(&model_live)) fail_msg("%s: tiles were left configured", name);
}

/* --- memory against a page that cannot be touched -------------------------------------------------------------------- */

typedef struct fenced {
    char *map, *data;
    size_t map_bytes, page_bytes;
} fenced;

static inline fenced make_fenced(size_t bytes, size_t align) {
    fenced f = {.page_bytes = (size_t)sysconf(_SC_PAGESIZE)};
    const size_t used = (bytes + align - 1) / align * align;
    const size_t pages = (used + f.page_bytes - 1) / f.page_bytes;
    f.map_bytes = (pages + 1) * f.page_bytes;
    f.map = mmap(NULL, f.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(f.map, MAP_FAILED);
    memset(f.map, 0xff, pages * f.page_bytes);
    f.data = f.map + pages * f.page_bytes - used;
    assert_int_equal(mprotect(f.map + pages * f.page_bytes, f.page_bytes, PROT_NONE), 0);
    return f;
}

static inline void free_fenced(fenced *f) {
    assert_int_equal(munmap(f->map, f->map_bytes), 0);
}

enum { CASE_MAX_IN = 8 };

typedef struct fenced_case {
    fenced in[CASE_MAX_IN], out[LS_MAX_OUT], workspace;
    ls_tensor in_tensors[CASE_MAX_IN], out_tensors[LS_MAX_OUT];
} fenced_case;

static inline void fence_case(fenced_case *f, const applied *a, const ls_kernel *kernel,
                              int n_threads) {
    const ls_sig *sig = &a->sig;
    assert_true(sig->n_in <= CASE_MAX_IN);
    for (int i = 0; i < sig->n_in; i++) {
        const size_t bytes = ls_tensor_bytes(&a->in[i]);
        f->in[i] = make_fenced(bytes, ls_dtype_bytes(a->in[i].dtype));
        f->in_tensors[i] = a->in[i];
        f->in_tensors[i].data = f->in[i].data;
        memcpy(f->in[i].data, a->in[i].data, bytes);
        assert_int_equal(
            mprotect(f->in[i].map, f->in[i].map_bytes - f->in[i].page_bytes, PROT_READ), 0);
    }
    for (int i = 0; i < sig->n_out; i++) {
        f->out[i] = make_fenced(ls_tensor_bytes(&a->out[i]), ls_dtype_bytes(a->out[i].dtype));
        f->out_tensors[i] = a->out[i];
        f->out_tensors[i].data = f->out[i].data;
    }
    f->workspace =
        make_fenced(kernel->workspace_bytes ? kernel->workspace_bytes(sig, n_threads) : 0, 64);
}

static inline void unfence_case(fenced_case *f, const ls_sig *sig) {
    for (int i = 0; i < sig->n_in; i++) free_fenced(&f->in[i]);
    for (int i = 0; i < sig->n_out; i++) free_fenced(&f->out[i]);
    free_fenced(&f->workspace);
}

/* The same bytes as in `a`, where the harness left the kernel's results. */
static inline void check_fenced(const applied *a, const ls_kernel *kernel, int n_threads) {
    fenced_case f;
    ls_pool *pool = NULL;
    if (n_threads > 1) assert_int_equal(ls_pool_create(n_threads, -1, &pool), LS_OK);
    fence_case(&f, a, kernel, n_threads);
    const ls_launch launch = {.sig = &a->sig,
                              .in = f.in_tensors,
                              .out = f.out_tensors,
                              .workspace = f.workspace.data,
                              .pool = pool};
    assert_int_equal(kernel->launch(&launch), LS_OK);
    ls_pool_destroy(pool);
    for (int i = 0; i < a->sig.n_out; i++)
        if (memcmp(f.out[i].data, a->out[i].data, ls_tensor_bytes(&a->out[i])) != 0)
            fail_msg("case %s, result %d: other bits at another address", a->c->name, i);
    unfence_case(&f, &a->sig);
}

static inline void run_plainly(applied *a, const ls_kernel *kernel) {
    const size_t bytes = kernel->workspace_bytes ? kernel->workspace_bytes(&a->sig, 1) : 0;
    void *workspace = ls_alloc(bytes + 1);
    assert_non_null(workspace);
    const ls_launch launch = {.sig = &a->sig, .in = a->in, .out = a->out, .workspace = workspace};
    assert_int_equal(kernel->launch(&launch), LS_OK);
    ls_free(workspace);
}

/* --- cases ---------------------------------------------------------------------------------------------------------- */

static inline void check_case(const ls_op *op, const ls_kernel *kernel, const ls_op_case *c) {
    op_report report = {0};
    model_reset();
    op_check_kernels(op, c, &report);
    if (report.n_failures) fail_msg("%s", report.text.data);
    ls_text_deinit(&report.text);
    assert_no_fault(c->name);
    applied a;
    assert_int_equal(op_applied_init(&a, op, c, LS_DTYPE_BF16, 0), LS_OK);
    run_plainly(&a, kernel);
    check_fenced(&a, kernel, 1);
    check_fenced(&a, kernel, 3);
    assert_no_fault(c->name);
    op_applied_deinit(&a);
}

/* All bf16 cases that the kernel takes; returns how many those are. */
static inline int check_cases(const ls_kernel *kernel, const ls_op_case_list *list) {
    ls_kernel here = *kernel;
    ls_op op = *list->op;
    const ls_kernel *kernels[] = {&here, ls_kernel_reference(list->op), NULL};
    int n_checked = 0;
    assert_int_equal(kernel->isa, LS_ISA_AMX);
    here.isa = LS_ISA_BASE;
    op.kernels = kernels;
    for (int i = 0; i < list->n_cases; i++) {
        ls_op_case c = list->cases[i];
        if (c.bench || (c.dtypes && !(c.dtypes & LS_CASE_BF16))) continue;
        c.dtypes = LS_CASE_BF16;
        if (!op_case_reaches(&op, &c, &here)) continue;
        check_case(&op, &here, &c);
        n_checked++;
    }
    return n_checked;
}

#endif
