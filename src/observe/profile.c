/* What is said about a profile: kinds of work, the classes worth attention, quantities with units. */
#include "observe/profile.h"

#include <math.h>
#include <string.h>

const char *const ls_profile_families[LS_PROFILE_FAMILIES + 1] = {
    [LS_FAMILY_PRODUCTS] = "matrix products",
    [LS_FAMILY_ATTENTION] = "attention",
    [LS_FAMILY_NORMS] = "normalisation",
    [LS_FAMILY_ELEMENTWISE] = "elementwise and copies",
    [LS_FAMILY_LOSS] = "embedding and loss",
    [LS_FAMILY_OPTIMIZER] = "optimizer",
    [LS_FAMILY_SUMS] = "lane sums",
    [LS_FAMILY_RANKS] = "exchange between ranks",
    [LS_FAMILY_HOST] = "data, saves, evaluation",
    [LS_FAMILY_GAPS] = "between launches",
};

/* Names begin with the word. */
static const struct {
    const char *word;
    int family;
} beginnings[] = {
    {"matmul", LS_FAMILY_PRODUCTS},
    {"conv", LS_FAMILY_PRODUCTS},
    {"attention", LS_FAMILY_ATTENTION},
    {"softmax", LS_FAMILY_ATTENTION},
    {"rope", LS_FAMILY_ATTENTION},
    {"layernorm", LS_FAMILY_NORMS},
    {"rmsnorm", LS_FAMILY_NORMS},
    {"batchnorm", LS_FAMILY_NORMS},
    {"cross_entropy", LS_FAMILY_LOSS},
    {"mean_squared", LS_FAMILY_LOSS},
    {"embedding", LS_FAMILY_LOSS},
    {"position_embedding", LS_FAMILY_LOSS},
    {"accuracy", LS_FAMILY_LOSS},
    {"grad_norm", LS_FAMILY_OPTIMIZER},
    {"sum_squares", LS_FAMILY_OPTIMIZER},
    {"clip_scale", LS_FAMILY_OPTIMIZER},
    {"step_count", LS_FAMILY_OPTIMIZER},
    {"lane sum", LS_FAMILY_SUMS},
    {"all_gather", LS_FAMILY_RANKS},
    {"all_reduce", LS_FAMILY_RANKS},
    {"all_to_all", LS_FAMILY_RANKS},
    {"reduce_scatter", LS_FAMILY_RANKS},
    {"broadcast_start", LS_FAMILY_RANKS},
    {"broadcast_wait", LS_FAMILY_RANKS},
    {"send", LS_FAMILY_RANKS},
    {"recv", LS_FAMILY_RANKS},
};

int ls_profile_family(const char *op) {
    const size_t length = strlen(op);
    if (length > 5 && strcmp(op + length - 5, "_step") == 0) return LS_FAMILY_OPTIMIZER;
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++)
        if (strncmp(op, beginnings[i].word, strlen(beginnings[i].word)) == 0)
            return beginnings[i].family;
    return LS_FAMILY_ELEMENTWISE;
}

int ls_profile_find_attention(const ls_profile *p, int indices[]) {
    int n = 0;
    for (int i = 0; i < p->n_classes; i++) {
        const double saved = p->classes[i].saved_seconds;
        if (!(saved > 0)) continue;
        int at = n < LS_PROFILE_ATTENTION ? n++ : LS_PROFILE_ATTENTION;
        for (; at > 0 && saved > p->classes[indices[at - 1]].saved_seconds; at--)
            if (at < LS_PROFILE_ATTENTION) indices[at] = indices[at - 1];
        if (at < LS_PROFILE_ATTENTION) indices[at] = i;
    }
    return n;
}

/* Digits so that three count. */
static void append_number(double value, const char *prefix, const char *unit, ls_text *out) {
    const double size = fabs(value);
    ls_text_append(out, "%.*f %s%s", size < 9.995 ? 2 : size < 99.95 ? 1 : 0, value, prefix, unit);
}

void ls_profile_quantity(double value, const char *unit, ls_text *out) {
    static const char *const large[] = {"", "k", "M", "G", "T", "P"};
    static const char *const small[] = {"", "m", "u", "n"};
    int i = 0;
    if (!isfinite(value)) {
        ls_text_append(out, "?");
        return;
    }
    if (value == 0) {
        ls_text_append(out, "0 %s", unit);
    } else if (fabs(value) >= 1 || strcmp(unit, "s") != 0) {
        for (; fabs(value) >= 999.5 && i < 5 && strcmp(unit, "s") != 0; i++) value /= 1000;
        append_number(value, large[i], unit, out);
    } else {
        for (; fabs(value) < 0.9995 && i < 3; i++) value *= 1000;
        append_number(value, small[i], unit, out);
    }
}

static void append_percent(double share, ls_text *out) {
    if (share < 1e-4)
        ls_text_append(out, "under 0.01 %%");
    else
        ls_text_append(out, "%.*g %%", share < 0.995 ? 2 : 4, 100 * share);
}

static void append_reached(const ls_profile_roof *roof, const ls_profile_class *c, ls_text *out) {
    const char *unit = roof->is_bandwidth ? "B/s" : "FLOP/s";
    ls_text_append(out, roof->is_bandwidth ? "It moves " : "It reaches ");
    ls_profile_quantity(roof->is_bandwidth ? c->bytes_per_second : c->flops_per_second, unit, out);
    ls_text_append(out, " of the ");
    ls_profile_quantity(roof->per_second, unit, out);
    ls_text_append(out, " that %s allows (", roof->name);
    append_percent(c->roof_share, out);
    ls_text_append(out, "); at that roof the step would be ");
}

/* Most of a wait is no work. */
static void append_waited(const ls_profile_roof *roof, const ls_profile_class *c, ls_text *out) {
    ls_text_append(out, "Its ");
    ls_profile_quantity(c->bytes * c->calls, "B", out);
    ls_text_append(out, " take ");
    ls_profile_quantity(c->seconds - c->saved_seconds, "s", out);
    ls_text_append(
        out,
        " at what %s allows, the rest is waiting for other ranks; without it the step would be ",
        roof->name);
}

void ls_profile_sentence(const ls_profile *p, int index, ls_text *out) {
    const ls_profile_class *c = &p->classes[index];
    ls_text_append(out, "%s %s, %s, %.4g call%s a step: ", c->op, c->phase, c->types, c->calls,
                   c->calls == 1 ? "" : "s");
    ls_profile_quantity(c->seconds, "s", out);
    ls_text_append(out, ", %.1f %% of the step. ", 100 * c->share);
    if (c->roof < 0) {
        ls_text_append(out, "It has no roof to be compared with.");
        return;
    }
    if (c->waits)
        append_waited(&p->roofs[c->roof], c, out);
    else
        append_reached(&p->roofs[c->roof], c, out);
    ls_text_append(out, "%.1f %% shorter.",
                   p->step_median_seconds > 0 ? 100 * c->saved_seconds / p->step_median_seconds
                                              : 0);
}

void ls_markup_append(ls_text *out, const char *text) {
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c == '<')
            ls_text_append(out, "&lt;");
        else if (c == '>')
            ls_text_append(out, "&gt;");
        else if (c == '&')
            ls_text_append(out, "&amp;");
        else if (c == '"')
            ls_text_append(out, "&quot;");
        else if (c >= 0x20 || c == '\n' || c == '\t')
            ls_text_append_bytes(out, text, 1);
    }
}
