#include "base/cpu.h"
#include "base/config.h"
#include "base/log.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#if defined(LS_X86)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

static const char *const isa_names[LS_ISA_COUNT] = {"base", "avx2", "avx512", "avx512bf16", "amx"};

/* Decided once; `limit` may only lower it. */
static pthread_once_t detect_once = PTHREAD_ONCE_INIT;
static ls_isa detected = LS_ISA_BASE;
static int detected_vdpbf16ps;
static char detected_name[64] = "unknown";
static atomic_int limit = LS_ISA_COUNT;

const char *ls_isa_name(ls_isa isa) {
    return (unsigned)isa < LS_ISA_COUNT ? isa_names[isa] : "unknown";
}

ls_status ls_isa_parse(const char *name, ls_isa *out) {
    for (int i = 0; i < LS_ISA_COUNT; i++)
        if (strcmp(name, isa_names[i]) == 0) {
            *out = (ls_isa)i;
            return LS_OK;
        }
    return LS_FAIL(LS_ERR_INVALID,
                   "instruction set '%s' is not known; use base, avx2, avx512, avx512bf16 or amx",
                   name);
}

#if defined(LS_X86)
enum { ARCH_REQUEST_PERMISSION = 0x1023, XFEATURE_TILE_DATA = 18 };
/* Bits of XCR0: what state the system saves. */
enum { XCR0_AVX = 0x6, XCR0_AVX512 = 0xe6, XCR0_AMX = 0x60000 };

typedef struct cpuid_words {
    unsigned a, b, c, d;
} cpuid_words;

static cpuid_words read_cpuid(unsigned leaf, unsigned subleaf) {
    cpuid_words words = {0, 0, 0, 0};
    if (!__get_cpuid_count(leaf, subleaf, &words.a, &words.b, &words.c, &words.d))
        words = (cpuid_words){0, 0, 0, 0};
    return words;
}

static uint64_t read_xcr0(void) {
    if (!(read_cpuid(1, 0).c & bit_OSXSAVE)) return 0;
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static int has_all(unsigned word, unsigned bits) {
    return (word & bits) == bits;
}

/* The kernel hands out tile registers only to processes that ask. */
static int ask_for_tiles(void) {
    return syscall(SYS_arch_prctl, ARCH_REQUEST_PERMISSION, XFEATURE_TILE_DATA) == 0;
}

static ls_isa detect_isa(void) {
    const uint64_t xcr0 = read_xcr0();
    const cpuid_words one = read_cpuid(1, 0), seven = read_cpuid(7, 0), bf16 = read_cpuid(7, 1);
    if ((xcr0 & XCR0_AVX) != XCR0_AVX || !has_all(one.c, bit_AVX | bit_FMA | bit_F16C) ||
        !has_all(seven.b, bit_AVX2 | bit_BMI2))
        return LS_ISA_BASE;
    const unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL | bit_AVX512CD;
    if ((xcr0 & XCR0_AVX512) != XCR0_AVX512 || !has_all(seven.b, avx512)) return LS_ISA_AVX2;
    detected_vdpbf16ps = has_all(bf16.a, 1u << 5);
    /* The levels above use VNNI too (bytes); every processor with the one has had the other. */
    if (!detected_vdpbf16ps || !has_all(seven.c, bit_AVX512VNNI)) return LS_ISA_AVX512;
    const unsigned amx = 1u << 22 | 1u << 24 | 1u << 25; /* bf16, tile, int8 */
    if ((xcr0 & XCR0_AMX) == XCR0_AMX && has_all(seven.d, amx) && ask_for_tiles())
        return LS_ISA_AMX;
    /* "AuthenticAMD": Intel's vdpbf16ps is slower than widening to f32. */
    return read_cpuid(0, 0).b == 0x68747541u ? LS_ISA_AVX512BF16 : LS_ISA_AVX512;
}
#else
static ls_isa detect_isa(void) {
    return LS_ISA_BASE;
}
#endif

/* "model name : AMD EPYC ..." of the first processor. */
static void read_cpu_name(void) {
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (!file) return;
    char line[512];
    while (fgets(line, sizeof line, file)) {
        const char *colon = strncmp(line, "model name", 10) == 0 ? strchr(line, ':') : NULL;
        if (!colon) continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(detected_name, sizeof detected_name, "%.*s", (int)strcspn(colon, "\n"), colon);
        break;
    }
    fclose(file);
}

static void obey_environment(void) {
    const char *wish = ls_config_env("LOCKSTEP_ISA");
    if (!wish) return;
    ls_isa isa;
    if (ls_isa_parse(wish, &isa) != LS_OK) {
        ls_log(LS_LOG_WARN, "LOCKSTEP_ISA is ignored: %s", ls_error_message());
        ls_error_clear();
    } else if (isa > detected) {
        ls_log(LS_LOG_WARN, "LOCKSTEP_ISA=%s is more than this processor has; using %s", wish,
               ls_isa_name(detected));
    } else {
        detected = isa;
    }
}

static void detect(void) {
    read_cpu_name();
    detected = detect_isa();
    obey_environment();
}

ls_isa ls_cpu_isa(void) {
    pthread_once(&detect_once, detect);
    const int highest = atomic_load_explicit(&limit, memory_order_relaxed);
    return (int)detected < highest ? detected : (ls_isa)highest;
}

void ls_cpu_limit_isa(ls_isa highest) {
    atomic_store(&limit, (int)highest);
}

const char *ls_cpu_name(void) {
    pthread_once(&detect_once, detect);
    return detected_name;
}

int ls_cpu_has_vdpbf16ps(void) {
    pthread_once(&detect_once, detect);
    return detected_vdpbf16ps;
}
