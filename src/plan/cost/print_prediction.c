/* The prediction as a table and as JSON. */
#include <string.h>

#include "plan/cost/cost.h"

static const char *bound_of(const ls_predict_row *row) {
    if (row->is_exchange) return "ranks";
    return row->compute_seconds > row->roof_seconds / 2 ? "compute" : "memory";
}

static void print_row(const ls_prediction *p, const ls_predict_row *row, ls_text *out) {
    ls_text_append(out, "    %-26s %6lld %11.4g %10.4g %10.3f %6.1f %%  %-8s", row->kind,
                   (long long)row->times, row->flops * 1e-9, row->bytes * 1e-9, row->seconds * 1e3,
                   100 * row->seconds / p->seconds, bound_of(row));
    if (row->is_exchange)
        ls_text_append(out, "\n");
    else
        ls_text_append(out, " %5.0f %%%s\n", 100 * row->efficiency,
                       row->is_assumed ? " (assumed)" : "");
}

void ls_prediction_print(const ls_prediction *p, const ls_machine *m, double items,
                         const char *what, ls_text *out) {
    ls_text_append(out,
                   "time, predicted from the machine profile measured %s (%s, %d thread%s%s), %d "
                   "thread%s a rank:\n",
                   m->measured, m->cpu, m->threads, m->threads == 1 ? "" : "s",
                   m->quick ? ", --quick" : "", p->threads, p->threads == 1 ? "" : "s");
    ls_text_append(out, "    %-26s %6s %11s %10s %10s %8s  %-8s %7s\n", "kind", "times", "GFLOP",
                   "GB", "ms", "share", "bound", "of roof");
    for (int i = 0; i < p->n_rows; i++) print_row(p, &p->rows[i], out);
    ls_text_append(out,
                   "  a step: %.4g ms (nodes %.4g, sums of lanes %.4g, exchange %.4g), %.4g %s/s, "
                   "%.3g GFLOP/s, %.1f %% of the multiply-add rate\n",
                   p->seconds * 1e3, p->compute_seconds * 1e3, p->fold_seconds * 1e3,
                   p->exchange_seconds * 1e3, items / p->seconds, what,
                   p->flops / p->seconds * 1e-9, 100 * p->flops / p->seconds / p->flops_roof);
}

static json_t *row_json(const ls_predict_row *row) {
    return json_pack("{s:s, s:I, s:f, s:f, s:f, s:s, s:f, s:b}", "kind", row->kind, "times",
                     (json_int_t)row->times, "flops", row->flops, "bytes", row->bytes, "seconds",
                     row->seconds, "bound", bound_of(row), "efficiency", row->efficiency, "assumed",
                     row->is_assumed);
}

json_t *ls_prediction_json(const ls_prediction *p, const ls_machine *m, double items) {
    json_t *root = json_pack(
        "{s:{s:s, s:i, s:s, s:s, s:b}, s:i, s:f, s:f, s:f, s:f, s:f, s:f}", "machine", "cpu",
        m->cpu, "threads", m->threads, "isa", m->isa, "measured", m->measured, "quick", m->quick,
        "threads", p->threads, "step_seconds", p->seconds, "node_seconds", p->compute_seconds,
        "fold_seconds", p->fold_seconds, "exchange_seconds", p->exchange_seconds,
        "items_per_second", items / p->seconds, "flops_per_second", p->flops / p->seconds);
    json_t *rows = json_array();
    int failed = root == NULL || rows == NULL;
    for (int i = 0; !failed && i < p->n_rows; i++)
        failed = json_array_append_new(rows, row_json(&p->rows[i]));
    if (!failed && json_object_set(root, "kinds", rows) == 0) {
        json_decref(rows);
        return root;
    }
    json_decref(rows);
    json_decref(root);
    return NULL;
}
