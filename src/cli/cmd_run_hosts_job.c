/* mpirun as a child. */
#include "cli/cmd_run_hosts_job.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/fs.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_VARIABLES = 256 };

static const char prefix[] = "LOCKSTEP_";

/* --- starting --- */

static int has_name(const ls_words *names, const char *name, size_t n) {
    for (int64_t i = 0; i < names->n; i++)
        if (strlen(names->words[i]) == n && strncmp(names->words[i], name, n) == 0) return 1;
    return 0;
}

/* Ours, and those that were set for the controller: its ranks are to have the configuration that it checked. */
static ls_status list_names(const ls_hosts_variable *variables, int n, ls_words *out) {
    ls_words names = {0};
    for (int i = 0; i < n; i++)
        if (variables[i].value) ls_words_add(&names, "%s", variables[i].name);
    for (char **variable = environ; variable && *variable; variable++) {
        const size_t used = strcspn(*variable, "=");
        int ours = strncmp(*variable, prefix, sizeof prefix - 1) != 0;
        for (int i = 0; i < n; i++)
            ours |= strlen(variables[i].name) == used &&
                    strncmp(variables[i].name, *variable, used) == 0;
        if (!ours && !has_name(&names, *variable, used) && names.n < MOST_VARIABLES)
            ls_words_add(&names, "%.*s", (int)used, *variable);
    }
    if (names.status != LS_OK) {
        ls_words_deinit(&names);
        return LS_ERR_NO_MEMORY;
    }
    *out = names;
    return LS_OK;
}

/* In a group of its own: a terminal's Ctrl-C reaches the controller alone. */
static void become_mpirun(char *const *argv, const int streams[2], pid_t parent,
                          const ls_hosts_variable *variables, int n) {
    sigset_t none;
    sigemptyset(&none);
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int good = getppid() == parent && nothing >= 0 && dup2(nothing, STDIN_FILENO) >= 0 &&
               dup2(streams[0], STDOUT_FILENO) >= 0 && dup2(streams[1], STDERR_FILENO) >= 0;
    for (int i = 0; i < n; i++)
        good &= ls_config_env_set(variables[i].name, variables[i].value) == LS_OK;
    if (good) (void)execv(argv[0], argv);
    (void)dprintf(STDERR_FILENO, "lockstep: error: %s cannot be started: %s\n", argv[0],
                  strerror(errno));
    _exit(127);
}

static ls_status spawn(ls_hosts_job *job, char *const *argv, const ls_hosts_variable *variables,
                       int n) {
    int ends[2];
    const pid_t parent = getpid();
    if (pipe2(ends, O_CLOEXEC) != 0)
        return LS_FAIL(LS_ERR_IO, "run: no pipe for mpirun: %s", strerror(errno));
    (void)fflush(NULL);
    const pid_t pid = fork();
    const int streams[2] = {job->output, ends[1]};
    if (pid == 0) become_mpirun(argv, streams, parent, variables, n);
    const int error = errno;
    (void)close(ends[1]);
    if (pid < 0) {
        (void)close(ends[0]);
        return LS_FAIL(LS_ERR_NO_MEMORY, "run: mpirun cannot be started: %s", strerror(error));
    }
    (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    (void)setpgid(pid, pid); /* the child does so too: whoever comes first */
    job->mpirun = pid;
    job->errors = ends[0];
    job->since = ls_clock_seconds();
    return LS_OK;
}

ls_status ls_hosts_job_start(ls_hosts_job *job, ls_launch *launch,
                             const ls_hosts_variable *variables, int n) {
    ls_words names = {0}, argv = {0};
    job->kind = launch->kind;
    job->world = launch->world;
    job->errors = -1;
    job->exit_status = job->was_killed = job->is_unwanted = 0;
    job->used = 0;
    LS_TRY(list_names(variables, n, &names));
    launch->variables = (const char *const *)names.words;
    ls_status status = ls_launch_words(launch, &argv);
    if (status == LS_OK) status = spawn(job, argv.words, variables, n);
    launch->variables = NULL;
    ls_words_deinit(&names);
    ls_words_deinit(&argv);
    return status;
}

/* --- what it says --- */

static void pass_line(ls_hosts_job *job) {
    job->text[job->used] = '\0';
    job->used = 0;
    if (!job->is_unwanted || strncmp(job->text, "lockstep: ", 10) == 0)
        (void)fprintf(stderr, "%s\n", job->text);
}

static void read_lines(ls_hosts_job *job) {
    char text[4096];
    while (job->errors >= 0) {
        const ssize_t n = read(job->errors, text, sizeof text);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return;
        for (ssize_t i = 0; i < n; i++) {
            if (text[i] != '\n') job->text[job->used++] = text[i];
            if (text[i] == '\n' || job->used == sizeof job->text - 1) pass_line(job);
        }
        if (n > 0) continue;
        (void)close(job->errors);
        job->errors = -1;
    }
}

/* --- ending --- */

/* What Open MPI's mpirun leaves behind when it is killed. */
static void remove_session(pid_t mpirun) {
    char host[LS_HOST_NAME] = "", path[512];
    const char *base = ls_config_env("TMPDIR");
    (void)gethostname(host, sizeof host - 1);
    host[strcspn(host, ".")] = '\0';
    (void)snprintf(path, sizeof path, "%s/ompi.%s.%u/pid.%d", base ? base : "/tmp", host,
                   (unsigned)geteuid(), (int)mpirun);
    if (ls_path_is_dir(path)) (void)ls_dir_remove(path);
}

void ls_hosts_job_check(ls_hosts_job *job) {
    int status;
    if (job->mpirun <= 0) return;
    read_lines(job);
    if (waitpid(job->mpirun, &status, WNOHANG) != job->mpirun) return;
    job->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    read_lines(job);
    if (job->used) pass_line(job);
    if (job->errors >= 0) (void)close(job->errors); /* an agent may still hold the other end */
    job->errors = -1;
    (void)kill(-job->mpirun, SIGKILL); /* agents that it left */
    if (WIFSIGNALED(status) && job->kind == LS_LAUNCHER_OPENMPI) remove_session(job->mpirun);
    job->mpirun = 0;
}

void ls_hosts_job_kill(ls_hosts_job *job, double grace_seconds) {
    const struct timespec moment = {.tv_nsec = 5000000};
    const double end = ls_clock_seconds() + grace_seconds;
    if (job->mpirun <= 0) return;
    job->was_killed = job->is_unwanted = 1;
    (void)kill(job->mpirun, SIGTERM);
    for (int killed = 0; job->mpirun > 0; ls_hosts_job_check(job)) {
        if (!killed && ls_clock_seconds() >= end) {
            (void)kill(-job->mpirun, SIGKILL);
            killed = 1;
        }
        (void)nanosleep(&moment, NULL);
    }
}
