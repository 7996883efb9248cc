/* The fuse pass's inside: what its files share. See fuse.c. Local. */
#ifndef LS_PLAN_PASS_FUSE_H
#define LS_PLAN_PASS_FUSE_H
#include "op/fused/fused.h"
#include "op/op.h"
#include "plan/pass/pass.h"

enum { FUSE_MEMBERS = LS_FUSED_STEPS, FUSE_IN = LS_FUSED_IN, FUSE_OUT = LS_FUSED_OUT };

/* Nodes that become one. Values and nodes are of the old graph. */
typedef struct fuse_group {
    int n_members, n_in, n_out;
    int32_t members[FUSE_MEMBERS + 1]; /* ascending */
    int32_t at;                        /* the member at whose place the new node stands */
    const ls_op *op;
    const void *attr;
    ls_value in[FUSE_IN];
    ls_value out[FUSE_OUT + 1]; /* what the new node's results stand for */
    int has_sum;                /* chains: the last member is a reduce_rows, the last result its */
} fuse_group;

typedef struct fuse_pass {
    const ls_graph *from;
    const ls_fuse_options *options;
    ls_arena *arena;
    int32_t
        *first_reader;   /* per value, n_values + 1: its readers are readers[first_reader[v] ..] */
    int32_t *readers;    /* nodes, ascending, once per operand */
    char *leaves;        /* per value: an output, or the source of a lane sum */
    ls_value *first_sum; /* per value: the first lane sum of it, or NONE */
    fuse_group **group_of; /* per node, or NULL */
} fuse_pass;

/* The one node that reads v, when nothing else needs it; or NULL. */
const ls_node *ls_fuse_only_reader(const fuse_pass *p, ls_value v);
/* The node that makes v, of this op and free to be taken into a group; or NULL. */
const ls_node *ls_fuse_maker(const fuse_pass *p, ls_value v, const ls_op *op);
int32_t ls_fuse_index(const fuse_pass *p, const ls_node *node);
/* May these nodes run as one at group->at? Nothing they read is made later, nothing that reads them comes earlier, only out[] is read by
 * others, a pipeline may not cut between them. */
int ls_fuse_is_legal(const fuse_pass *p, const fuse_group *group);
/* Copies the group; its members are taken. */
ls_status ls_fuse_take(fuse_pass *p, const fuse_group *group);
/* fuse_rows.c: norms take in their neighbours. */
ls_status ls_fuse_rows(fuse_pass *p);

#endif
