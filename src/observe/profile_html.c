/* profile.html: one page, well-formed, with its style and drawings in it. */
#include "observe/profile.h"

#include <stdio.h>

/* Colours of LS_FAMILY_*, by number; readable on both backgrounds. */
static const char style[] =
    ":root{color-scheme:light dark;--bg:#fdfdfc;--fg:#1c2024;--dim:#5d6670;--line:#d9dde1;"
    "--card:#f3f4f6;--roof:#b3261e;--badge:#1c2024;--badgefg:#fff;--phase:#e3e6ea}\n"
    "@media (prefers-color-scheme:dark){:root{--bg:#15181b;--fg:#e4e7ea;--dim:#9aa4ae;"
    "--line:#343a40;--card:#1e2226;--roof:#ff8a80;--badge:#f1f3f5;--badgefg:#111;--phase:#2c3238}}"
    "\n"
    "body{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;max-width:1020px;"
    "margin:24px auto;padding:0 20px}\n"
    "h1{font-size:24px;margin:0 0 4px}h2{font-size:18px;margin:34px 0 8px}\n"
    "p{margin:6px 0}.dim{color:var(--dim)}\n"
    ".cards{display:flex;flex-wrap:wrap;gap:10px;margin:14px 0}\n"
    ".card{background:var(--card);border-radius:8px;padding:8px 14px;min-width:110px}\n"
    ".card b{display:block;font-size:19px}\n"
    "table{border-collapse:collapse;width:100%;font-size:13px}\n"
    "th,td{text-align:left;padding:4px 8px;border-bottom:1px solid "
    "var(--line);vertical-align:top}\n"
    "th{color:var(--dim);font-weight:600}\n"
    ".n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\n"
    ".wide{overflow-x:auto}code{font-size:12px;overflow-wrap:anywhere}\n"
    "ol.attention{padding-left:26px}ol.attention li{margin:8px 0}\n"
    ".bar{display:inline-block;height:9px;background:var(--dim);border-radius:2px}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:13px;margin:6px 0}\n"
    ".legend i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;"
    "vertical-align:-1px}\n"
    "svg.chart{width:100%;height:auto;display:block}svg.chart text{fill:var(--fg);font:12px "
    "system-ui,sans-serif}\n"
    "svg.chart .tick{fill:var(--dim)}svg.chart .grid{stroke:var(--line);fill:none}\n"
    "svg.chart .frame{fill:none;stroke:var(--line)}svg.chart .roof{stroke:var(--roof);fill:none;"
    "stroke-width:1.6}\n"
    "svg.chart .rooftext{fill:var(--roof);paint-order:stroke;stroke:var(--bg);stroke-width:4px;"
    "stroke-linejoin:round}svg.chart .dot{fill-opacity:.72;stroke:var(--bg)}\n"
    "svg.chart .lead{stroke:var(--dim);fill:none}svg.chart .badge{fill:var(--badge)}\n"
    "svg.chart .badgetext{fill:var(--badgefg);font-weight:700}\n"
    "svg.chart .phase{fill:var(--phase);stroke:var(--bg)}svg.chart .phasetext{font-size:11px}\n"
    ".f0{fill:#2f6fde;background:#2f6fde}.f1{fill:#8e5bd0;background:#8e5bd0}"
    ".f2{fill:#1f9e89;background:#1f9e89}.f3{fill:#e08a1e;background:#e08a1e}"
    ".f4{fill:#c2477f;background:#c2477f}.f5{fill:#5b8c2a;background:#5b8c2a}"
    ".f6{fill:#9c755f;background:#9c755f}.f7{fill:#d64545;background:#d64545}"
    ".f8{fill:#17a2b8;background:#17a2b8}.f9{fill:#9aa0a6;background:#9aa0a6}\n";

static void put_cell(ls_text *out, double value, const char *unit) {
    ls_text_append(out, "<td class=\"n\">");
    if (value > 0) ls_profile_quantity(value, unit, out);
    ls_text_append(out, "</td>");
}

static void put_card(ls_text *out, const char *label, double value, const char *unit) {
    ls_text_append(out, "<div class=\"card\"><b>");
    ls_profile_quantity(value, unit, out);
    ls_text_append(out, "</b>");
    ls_markup_append(out, label);
    ls_text_append(out, "</div>\n");
}

/* "forward 44.7 %, backward 52.0 %": those that can be seen. */
static void put_shares(const ls_profile *p, ls_text *out) {
    int n = 0;
    ls_text_append(out, "<p>");
    for (int i = 0; i < p->n_phases; i++) {
        if (!(p->phases[i].share >= 0.001)) continue;
        ls_text_append(out, "%s", n++ ? ", " : "Of a step: ");
        ls_markup_append(out, p->phases[i].name);
        ls_text_append(out, " %.1f %%", 100 * p->phases[i].share);
    }
    ls_text_append(out, "%s</p>\n", n ? "." : "");
}

