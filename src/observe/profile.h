/* A profile: where the time of a step goes, and how far each class of ops is from what the machine can do. Plain data; who fills it
 * knows graphs and plans, who draws it does not. Local, reentrant. */
#ifndef LS_OBSERVE_PROFILE_H
#define LS_OBSERVE_PROFILE_H
#include "base/alloc.h"
#include "lockstep/status.h"

enum { LS_PROFILE_ATTENTION = 5, LS_PROFILE_MAX_ROOFS = 12 };

/* What a rank's share of the machine can do at most. */
typedef struct ls_profile_roof {
    const char *name; /* "bf16 arithmetic", "memory" */
    int is_bandwidth; /* bytes/s; else FLOP/s */
    double per_second;
} ls_profile_roof;

/* Nodes that do the same: op, phase, kernel, types, attributes. */
typedef struct ls_profile_class {
    const char *op, *phase, *kernel, *family;
    const char *types; /* "f32[64, 256] x f32[256, 256] -> f32[64, 256] transpose_b=1" */
    const char *scope; /* where in the model, of one of them; "" for none */
    int64_t n_nodes;
    double calls;   /* a step */
    double seconds; /* a step: of each call the median over steps; their sum, mean over ranks */
    double mean_seconds; /* a step, mean over ranks and steps: what disturbed a step is in it */
    double share;        /* `seconds`, of the median step */
    double flops, bytes; /* a call */
    double flops_per_second, bytes_per_second; /* in `seconds` */
    double threads;                            /* that worked, mean; 0 = not known */
    int roof;                                  /* index of the one it would meet first; -1 = none */
    double
        roof_share; /* of what that roof allows; may exceed 1 where operands were in a nearer cache */
    double saved_seconds; /* a step, if it reached its roof; 0 where there is none */
    int waits;            /* its time holds waiting for other ranks */
} ls_profile_class;

typedef struct ls_profile_part {
    const char *name;
    double seconds, share; /* of a step */
    double bytes;          /* that were moved, 0 where that means nothing */
} ls_profile_part;

/* A piece of a rank's strip. */
typedef struct ls_profile_piece {
    double begin, end; /* seconds from the strip's beginning */
    int family;        /* index into ls_profile_families */
} ls_profile_piece;
/* One step of one rank: what runs (fine), and in which phase (coarse). */
typedef struct ls_profile_phase_piece {
    double begin, end;
    const char *name; /* "forward 0" */
} ls_profile_phase_piece;
typedef struct ls_profile_strip {
    int rank;
    const char *host;
    const ls_profile_piece *pieces;
    int n_pieces;
    const ls_profile_phase_piece *phases;
    int n_phases;
} ls_profile_strip;

typedef struct ls_profile_pair {
    const char *key, *value;
} ls_profile_pair;

typedef struct ls_profile {
    const char *title;
    const ls_profile_pair *about; /* machine, version, configuration */
    int n_about;
    int64_t first_step, n_steps;                             /* that were profiled */
    int n_ranks, n_threads;                                  /* threads of a rank */
    double step_seconds, items_per_second, flops_per_second; /* means */
    double step_median_seconds; /* median over steps, mean over ranks */
    const char *items;          /* "tokens" */
    int64_t n_events, n_dropped;
    const ls_profile_roof *roofs;
    int n_roofs;
    const char *roofs_source;
    const ls_profile_class *classes; /* longest first */
    int n_classes;
    const ls_profile_part *phases; /* their seconds add up to step_seconds */
    int n_phases;
    const ls_profile_part *memory; /* bytes a rank */
    int n_memory;
    const ls_profile_strip *strips;
    int n_strips;
    double strip_seconds;
    int64_t strip_step;
} ls_profile;

/* Kinds of work, as the timeline colours them; the last is time that no event covers. */
enum {
    LS_FAMILY_PRODUCTS,
    LS_FAMILY_ATTENTION,
    LS_FAMILY_NORMS,
    LS_FAMILY_ELEMENTWISE,
    LS_FAMILY_LOSS,
    LS_FAMILY_OPTIMIZER,
    LS_FAMILY_SUMS,
    LS_FAMILY_RANKS,
    LS_FAMILY_HOST,
    LS_FAMILY_GAPS,
    LS_PROFILE_FAMILIES
};
extern LS_API const char *const ls_profile_families[LS_PROFILE_FAMILIES + 1];
LS_API int ls_profile_family(const char *op);

/* One time of something that happens in every step: its class, the rank, what it is there, its lane. */
typedef struct ls_profile_sample {
    int row, rank;
    int64_t what;
    int lane;
    double ns;
} ls_profile_sample;
/* Sorts the samples, and adds for each group that is alike in all but its time the median, as often as it was met, to sums[row]. */
LS_API void ls_profile_add_medians(ls_profile_sample *samples, int64_t n, double *sums);

/* The classes worth attention: those whose time would shrink most if they reached their roof. Fills indices, most first; returns how many (at
 * most LS_PROFILE_ATTENTION; fewer when fewer stand below a roof). */
LS_API int ls_profile_find_attention(const ls_profile *profile, int indices_out[]);
/* A sentence about a class: its share, which roof, what it reaches, what reaching the roof would save. */
LS_API void ls_profile_sentence(const ls_profile *profile, int index, ls_text *out);
/* "1.23 GFLOP/s", "4.5 ms", "1.2 MB": three digits and a unit. */
LS_API void ls_profile_quantity(double value, const char *unit, ls_text *out);

LS_API ls_status ls_profile_print_json(const ls_profile *profile, ls_text *out);
/* One page that needs nothing else: no scripts, no fonts, no network. Readable in light and dark. */
LS_API ls_status ls_profile_print_html(const ls_profile *profile, ls_text *out);
/* Its two drawings. */
LS_API void ls_profile_draw_roofline(const ls_profile *profile, ls_text *out);
LS_API void ls_profile_draw_timeline(const ls_profile *profile, ls_text *out);
/* Text with the characters escaped that markup gives a meaning. */
LS_API void ls_markup_append(ls_text *out, const char *text);

#endif
