/* lockstep chaos --hosts: one blow against a host. Local. */
#ifndef LS_CLI_CMD_CHAOS_HOSTS_STRIKE_H
#define LS_CLI_CMD_CHAOS_HOSTS_STRIKE_H
#include "cli/cmd_chaos_link.h"
#include <stdint.h>

typedef enum ls_host_strike_kind {
    LS_HOST_STRIKE_RANKS,  /* kill -9 of the host's ranks */
    LS_HOST_STRIKE_KEEPER, /* of its keeper: their memory is gone with it */
    LS_HOST_STRIKE_BOTH,   /* of both: all that a host without power loses */
    LS_HOST_STRIKE_LINK,   /* its link goes down, and up again */
    LS_HOST_STRIKE_SLOW,   /* its link is slow for a while */
    LS_HOST_STRIKE_COUNT
} ls_host_strike_kind;
extern const char *const ls_host_strike_names[];
/* A host may be missed after it, and its memory with it. */
int ls_host_strike_loses(ls_host_strike_kind kind);
/* It needs the host's network device, so it is not for the controller's own host. */
int ls_host_strike_is_of_link(ls_host_strike_kind kind);

/* What the run was doing when it came. */
typedef enum ls_host_instant {
    LS_HOST_INSTANT_START,   /* no step yet, in the first attempt */
    LS_HOST_INSTANT_RESTART, /* in a later one */
    LS_HOST_INSTANT_STEP,
    LS_HOST_INSTANT_SAVE,  /* a checkpoint was being written */
    LS_HOST_INSTANT_FEWER, /* steps on fewer hosts, while others are away */
    LS_HOST_INSTANT_COUNT
} ls_host_instant;
extern const char *const ls_host_instant_names[];

/* When it comes. */
typedef enum ls_host_aim {
    LS_HOST_AIM_START, /* so long after mpirun was started */
    LS_HOST_AIM_STEP,  /* after a step was seen */
    LS_HOST_AIM_SAVE,  /* after a checkpoint was begun */
    LS_HOST_AIM_COUNT
} ls_host_aim;

typedef struct ls_host_strike {
    int64_t index;
    ls_host_strike_kind kind;
    ls_host_aim aim;
    double delay;   /* seconds */
    double seconds; /* that a link is down or slow */
    uint64_t pick;  /* which of the hosts that can be struck, modulo their number */
    /* What came of it. */
    ls_host_instant instant;
    char host[LS_HOST_NAME];
    double at; /* ls_clock_seconds */
    int64_t attempt, committed;
    int is_covered; /* no step may be lost by it */
} ls_host_strike;

/* What can be drawn. */
typedef struct ls_host_field {
    uint32_t kinds;    /* bits */
    double first_step; /* seconds from the start of mpirun to a step that is done, */
    double step;       /* and of a step, undisturbed */
    double longest;    /* seconds that a link is down */
} ls_host_field;
/* The seed and the index alone decide. */
void ls_host_strike_draw(uint64_t seed, int64_t index, const ls_host_field *field,
                         ls_host_strike *out);

/* Does memory elsewhere cover what a blow takes? A link, keeper or whole host of `n_up` living ones, with so many copies of each step. */
int ls_host_strike_is_covered(ls_host_strike_kind kind, int64_t copies, int64_t zero, int n_up,
                              int others_are_missed);

/* The newest step in a run's metrics, by its last whole line; -1 = none. */
typedef struct ls_host_progress {
    int64_t step;
    uint64_t inode;
    int64_t bytes;
} ls_host_progress;
void ls_host_progress_read(const char *path, ls_host_progress *out);

#endif
