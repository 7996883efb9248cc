/* lockstep chaos --recover: one blow against ranks that will be started again, and what it met. Local. */
#ifndef LS_CLI_CMD_CHAOS_STRIKE_H
#define LS_CLI_CMD_CHAOS_STRIKE_H
#include "cli/cmd_run_recover.h"

typedef enum ls_strike_kind {
    LS_STRIKE_ONE,  /* kill -9 of a rank */
    LS_STRIKE_SOME, /* of several at once */
    LS_STRIKE_ALL,  /* of all */
    LS_STRIKE_CALL, /* a rank kills itself at a collective (LOCKSTEP_FAULT) */
    LS_STRIKE_FILE, /* ranks kill themselves in the middle of a file operation (LOCKSTEP_FS_FAULT) */
    LS_STRIKE_TORN, /* a rank writes half of what it was to write, and kills itself (LOCKSTEP_FAULT) */
    LS_STRIKE_FULL, /* a rank's disk is full for some operations: the attempt must go on */
    LS_STRIKE_SLOW, /* a rank is late at some collectives: the same */
    LS_STRIKE_STOP, /* a rank is stopped */
    LS_STRIKE_TERM, /* SIGTERM to the whole: it saves, ends and is resumed */
    LS_STRIKE_COUNT
} ls_strike_kind;
extern const char *const ls_strike_names[];
/* A rank is killed: counts as a kill. */
int ls_strike_kills(ls_strike_kind kind);
/* Nobody has to die of it: when it is over, the attempt goes on and can be struck again. */
int ls_strike_is_gentle(ls_strike_kind kind);

/* What the ranks were doing when it came. */
typedef enum ls_strike_instant {
    LS_INSTANT_START,   /* coming up for the first time */
    LS_INSTANT_RESTART, /* coming up again */
    LS_INSTANT_LOAD, /* talking to each other, but not in a step yet: state is loaded or taken over */
    LS_INSTANT_STEP,
    LS_INSTANT_COMMIT, /* in a step: a buffer was torn, or only some ranks had committed */
    LS_INSTANT_SAVE,   /* a checkpoint was being written */
    LS_INSTANT_COUNT
} ls_strike_instant;
extern const char *const ls_instant_names[];

/* When it comes. */
typedef enum ls_strike_aim {
    LS_AIM_START,  /* so long after the start of the attempt */
    LS_AIM_STEP,   /* after its first step was seen */
    LS_AIM_SAVE,   /* after a checkpoint was begun */
    LS_AIM_COMMIT, /* when ranks are seen to write buffers */
    LS_AIM_COUNT
} ls_strike_aim;

enum { LS_STRIKE_FAULT = 400 };

typedef struct ls_strike {
    int64_t index;
    ls_strike_kind kind;
    ls_strike_aim aim;
    double delay; /* seconds */
    int first, n_victims;
    char fault[LS_STRIKE_FAULT], file_fault[48];
    /* What came of it. */
    int has_struck;
    ls_strike_instant instant;
    double seconds; /* ls_clock_seconds */
    int64_t attempt, base;
    int64_t committed; /* by all ranks, before; -1 = not known */
} ls_strike;

/* How long things take, from a run that nobody disturbs. */
typedef struct ls_strike_times {
    double first_call, first_step, step;
    int64_t calls_per_step;
} ls_strike_times;

/* What can be drawn. */
typedef struct ls_strike_field {
    int size;
    uint32_t kinds;    /* bits */
    const char *stamp; /* a file that a gentle blow writes when it comes */
    ls_strike_times times;
} ls_strike_field;
/* The seed and the index alone decide. */
void ls_strike_draw(uint64_t seed, int64_t index, const ls_strike_field *field, ls_strike *out);
/* The kinds that a supervisor can do to ranks that run already; the others are told to ranks when they start. */
#define LS_STRIKES_FROM_OUTSIDE                                                                \
    (1u << LS_STRIKE_ONE | 1u << LS_STRIKE_SOME | 1u << LS_STRIKE_ALL | 1u << LS_STRIKE_STOP | \
     1u << LS_STRIKE_TERM)

/* Looks at an attempt while it runs. */
typedef struct ls_strike_watch {
    const char *out;   /* the run's folder */
    const char *stamp; /* as in ls_strike_field */
    int size;
    double step_seconds; /* of an undisturbed run */
    ls_recover_attempt attempt;
    ls_strike *strike; /* NULL = none in this attempt */
    char **old_names;  /* in the folder when the attempt began */
    int n_old_names;
    double called_at, stepped_at, saved_at; /* seconds since the start; -1 = not yet */
    int64_t least_step;                     /* that was seen in a collective of a step; -1 = none */
    int64_t newest_step;
    int64_t
        all_made; /* steps that every rank has certainly committed in this attempt, by what it was seen to do */
    double last_at; /* of a look */
    double began;   /* ls_clock_seconds; known when it is over */
} ls_strike_watch;
void ls_strike_watch_begin(ls_strike_watch *watch, const ls_recover_attempt *attempt,
                           ls_strike *strike);
void ls_strike_watch_end(ls_strike_watch *watch);
/* A checkpoint is being written that was not when the attempt began. */
int ls_strike_watch_is_saving(const ls_strike_watch *watch);
/* A further blow in the same attempt, from outside. */
void ls_strike_watch_again(ls_strike_watch *watch, ls_strike *strike);
/* ls_ranks_tick_fn with an ls_strike_watch: strikes when it is time. */
double ls_strike_tick(void *user, const ls_ranks_view *view);
/* The newest step that all ranks have committed, -1 without a keeper; *torn_out: a buffer is being written, or ranks differ. */
int64_t ls_strike_committed(const ls_recover_attempt *attempt, int *torn_out);
/* After the attempt: did it strike, and what did it meet? */
void ls_strike_judge(ls_strike_watch *watch, const ls_ranks_result *ended);

#endif
