/* lockstep checkpoint diff: two checkpoints, tensor by tensor. */
#include "cli/cmd_checkpoint.h"

typedef struct diff_run {
    const ls_cmd_call *call;
    json_t *tensors; /* --json: those that differ */
    int n_same, n_different;
} diff_run;

static int is_same(const ls_ckpt_difference *d) {
    return d->alike && d->n_different == 0;
}

static void print_difference(FILE *out, const ls_ckpt_difference *d) {
    char a[128], b[128];
    if (!d->in_b || !d->in_a) {
        fprintf(out, "  %-50s only in %s\n", d->name, d->in_a ? "A" : "B");
    } else if (!d->alike) {
        fprintf(out, "  %-50s %s%s in A, %s%s in B\n", d->name, ls_dtype_name(d->a.dtype),
                ls_shape_print(&d->a.shape, a), ls_dtype_name(d->b.dtype),
                ls_shape_print(&d->b.shape, b));
    } else {
        fprintf(out, "  %-50s %lld of %lld elements differ, by at most %.3g (relative %.3g)",
                d->name, (long long)d->n_different, (long long)ls_shape_count(&d->a.shape),
                d->largest, d->largest_relative);
        if (d->n_not_finite) fprintf(out, ", %lld of them not finite", (long long)d->n_not_finite);
        fprintf(out, "\n");
    }
}

static json_t *side_json(int there, const ls_ckpt_tensor_info *t) {
    if (!there) return json_null();
    return json_pack("{s:s,s:o}", "dtype", ls_dtype_name(t->dtype), "shape",
                     ls_cli_checkpoint_shape(t->shape.dims, t->shape.n_dims));
}

static json_t *difference_json(const ls_ckpt_difference *d) {
    json_t *item = json_pack("{s:s,s:o,s:o}", "name", d->name, "a", side_json(d->in_a, &d->a), "b",
                             side_json(d->in_b, &d->b));
    if (!item || !d->alike) return item;
    int failed = json_object_set_new(item, "different", json_integer(d->n_different));
    failed |= json_object_set_new(item, "not_finite", json_integer(d->n_not_finite));
    failed |= json_object_set_new(item, "largest", json_real(d->largest));
    failed |= json_object_set_new(item, "largest_relative", json_real(d->largest_relative));
    if (!failed) return item;
    json_decref(item);
    return NULL;
}

static ls_status add_difference(void *user, const ls_ckpt_difference *d) {
    diff_run *r = user;
    r->n_same += is_same(d);
    if (is_same(d)) return LS_OK;
    r->n_different++;
    if (!r->call->json) {
        print_difference(r->call->out, d);
        return LS_OK;
    }
    if (json_array_append_new(r->tensors, difference_json(d)) == 0) return LS_OK;
    return LS_FAIL(LS_ERR_NO_MEMORY, "out of memory while comparing");
}

static ls_status report(diff_run *r) {
    const ls_cmd_call *call = r->call;
    if (r->n_different) *call->exit_status = 1;
    if (call->json) {
        json_t *tensors = r->tensors;
        r->tensors = NULL;
        return ls_cli_print_json(call, json_pack("{s:b,s:i,s:i,s:o}", "same", !r->n_different,
                                                 "same_tensors", r->n_same, "different_tensors",
                                                 r->n_different, "tensors", tensors));
    }
    if (r->n_different)
        fprintf(call->out, "%d tensors differ, %d are the same bit for bit\n", r->n_different,
                r->n_same);
    else
        fprintf(call->out, "all %d tensors are the same bit for bit\n", r->n_same);
    return LS_OK;
}

static ls_status run_diff(const ls_cmd_call *call) {
    diff_run r = {.call = call};
    ls_ckpt *a = NULL, *b = NULL;
    ls_status status = ls_cli_checkpoint_open(call, 0, &a);
    if (status == LS_OK) status = ls_cli_checkpoint_open(call, 1, &b);
    if (status == LS_OK && !(r.tensors = json_array()))
        status = LS_FAIL(LS_ERR_NO_MEMORY, "out of memory while comparing");
    if (status == LS_OK) status = ls_ckpt_diff(a, b, add_difference, &r);
    if (status == LS_OK) status = report(&r);
    json_decref(r.tensors);
    ls_ckpt_close(a);
    ls_ckpt_close(b);
    return status;
}

const ls_cmd ls_cmd_checkpoint_diff = {
    .name = "diff",
    .help = "compare two checkpoints tensor by tensor; exit status 0: same, 1: different",
    .usage = "A B",
    .about =
        "Prints tensors that only one has, that have another shape or type, and how many elements "
        "of the others differ and by how much. Exit status: 0 when all tensors are the same bit "
        "for bit, 1 when not, 2 and above for trouble.",
    .min_args = 2,
    .max_args = 2,
    .has_json = 1,
    .run = run_diff,
};
