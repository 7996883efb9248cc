/* Norms take in their elementwise neighbours: each would read or write the same rows once more.
 *
 *     layernorm_grad, rmsnorm_grad    dy = a + b + ..          before them: a value that several branches read
 *                                     residual + dx            behind them: the residual branch's gradient
 *     batchnorm, batchnorm_eval       y + residual, ReLU       behind them
 *     batchnorm_grad                  dy = a + b, ReLU's gradient before it
 *
 * A neighbour is taken in when nobody else reads what lies between. */
#include "op/batchnorm/batchnorm.h"
#include "op/layernorm/layernorm.h"
#include "op/rmsnorm/rmsnorm.h"
#include "plan/pass/fuse.h"

static void add_member(fuse_group *group, int32_t node) {
    int i = group->n_members++;
    for (; i > 0 && group->members[i - 1] > node; i--) group->members[i] = group->members[i - 1];
    group->members[i] = node;
    if (node > group->at) group->at = node;
}

static fuse_group group_of_one(const fuse_pass *p, const ls_node *node, const ls_op *op) {
    fuse_group group = {.n_members = 1, .op = op};
    group.at = group.members[0] = ls_fuse_index(p, node);
    group.n_in = node->n_in;
    for (int i = 0; i < node->n_in; i++) group.in[i] = node->in[i];
    group.n_out = node->n_out;
    for (int i = 0; i < node->n_out; i++) group.out[i] = node->out[i];
    return group;
}

static ls_value other_operand(const ls_node *add, ls_value v) {
    return add->in[0] == v ? add->in[1] : add->in[0];
}

/* The add that makes v for this group alone, or NULL. */
static const ls_node *private_add(const fuse_pass *p, ls_value v) {
    const ls_node *add = ls_fuse_maker(p, v, &ls_op_add);
    return add && ls_fuse_only_reader(p, v) ? add : NULL;
}

/* --- gradients of row norms ------------------------------------------------------------------------------------------ */

/* In place of its first term, input `dy`, the two that it is the sum of. Additions stay in their order: only the first term is taken
 * apart, and a + b is b + a. */
static int split_first_term(const fuse_pass *p, fuse_group *group, int dy, ls_norm_sums *sums) {
    if (sums->n_more == LS_NORM_MORE || group->n_in == FUSE_IN || group->n_members == FUSE_MEMBERS)
        return 0;
    const ls_node *add = private_add(p, group->in[dy]);
    if (!add) return 0;
    fuse_group more = *group;
    const int swap = private_add(p, add->in[1]) && !private_add(p, add->in[0]);
    for (int i = more.n_in++; i > dy + 1; i--) more.in[i] = more.in[i - 1];
    more.in[dy] = add->in[swap];
    more.in[dy + 1] = add->in[!swap];
    add_member(&more, ls_fuse_index(p, add));
    if (!ls_fuse_is_legal(p, &more)) return 0;
    *group = more;
    sums->n_more++;
    return 1;
}

static int add_residual(const fuse_pass *p, fuse_group *group, ls_norm_sums *sums) {
    const ls_value dx = group->out[0];
    const ls_node *add = ls_fuse_only_reader(p, dx);
    if (!add || add->op != &ls_op_add || group->n_in == FUSE_IN) return 0;
    fuse_group more = *group;
    more.in[more.n_in++] = other_operand(add, dx);
    more.out[0] = add->out[0];
    add_member(&more, ls_fuse_index(p, add));
    if (!ls_fuse_is_legal(p, &more)) return 0;
    *group = more;
    sums->has_residual = 1;
    return 1;
}

static ls_status fuse_norm_grad(fuse_pass *p, const ls_node *node, int dy) {
    fuse_group group = group_of_one(p, node, node->op);
    ls_norm_sums sums = {0, 0};
    while (split_first_term(p, &group, dy, &sums)) {
    }
    add_residual(p, &group, &sums);
    if (group.n_members == 1) return LS_OK;
    void *attr = ls_arena_alloc(p->arena, node->op->attr_bytes);
    if (!attr) return LS_ERR_NO_MEMORY;
    if (node->op == &ls_op_layernorm_grad) {
        ls_layernorm_grad_attr *a = attr;
        *a = *(const ls_layernorm_grad_attr *)node->attr;
        a->sums = sums;
    } else {
        ls_rmsnorm_grad_attr *a = attr;
        *a = *(const ls_rmsnorm_grad_attr *)node->attr;
        a->sums = sums;
    }
    group.attr = attr;
    return ls_fuse_take(p, &group);
}

static int has_sums(const ls_node *node) {
    const ls_norm_sums *sums = node->op == &ls_op_layernorm_grad
                                   ? &((const ls_layernorm_grad_attr *)node->attr)->sums
                                   : &((const ls_rmsnorm_grad_attr *)node->attr)->sums;
    return sums->n_more || sums->has_residual;
}

