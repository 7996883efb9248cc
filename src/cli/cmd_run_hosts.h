/* lockstep run --hosts: an elastic run across hosts.
 *
 * The controller (cmd_run_hosts.c) keeps a keeper on each host of a file through an agent (ssh, as a rule), starts the ranks with an MPI's
 * mpirun, and starts them again with as many ranks as the living hosts allow. The parts below have no state of their own and run
 * nothing. Local. */
#ifndef LS_CLI_CMD_RUN_HOSTS_H
#define LS_CLI_CMD_RUN_HOSTS_H
#include "cli/cli.h"

enum { LS_HOST_NAME = 256, LS_HOSTS_MOST = 1024, LS_HOST_SLOTS = 4096 };

/* --- the file: lines "HOST [slots=N]", # begins a comment --- */

typedef struct ls_host_line {
    char name[LS_HOST_NAME];
    int slots; /* ranks it takes at most; 1 unless said */
} ls_host_line;

/* Free with ls_free. `what` names the text in messages. A file without hosts is fine: the run waits. */
ls_status ls_hosts_parse(const char *text, const char *what, ls_host_line **out, int *n_out);

/* --- how many ranks, and where --- */

typedef struct ls_world {
    int ranks;   /* a power of two; 0 = there is no host */
    int n_hosts; /* the first so many hosts with at least `each` slots; a power of two */
    int each;    /* ranks on each of them; a power of two */
} ls_world;

/* The most ranks in equal blocks; among equals the most hosts. slots: of the living hosts, in the file's order. lanes, most: upper
 * bounds; 0 = none. */
ls_world ls_world_choose(const int *slots, int n, int64_t lanes, int64_t most);

/* --- words for mpirun --- */

typedef enum ls_launcher_kind { LS_LAUNCHER_OPENMPI, LS_LAUNCHER_MPICH } ls_launcher_kind;

typedef struct ls_launch {
    ls_launcher_kind kind;
    const char *mpirun;  /* path */
    const char *agent;   /* as for --agent; NULL = ssh */
    const char *extra;   /* --launcher-args, words parted by blanks; may be NULL */
    const char *program; /* path of this program on every host */
    const char *const *hosts;
    ls_world world;
    int as_root;                  /* Open MPI must be told */
    const char *const *variables; /* names to pass to the ranks, NULL-terminated */
    const char *const *words;     /* of a rank: verb and arguments */
    int n_words;
} ls_launch;

/* A NULL-terminated list and its memory; free with ls_words_deinit. */
typedef struct ls_words {
    char **words;
    int64_t n, capacity;
    ls_status status; /* of the first failure to add one */
} ls_words;
void ls_words_add(ls_words *list, const char *fmt, ...) LS_PRINTF(2, 3);
/* Adds the words of a text parted by blanks. */
void ls_words_split(ls_words *list, const char *text);
void ls_words_deinit(ls_words *list);
/* Appends a word as a shell reads it. */
void ls_words_quote(ls_text *text, const char *word);

ls_status ls_launch_words(const ls_launch *launch, ls_words *out);
/* Finds mpirun: `asked` is openmpi, mpich, or NULL for whichever is there. path_out: free with ls_free. */
ls_status ls_launcher_find(const char *asked, ls_launcher_kind *kind_out, char **path_out);

/* The command line of something on another host: AGENT HOST COMMAND, the command as one word for its shell. */
ls_status ls_agent_words(const char *agent, const char *host, const char *const *command, int n,
                         ls_words *out);
/* 1 when `host` is this machine, which needs no agent. */
int ls_host_is_here(const char *host);

typedef struct ls_hosts_control ls_hosts_control;
/* For `lockstep chaos`: told of each attempt. */
typedef struct ls_hosts_hooks {
    void (*begin)(void *user, ls_hosts_control *control); /* what it goes on from is known */
    void (*tick)(void *user,
                 ls_hosts_control *control);            /* again and again, also between attempts */
    void (*end)(void *user, ls_hosts_control *control); /* nothing of it lives any more */
    void *user;
} ls_hosts_hooks;

/* How long an mpirun may have no rank, or fewer than it should, unless the options say otherwise. */
enum { LS_HOSTS_LAUNCH_SECONDS = 180, LS_HOSTS_MISSING_SECONDS = 30 };

/* The verb's options. */
typedef struct ls_hosts_options {
    const char *file, *agent, *launcher, *launcher_args;
    int64_t most, threads, restarts, stuck;
    double wait_seconds;
    double launch_seconds;       /* for mpirun to have started the first rank */
    double missing_seconds;      /* for ranks to be fewer than they should be, once there was one */
    int output;                  /* descriptor for rank 0's standard output */
    const ls_hosts_hooks *hooks; /* NULL = none */
} ls_hosts_options;
/* Runs the words of `call` (train or resume) to their end. */
ls_status ls_hosts_run(const ls_cmd_call *call, const ls_hosts_options *options);

#endif
