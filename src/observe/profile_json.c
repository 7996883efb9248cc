/* profile.json: the numbers of the page, for programs. */
#include "observe/profile.h"
#include "observe/trace_file.h"

#include <math.h>

static void put_key(ls_text *out, const char *key, int *n) {
    ls_text_append(out, (*n)++ ? "," : "");
    ls_json_append_string(out, key);
    ls_text_append(out, ":");
}

static void put_text(ls_text *out, const char *key, const char *value, int *n) {
    put_key(out, key, n);
    ls_json_append_string(out, value);
}

static void put_number(ls_text *out, const char *key, double value, int *n) {
    put_key(out, key, n);
    if (isfinite(value))
        ls_text_append(out, "%.9g", value);
    else
        ls_text_append(out, "null");
}

static void put_about(const ls_profile *p, ls_text *out, int *n) {
    int k = 0;
    put_key(out, "about", n);
    ls_text_append(out, "{");
    for (int i = 0; i < p->n_about; i++) put_text(out, p->about[i].key, p->about[i].value, &k);
    ls_text_append(out, "}");
}

static void put_roofs(const ls_profile *p, ls_text *out, int *n) {
    put_text(out, "roofs_source", p->roofs_source, n);
    put_key(out, "roofs", n);
    for (int i = 0; i < p->n_roofs; i++) {
        int k = 0;
        ls_text_append(out, i ? ",\n  {" : "[\n  {");
        put_text(out, "name", p->roofs[i].name, &k);
        put_text(out, "unit", p->roofs[i].is_bandwidth ? "B/s" : "FLOP/s", &k);
        put_number(out, "per_second", p->roofs[i].per_second, &k);
        ls_text_append(out, "}");
    }
    ls_text_append(out, p->n_roofs ? "]" : "[]");
}

static void put_class(const ls_profile *p, const ls_profile_class *c, ls_text *out) {
    int k = 0;
    put_text(out, "op", c->op, &k);
    put_text(out, "phase", c->phase, &k);
    put_text(out, "types", c->types, &k);
    put_text(out, "kernel", c->kernel, &k);
    put_text(out, "kind", c->family, &k);
    put_text(out, "scope", c->scope, &k);
    put_number(out, "nodes", (double)c->n_nodes, &k);
    put_number(out, "calls", c->calls, &k);
    put_number(out, "seconds", c->seconds, &k);
    put_number(out, "mean_seconds", c->mean_seconds, &k);
    put_number(out, "share", c->share, &k);
    put_number(out, "flops", c->flops, &k);
    put_number(out, "bytes", c->bytes, &k);
    put_number(out, "flops_per_second", c->flops_per_second, &k);
    put_number(out, "bytes_per_second", c->bytes_per_second, &k);
    put_number(out, "threads", c->threads, &k);
    if (c->roof >= 0) {
        put_text(out, "roof", p->roofs[c->roof].name, &k);
        put_number(out, "roof_share", c->roof_share, &k);
    }
    put_number(out, "saved_seconds", c->saved_seconds, &k);
}

static void put_classes(const ls_profile *p, ls_text *out, int *n) {
    put_key(out, "classes", n);
    for (int i = 0; i < p->n_classes; i++) {
        ls_text_append(out, i ? ",\n  {" : "[\n  {");
        put_class(p, &p->classes[i], out);
        ls_text_append(out, "}");
    }
    ls_text_append(out, p->n_classes ? "]" : "[]");
}

static void put_attention(const ls_profile *p, ls_text *out, int *n) {
    int indices[LS_PROFILE_ATTENTION];
    const int found = ls_profile_find_attention(p, indices);
    put_key(out, "attention", n);
    ls_text_append(out, "[");
    for (int i = 0; i < found; i++) {
        ls_text sentence = {0};
        int k = 0;
        ls_profile_sentence(p, indices[i], &sentence);
        if (sentence.status != LS_OK) out->status = sentence.status;
        ls_text_append(out, i ? ",\n  {" : "\n  {");
        put_number(out, "class", indices[i], &k);
        put_number(out, "saved_seconds", p->classes[indices[i]].saved_seconds, &k);
        put_text(out, "sentence", sentence.data ? sentence.data : "", &k);
        ls_text_append(out, "}");
        ls_text_deinit(&sentence);
    }
    ls_text_append(out, "]");
}

static void put_parts(const char *key, const ls_profile_part *parts, int n_parts, int is_memory,
                      ls_text *out, int *n) {
    put_key(out, key, n);
    ls_text_append(out, "[");
    for (int i = 0; i < n_parts; i++) {
        int k = 0;
        ls_text_append(out, i ? ",\n  {" : "\n  {");
        put_text(out, "name", parts[i].name, &k);
        if (is_memory) {
            put_number(out, "bytes", parts[i].bytes, &k);
        } else {
            put_number(out, "seconds", parts[i].seconds, &k);
            put_number(out, "share", parts[i].share, &k);
        }
        ls_text_append(out, "}");
    }
    ls_text_append(out, "]");
}

ls_status ls_profile_print_json(const ls_profile *p, ls_text *out) {
    int n = 0;
    ls_text_append(out, "{");
    put_text(out, "title", p->title, &n);
    put_about(p, out, &n);
    put_number(out, "first_step", (double)p->first_step, &n);
    put_number(out, "steps", (double)p->n_steps, &n);
    put_number(out, "ranks", p->n_ranks, &n);
    put_number(out, "threads", p->n_threads, &n);
    put_text(out, "times",
             "classes and step_median_seconds: medians over the steps; step_seconds, phases, "
             "mean_seconds and rates of the whole step: means, which add up",
             &n);
    put_number(out, "step_seconds", p->step_seconds, &n);
    put_number(out, "step_median_seconds", p->step_median_seconds, &n);
    put_text(out, "items", p->items, &n);
    put_number(out, "items_per_second", p->items_per_second, &n);
    put_number(out, "flops_per_second", p->flops_per_second, &n);
    put_number(out, "events", (double)p->n_events, &n);
    put_number(out, "dropped_events", (double)p->n_dropped, &n);
    ls_text_append(out, ",\n");
    n = 0;
    put_roofs(p, out, &n);
    put_attention(p, out, &n);
    put_parts("phases", p->phases, p->n_phases, 0, out, &n);
    put_parts("memory", p->memory, p->n_memory, 1, out, &n);
    put_classes(p, out, &n);
    ls_text_append(out, "}\n");
    return out->status;
}
