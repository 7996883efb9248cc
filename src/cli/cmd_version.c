/* lockstep version: what this build is and what it found. */
#include "base/cpu.h"
#include "base/thread.h"
#include "cli/cli.h"

#ifdef __clang__
static const char compiler[] = "clang " __clang_version__;
#else
static const char compiler[] = "gcc " __VERSION__;
#endif

static int has_cuda(void) {
#ifdef LS_CUDA
    return 1;
#else
    return 0;
#endif
}

static int is_static(void) {
#ifdef LS_STATIC
    return 1;
#else
    return 0;
#endif
}

static ls_status run_version(const ls_cmd_call *call) {
    const char *isa = ls_isa_name(ls_cpu_isa());
    if (call->json)
        return ls_cli_print_json(
            call, json_pack("{s:s,s:s,s:b,s:b,s:s,s:s,s:i}", "version", LS_VERSION, "compiler",
                            compiler, "cuda", has_cuda(), "static", is_static(), "cpu",
                            ls_cpu_name(), "isa", isa, "cpus", ls_cpu_count()));
    (void)fprintf(call->out, "lockstep %s\ncompiler  %s\ndevices   cpu, fake%s\nlinked    %s\n",
                  LS_VERSION, compiler, has_cuda() ? ", cuda" : "",
                  is_static() ? "statically" : "dynamically");
    (void)fprintf(call->out, "cpu       %s, %d usable, instruction set %s\n", ls_cpu_name(),
                  ls_cpu_count(), isa);
    return LS_OK;
}

const ls_cmd ls_cmd_version = {.has_json = 1, .run = run_version};
