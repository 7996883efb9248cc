/* What this processor can do. Decided once; tests and users may lower it (LOCKSTEP_ISA, read by base/config.c), never
 * raise it. Local, thread-safe. */
#ifndef LS_BASE_CPU_H
#define LS_BASE_CPU_H
#include "lockstep/status.h"
#include <stdint.h>

/* Ordered: each level includes the ones before it on x86-64. AMX needs leave from the kernel
 * (arch_prctl ARCH_REQ_XCOMP_PERM), asked for once by ls_cpu_isa. */
typedef enum ls_isa {
    LS_ISA_BASE,   /* x86-64 baseline, or any other machine */
    LS_ISA_AVX2,   /* + FMA, F16C */
    LS_ISA_AVX512, /* F BW DQ VL CD */
    LS_ISA_AVX512BF16, /* + VNNI, AVX512_BF16 with a full-rate vdpbf16ps (AMD); Intel parts without AMX stay at AVX512 */
    LS_ISA_AMX, /* + AMX tile, bf16, int8 */
    LS_ISA_COUNT
} ls_isa;

LS_API ls_isa ls_cpu_isa(void);               /* best level usable now */
LS_API void ls_cpu_limit_isa(ls_isa highest); /* tests */
LS_API const char *ls_isa_name(ls_isa isa);   /* "base" "avx2" "avx512" "avx512bf16" "amx" */
LS_API ls_status ls_isa_parse(const char *name, ls_isa *out);
LS_API const char *ls_cpu_name(void);  /* model name, e.g. from /proc/cpuinfo; "unknown" */
LS_API int ls_cpu_has_vdpbf16ps(void); /* the instruction exists, at whatever speed */
/* Data cache of level 1, 2 or 3 that the first CPU uses (a level 3 may be shared with others), in bytes; 0 = not known. */
LS_API int64_t ls_cpu_cache_bytes(int level);

#endif
