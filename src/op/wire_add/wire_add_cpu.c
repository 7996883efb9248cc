#include "op/wire_add/wire_add.h"
#include "op/wire_cpu.h"

enum { ADD_TASK = 16384 }; /* elements of a task: 64 KiB an operand, whole units */

/* What the collectives' kernels of this level use (op/collective_room.h). */
extern const ls_wire_fns LS_PASTE(ls_wire_, fns, LS_KERNEL_ISA);
const ls_wire_fns LS_PASTE(ls_wire_, fns, LS_KERNEL_ISA) = {wire_sum, wire_encode_all};

typedef struct add_work {
    int wire;
    const float *a, *b; /* b may be NULL; either may be y */
    float *y;
    int64_t count;
} add_work;

/* To be called with a constant wire. */
V16_INLINE void add_as(const add_work *w, int wire, int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; at += LS_WIRE_BLOCK) {
        wire_block x = wire_load(w->a + at, end - at);
        if (w->b) {
            const wire_block more = wire_load(w->b + at, end - at);
            for (int i = 0; i < 2; i++) x.x[i] += more.x[i];
        }
        wire_store(w->y + at, wire_round(wire, x), end - at);
    }
}

static ls_status run_task(void *user, int64_t task, int worker) {
    const add_work *w = user;
    const int64_t begin = task * ADD_TASK;
    const int64_t end = w->count - begin < ADD_TASK ? w->count : begin + ADD_TASK;
    (void)worker;
    if (w->wire == LS_WIRE_F32)
        add_as(w, LS_WIRE_F32, begin, end);
    else if (w->wire == LS_WIRE_BF16)
        add_as(w, LS_WIRE_BF16, begin, end);
    else
        add_as(w, LS_WIRE_INT8, begin, end);
    return LS_OK;
}

static ls_status launch(const ls_launch *l) {
    add_work work = {.wire = ((const ls_wire_add_attr *)l->sig->attr)->wire,
                     .a = l->in[0].data,
                     .b = l->sig->n_in > 1 ? l->in[1].data : NULL,
                     .y = l->out[0].data,
                     .count = ls_type_count(&l->sig->in[0])};
    return ls_pool_run(l->pool, (work.count + ADD_TASK - 1) / ADD_TASK, run_task, &work);
}

LS_CPU_KERNEL(wire_add) = {LS_CPU_KERNEL_HEAD("wire_add"), .launch = launch};