static void put_header(const ls_profile *p, ls_text *out) {
    char rate[48];
    (void)snprintf(rate, sizeof rate, "%s/s", p->items);
    ls_text_append(out, "<h1>");
    ls_markup_append(out, p->title);
    ls_text_append(out, "</h1>\n<p class=\"dim\">");
    if (p->n_steps > 0)
        ls_text_append(out,
                       "%lld step%s from step %lld on, %d rank%s of %d thread%s. Times of ops are "
                       "medians over the steps, those of phases means, which add up.",
                       (long long)p->n_steps, p->n_steps == 1 ? "" : "s", (long long)p->first_step,
                       p->n_ranks, p->n_ranks == 1 ? "" : "s", p->n_threads,
                       p->n_threads == 1 ? "" : "s");
    else
        ls_text_append(out, "No step was recorded whole.");
    ls_text_append(out, "</p>\n");
    if (p->n_dropped)
        ls_text_append(out,
                       "<p>The buffer was full: %lld of %lld events were not recorded. What "
                       "follows is of the steps before; a larger profile.events keeps more.</p>\n",
                       (long long)p->n_dropped, (long long)(p->n_events + p->n_dropped));
    ls_text_append(out, "<div class=\"cards\">\n");
    put_card(out, "a step, median", p->step_median_seconds, "s");
    put_card(out, "a step, mean", p->step_seconds, "s");
    put_card(out, "throughput, mean", p->items_per_second, rate);
    put_card(out, "by the plan's count", p->flops_per_second, "FLOP/s");
    ls_text_append(out, "</div>\n");
    put_shares(p, out);
    ls_text_append(out, "<table>\n");
    for (int i = 0; i < p->n_about; i++) {
        ls_text_append(out, "<tr><th>");
        ls_markup_append(out, p->about[i].key);
        ls_text_append(out, "</th><td>");
        ls_markup_append(out, p->about[i].value);
        ls_text_append(out, "</td></tr>\n");
    }
    ls_text_append(out, "</table>\n");
}

static void put_attention(const ls_profile *p, ls_text *out) {
    int indices[LS_PROFILE_ATTENTION];
    const int n = ls_profile_find_attention(p, indices);
    ls_text_append(out, "<h2>The five ops worth attention</h2>\n<p class=\"dim\">Those whose time "
                        "would shrink most if they reached their roof.</p>\n");
    if (n < LS_PROFILE_ATTENTION)
        ls_text_append(out, "<p>Only %d class%s of ops stand%s below a roof.</p>\n", n,
                       n == 1 ? "" : "es", n == 1 ? "s" : "");
    if (n == 0) return;
    ls_text_append(out, "<ol class=\"attention\">\n");
    for (int i = 0; i < n; i++) {
        ls_text line = {0};
        ls_profile_sentence(p, indices[i], &line);
        if (line.status != LS_OK) out->status = line.status;
        ls_text_append(out, "<li>");
        ls_markup_append(out, line.data ? line.data : "");
        ls_text_append(out, "</li>\n");
        ls_text_deinit(&line);
    }
    ls_text_append(out, "</ol>\n");
}

static void put_legend(const ls_profile *p, int with_all, ls_text *out) {
    ls_text_append(out, "<div class=\"legend\">\n");
    for (int f = 0; f < LS_PROFILE_FAMILIES; f++) {
        int used = with_all;
        for (int i = 0; !used && i < p->n_classes; i++)
            used = ls_profile_family(p->classes[i].op) == f;
        if (used)
            ls_text_append(out, "<span><i class=\"f%d\"></i>%s</span>\n", f,
                           ls_profile_families[f]);
    }
    ls_text_append(out, "</div>\n");
}

static void put_charts(const ls_profile *p, ls_text *out) {
    double without = 0;
    int n_without = 0;
    for (int i = 0; i < p->n_classes; i++)
        if (p->classes[i].waits || !(p->classes[i].flops > 0)) {
            without += p->classes[i].share;
            n_without++;
        }
    ls_text_append(out, "<h2>Roofline</h2>\n<p class=\"dim\">A dot is a class of ops, its area its "
                        "share of the step. Roofs, for one rank: ");
    ls_markup_append(out, p->roofs_source);
    ls_text_append(out, ".</p>\n");
    put_legend(p, 0, out);
    ls_profile_draw_roofline(p, out);
    if (n_without)
        ls_text_append(out,
                       "<p class=\"dim\">%d class%s without arithmetic, or with waiting for other "
                       "ranks (%.1f %% of the step), %s in the table only.</p>\n",
                       n_without, n_without == 1 ? "" : "es", 100 * without,
                       n_without == 1 ? "is" : "are");
    ls_text_append(out, "<h2>Timeline of step %lld</h2>\n", (long long)p->strip_step);
    put_legend(p, 1, out);
    ls_profile_draw_timeline(p, out);
}

