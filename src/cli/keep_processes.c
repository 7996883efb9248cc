/* The ranks that an mpirun started on this host: they are not our children, but /proc shows what they were started with. */
#include "base/alloc.h"
#include "cli/keep_pipe.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file of /proc/PID; NULL when the process is gone or somebody else's. Free with ls_free. */
static char *read_proc(pid_t pid, const char *name, size_t *bytes_out) {
    char path[64];
    char *text = NULL;
    int64_t capacity = 0;
    size_t used = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return NULL;
    for (ssize_t n = 1; n > 0; used += n > 0 ? (size_t)n : 0) {
        if (ls_array_reserve((void **)&text, &capacity, (int64_t)used + 4096, 1) != LS_OK) break;
        n = read(fd, text + used, (size_t)capacity - used - 1);
    }
    (void)close(fd);
    if (text) text[used] = '\0';
    *bytes_out = used;
    return text;
}

/* Was the process started as a rank of that job? mpirun, its daemons and agents carry the job's name too, but no rank. */
static int is_rank(pid_t pid, const char *id) {
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK=", "PMI_RANK=", "PMIX_RANK="};
    size_t bytes = 0;
    int has_id = 0, has_rank = 0;
    char *environment = read_proc(pid, "environ", &bytes);
    for (size_t at = 0; environment && at < bytes; at += strlen(environment + at) + 1) {
        const char *variable = environment + at;
        if (strncmp(variable, "LOCKSTEP_RUN_JOB=", 17) == 0)
            has_id = strcmp(variable + 17, id) == 0;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            has_rank |= strncmp(variable, names[i], strlen(names[i])) == 0;
    }
    ls_free(environment);
    return has_id && has_rank;
}

static int is_on_this_host(pid_t pid) {
    char path[64];
    struct stat mine, theirs;
    (void)snprintf(path, sizeof path, "/proc/%d/ns/net", (int)pid);
    return stat("/proc/self/ns/net", &mine) != 0 || stat(path, &theirs) != 0 ||
           mine.st_ino == theirs.st_ino;
}

static int is_gone(pid_t pid) {
    size_t bytes = 0;
    char *text = read_proc(pid, "stat", &bytes), *name_end = text ? strrchr(text, ')') : NULL;
    const int gone = !name_end || name_end[1] != ' ' || name_end[2] == 'Z' || name_end[2] == 'X';
    ls_free(text);
    return gone;
}

static int catches(pid_t pid, int number) {
    size_t bytes = 0;
    char *text = read_proc(pid, "status", &bytes);
    const char *at = text ? strstr(text, "\nSigCgt:") : NULL;
    const unsigned long long mask = at ? strtoull(at + strlen("\nSigCgt:"), NULL, 16) : 0;
    ls_free(text);
    return (int)(mask >> (number - 1) & 1);
}

static void signal_rank(pid_t pid, int number, ls_rank_processes *found) {
    found->n_ranks++;
    if (number == 0 || (number != SIGKILL && !catches(pid, number))) return;
    if (kill(pid, number) == 0) found->n_sent++;
}

ls_status ls_rank_processes_signal(const char *id, int number, ls_rank_processes *out) {
    if (!*id || number < 0 || number > 64)
        return LS_FAIL(LS_ERR_INVALID, "signal %d to job '%s': a name and a signal are needed",
                       number, id);
    DIR *folder = opendir("/proc");
    if (!folder) return LS_FAIL(LS_ERR_IO, "/proc cannot be read: %s", strerror(errno));
    *out = (ls_rank_processes){0};
    const struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        char *end;
        const long pid = strtol(entry->d_name, &end, 10);
        if (end == entry->d_name || *end || pid == getpid()) continue;
        if (is_rank((pid_t)pid, id) && is_on_this_host((pid_t)pid) && !is_gone((pid_t)pid))
            signal_rank((pid_t)pid, number, out);
    }
    (void)closedir(folder);
    return LS_OK;
}
