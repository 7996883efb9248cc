#include "base/cpu.h"
#include "unit/base/check.h"
#include <sys/wait.h>

static void test_names_and_parsing(void **state) {
    (void)state;
    for (int i = 0; i < LS_ISA_COUNT; i++) {
        ls_isa isa = LS_ISA_COUNT;
        check_ok(ls_isa_parse(ls_isa_name((ls_isa)i), &isa));
        assert_int_equal(isa, i);
    }
    ls_isa isa = LS_ISA_AMX;
    check_fails(ls_isa_parse("sse9", &isa), LS_ERR_INVALID, "'sse9' is not known; use base");
    assert_int_equal(isa, LS_ISA_AMX);
    assert_string_equal(ls_isa_name((ls_isa)99), "unknown");
    assert_true(strlen(ls_cpu_name()) > 0);
}

/* The kernel's own list of features is the oracle. */
static int cpuinfo_has(const char *flag) {
    static char line[8192];
    char wanted[64];
    snprintf(wanted, sizeof wanted, " %s ", flag);
    FILE *file = fopen("/proc/cpuinfo", "r");
    int found = 0;
    while (!found && file && fgets(line, sizeof line, file)) {
        if (strncmp(line, "flags", 5) != 0) continue;
        line[strcspn(line, "\n")] = ' ';
        found = strstr(line, wanted) != NULL;
        break;
    }
    if (file) fclose(file);
    return found;
}

static void test_level_agrees_with_cpuinfo(void **state) {
    (void)state;
    const ls_isa isa = ls_cpu_isa();
    assert_int_equal(isa >= LS_ISA_AVX2, cpuinfo_has("avx2") && cpuinfo_has("fma"));
    assert_int_equal(isa >= LS_ISA_AVX512, cpuinfo_has("avx512bw") && cpuinfo_has("avx512dq"));
    assert_int_equal(isa == LS_ISA_AMX, cpuinfo_has("amx_bf16") && cpuinfo_has("amx_int8"));
    assert_int_equal(ls_cpu_has_vdpbf16ps(), cpuinfo_has("avx512_bf16"));
}

static void test_limit_lowers_and_never_raises(void **state) {
    (void)state;
    const ls_isa best = ls_cpu_isa();
    ls_cpu_limit_isa(LS_ISA_BASE);
    assert_int_equal(ls_cpu_isa(), LS_ISA_BASE);
    ls_cpu_limit_isa(LS_ISA_AMX);
    assert_int_equal(ls_cpu_isa(), best);
    ls_cpu_limit_isa(LS_ISA_COUNT);
    assert_int_equal(ls_cpu_isa(), best);
}

/* What a fresh process with LOCKSTEP_ISA=wish detects: the level is decided once, so each wish needs its own. */
static int detect_with(const char *wish) {
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        setenv("LOCKSTEP_ISA", wish, 1);
        if (!freopen("/dev/null", "w", stderr)) _exit(100);
        _exit((int)ls_cpu_isa());
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_environment_lowers_and_never_raises(void **state) {
    (void)state;
    const int base = detect_with("base"), amx = detect_with("amx"), junk = detect_with("junk");
    assert_int_equal(base, LS_ISA_BASE);
    assert_int_equal(amx, (int)ls_cpu_isa());
    assert_int_equal(junk, (int)ls_cpu_isa());
}

int main(void) {
    unsetenv("LOCKSTEP_ISA");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_environment_lowers_and_never_raises), /* before anything detects */
        cmocka_unit_test(test_names_and_parsing),
        cmocka_unit_test(test_level_agrees_with_cpuinfo),
        cmocka_unit_test(test_limit_lowers_and_never_raises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
