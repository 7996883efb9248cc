/* One turn of a loop that spins on another thread's or process's word. */
#ifndef LS_BASE_SPIN_H
#define LS_BASE_SPIN_H
#include <stdatomic.h>

static inline void ls_spin_pause(void) {
#if defined(LS_X86)
    __builtin_ia32_pause();
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

#endif