/* --- batch norm ------------------------------------------------------------------------------------------------------ */

/* Its running statistics are lane sums, which must be made before what comes next: the group stands where the norm stood, if its residual
 * is there. */
static int is_legal_somewhere(const fuse_pass *p, fuse_group *group, int32_t norm) {
    const int32_t last = group->at;
    group->at = norm;
    if (ls_fuse_is_legal(p, group)) return 1;
    group->at = last;
    return ls_fuse_is_legal(p, group);
}

/* The group with `next`, the only reader of its first result; 0 when that is not allowed. */
static int take_behind(const fuse_pass *p, fuse_group *group, const ls_node *next, int32_t norm) {
    fuse_group more = *group;
    if (next->op == &ls_op_add) {
        if (more.n_in == FUSE_IN) return 0;
        more.in[more.n_in++] = other_operand(next, more.out[0]);
    }
    more.out[0] = next->out[0];
    add_member(&more, ls_fuse_index(p, next));
    if (!is_legal_somewhere(p, &more, norm)) return 0;
    *group = more;
    return 1;
}

static ls_status fuse_batchnorm(fuse_pass *p, const ls_node *node) {
    const int32_t norm = ls_fuse_index(p, node);
    fuse_group group = group_of_one(p, node, node->op);
    ls_batchnorm_attr attr = *(const ls_batchnorm_attr *)node->attr;
    if (attr.has_residual || attr.relu) return LS_OK;
    const ls_node *next = ls_fuse_only_reader(p, group.out[0]);
    if (next && next->op == &ls_op_add && take_behind(p, &group, next, norm)) {
        attr.has_residual = 1;
        next = ls_fuse_only_reader(p, group.out[0]);
    }
    if (next && next->op == &ls_op_relu && take_behind(p, &group, next, norm)) attr.relu = 1;
    if (group.n_members == 1) return LS_OK;
    ls_batchnorm_attr *copy = ls_arena_alloc(p->arena, sizeof *copy);
    if (!copy) return LS_ERR_NO_MEMORY;
    *copy = attr;
    group.attr = copy;
    return ls_fuse_take(p, &group);
}

enum { BATCHNORM_DY = 4 };

static ls_status fuse_batchnorm_grad(fuse_pass *p, const ls_node *node) {
    fuse_group group = group_of_one(p, node, node->op);
    ls_batchnorm_grad_attr attr = *(const ls_batchnorm_grad_attr *)node->attr;
    if (attr.has_more || attr.relu) return LS_OK;
    const ls_value dy = group.in[BATCHNORM_DY];
    const ls_node *relu = ls_fuse_maker(p, dy, &ls_op_relu_grad);
    if (relu && ls_fuse_only_reader(p, dy)) {
        fuse_group more = group;
        more.in[BATCHNORM_DY] = relu->in[1];
        more.in[more.n_in++] = relu->in[0];
        add_member(&more, ls_fuse_index(p, relu));
        if (ls_fuse_is_legal(p, &more)) {
            group = more;
            attr.relu = 1;
        }
    }
    const ls_node *add = private_add(p, group.in[BATCHNORM_DY]);
    if (add) {
        fuse_group more = group;
        for (int i = more.n_in++; i > BATCHNORM_DY + 1; i--) more.in[i] = more.in[i - 1];
        more.in[BATCHNORM_DY] = add->in[0];
        more.in[BATCHNORM_DY + 1] = add->in[1];
        add_member(&more, ls_fuse_index(p, add));
        if (ls_fuse_is_legal(p, &more)) {
            group = more;
            attr.has_more = 1;
        }
    }
    if (group.n_members == 1) return LS_OK;
    ls_batchnorm_grad_attr *copy = ls_arena_alloc(p->arena, sizeof *copy);
    if (!copy) return LS_ERR_NO_MEMORY;
    *copy = attr;
    group.attr = copy;
    return ls_fuse_take(p, &group);
}

ls_status ls_fuse_rows(fuse_pass *p) {
    for (int64_t n = 0; n < p->from->n_nodes; n++) {
        const ls_node *node = &p->from->nodes[n];
        if (p->group_of[n]) continue;
        if (node->op == &ls_op_layernorm_grad && !has_sums(node))
            LS_TRY(fuse_norm_grad(p, node, 4));
        else if (node->op == &ls_op_rmsnorm_grad && !has_sums(node))
            LS_TRY(fuse_norm_grad(p, node, 3));
        else if (node->op == &ls_op_batchnorm || node->op == &ls_op_batchnorm_eval)
            LS_TRY(fuse_batchnorm(p, node));
        else if (node->op == &ls_op_batchnorm_grad)
            LS_TRY(fuse_batchnorm_grad(p, node));
    }
    return LS_OK;
}
