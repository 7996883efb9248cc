/* What a child does between fork and exec: it takes its CPUs, its streams and its name as a rank. */
#include "base/config.h"
#include "base/thread.h"
#include "cli/cmd_run_supervise.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* CPUs [size * n / ranks) of those this process may use, when there is one for each rank at least; else all of them. */
static void take_cpus(int rank, int size) {
    cpu_set_t allowed, mine;
    const int n = ls_cpu_count(); /* a quota may leave fewer than the mask */
    if (n < size || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    const int first = (int)((int64_t)rank * n / size), end = (int)((int64_t)(rank + 1) * n / size);
    CPU_ZERO(&mine);
    for (int cpu = 0, i = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed)) continue;
        if (i >= first && i < end) CPU_SET(cpu, &mine);
        i++;
    }
    (void)sched_setaffinity(0, sizeof mine, &mine); /* a wish: nothing depends on it but speed */
}

static ls_status take_stream(int from, int flags, int to) {
    const int fd = from >= 0 ? from : open("/dev/null", flags | O_CLOEXEC);
    if (fd < 0 || dup2(fd, to) < 0)
        return LS_FAIL(LS_ERR_IO, "cannot set up stream %d of a rank: %s", to, strerror(errno));
    return LS_OK;
}

static ls_status prepare_process(const ls_ranks_child *child) {
    sigset_t none;
    sigemptyset(&none);
    if (setpgid(0, child->group) != 0)
        return LS_FAIL(LS_ERR_INTERNAL, "a rank cannot join its process group: %s",
                       strerror(errno));
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != child->parent)
        return LS_FAIL(LS_ERR_INTERRUPTED, "`lockstep run` is gone: the rank does not start");
    (void)signal(SIGPIPE, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    take_cpus(child->rank, child->options->size);
    LS_TRY(take_stream(-1, O_RDONLY, STDIN_FILENO));
    LS_TRY(take_stream(child->rank == 0 ? child->streams[0] : -1, O_WRONLY, STDOUT_FILENO));
    return take_stream(child->streams[1], O_WRONLY, STDERR_FILENO);
}

ls_status ls_ranks_become_rank(const ls_ranks_child *child) {
    const ls_ranks_options *options = child->options;
    LS_TRY(prepare_process(child));
    LS_TRY(ls_job_enter(child->job, child->rank));
    for (int i = 0; i < options->n_variables; i++)
        LS_TRY(ls_config_env_set(options->variables[i].name, options->variables[i].value));
    if (options->fault) LS_TRY(ls_config_env_set("LOCKSTEP_FAULT", options->fault));
    char program[] = "lockstep";
    char **argv = ls_alloc((size_t)(options->n_words + 2) * sizeof *argv);
    if (!argv) return LS_ERR_NO_MEMORY;
    argv[0] = program;
    for (int i = 0; i < options->n_words; i++) argv[i + 1] = (char *)options->words[i];
    (void)execv("/proc/self/exe", argv);
    const int error = errno;
    ls_free(argv);
    return LS_FAIL(LS_ERR_INTERNAL, "the program cannot start itself as a rank: %s",
                   strerror(error));
}