static void put_phases(const ls_profile *p, ls_text *out) {
    ls_text_append(
        out, "<h2>Phases</h2>\n<p class=\"dim\">Means over the steps; they add up to the mean "
             "step.</p>\n<table>\n<tr><th>phase</th><th class=\"n\">time</th><th "
             "class=\"n\">share</th><th></th></tr>\n");
    for (int i = 0; i < p->n_phases; i++) {
        const ls_profile_part *part = &p->phases[i];
        ls_text_append(out, "<tr><td>");
        ls_markup_append(out, part->name);
        ls_text_append(out, "</td>");
        put_cell(out, part->seconds, "s");
        ls_text_append(out,
                       "<td class=\"n\">%.1f %%</td><td style=\"width:45%%\"><span class=\"bar\" "
                       "style=\"width:%.1f%%\"></span></td></tr>\n",
                       100 * part->share, 100 * (part->share < 1 ? part->share : 1));
    }
    ls_text_append(out, "</table>\n");
}

static void put_class(const ls_profile *p, const ls_profile_class *c, ls_text *out) {
    ls_text_append(out, "<tr><td>");
    ls_markup_append(out, c->op);
    ls_text_append(out, "<br/><span class=\"dim\">");
    ls_markup_append(out, c->phase);
    ls_text_append(out, "</span></td><td><code>");
    ls_markup_append(out, c->types);
    ls_text_append(out, "</code><br/><span class=\"dim\">");
    ls_markup_append(out, c->kernel);
    if (*c->scope) {
        ls_text_append(out, c->n_nodes > 1 ? ", as in " : ", in ");
        ls_markup_append(out, c->scope);
    }
    ls_text_append(out, "</span></td><td class=\"n\">%.4g</td>", c->calls);
    put_cell(out, c->seconds, "s");
    ls_text_append(out, "<td class=\"n\">%.1f %%</td>", 100 * c->share);
    put_cell(out, c->flops_per_second, "FLOP/s");
    put_cell(out, c->bytes_per_second, "B/s");
    ls_text_append(out, "<td class=\"n\">");
    if (c->threads > 0) ls_text_append(out, "%.1f", c->threads);
    ls_text_append(out, "</td><td class=\"n\">");
    if (c->roof >= 0) {
        ls_text_append(out, "%.0f %%<br/><span class=\"dim\">", 100 * c->roof_share);
        ls_markup_append(out, p->roofs[c->roof].name);
        ls_text_append(out, "</span>");
    }
    ls_text_append(out, "</td></tr>\n");
}

static void put_classes(const ls_profile *p, ls_text *out) {
    ls_text_append(
        out, "<h2>All classes of ops</h2>\n<p class=\"dim\">Medians over the steps; shares are of "
             "the median "
             "step.</p>\n<div class=\"wide\"><table>\n<tr><th>op</th><th>types, "
             "kernel</th><th class=\"n\">calls</th><th class=\"n\">time</th><th "
             "class=\"n\">share</th><th class=\"n\">arithmetic</th><th class=\"n\">bytes</th><th "
             "class=\"n\">threads</th><th class=\"n\">of its roof</th></tr>\n");
    for (int i = 0; i < p->n_classes; i++) put_class(p, &p->classes[i], out);
    ls_text_append(out, "</table></div>\n");
}

static void put_memory(const ls_profile *p, ls_text *out) {
    double total = 0;
    for (int i = 0; i < p->n_memory; i++) total += p->memory[i].bytes;
    ls_text_append(out, "<h2>Memory of a rank, from the plan</h2>\n<table>\n<tr><th>region</th><th "
                        "class=\"n\">bytes</th><th class=\"n\">share</th><th></th></tr>\n");
    for (int i = 0; i < p->n_memory; i++) {
        const double share = total > 0 ? p->memory[i].bytes / total : 0;
        ls_text_append(out, "<tr><td>");
        ls_markup_append(out, p->memory[i].name);
        ls_text_append(out, "</td>");
        put_cell(out, p->memory[i].bytes, "B");
        ls_text_append(out,
                       "<td class=\"n\">%.1f %%</td><td style=\"width:45%%\"><span class=\"bar\" "
                       "style=\"width:%.1f%%\"></span></td></tr>\n",
                       100 * share, 100 * share);
    }
    ls_text_append(out, "<tr><th>all</th><td class=\"n\">");
    ls_profile_quantity(total, "B", out);
    ls_text_append(out, "</td><td class=\"n\"></td><td></td></tr>\n</table>\n");
}

ls_status ls_profile_print_html(const ls_profile *p, ls_text *out) {
    ls_text_append(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                        "<meta name=\"viewport\" content=\"width=device-width\"/>\n<title>");
    ls_markup_append(out, p->title);
    ls_text_append(out, "</title>\n<style>\n%s</style>\n</head>\n<body>\n", style);
    put_header(p, out);
    put_attention(p, out);
    put_charts(p, out);
    put_phases(p, out);
    put_classes(p, out);
    put_memory(p, out);
    ls_text_append(out, "</body>\n</html>\n");
    return out->status;
}
