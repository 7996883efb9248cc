/* The timeline of one step: for every rank a row of phases and a row of what runs. */
#include "observe/profile.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    WIDTH = 960,
    LEFT = 78,
    RIGHT = 10,
    PHASE_HEIGHT = 18,
    WORK_HEIGHT = 30,
    ROW = 66,
    MOST_ROWS = 16,
    LETTER = 6 /* px of a letter of a phase's name */
};

static double tick_step(double range) {
    const double raw = range / 8, power = pow(10, floor(log10(raw))), f = raw / power;
    return power * (f < 1.5 ? 1 : f < 3.5 ? 2 : f < 7.5 ? 5 : 10);
}

static double to_x(const ls_profile *p, double seconds) {
    return LEFT + seconds / p->strip_seconds * (WIDTH - LEFT - RIGHT);
}

static void draw_axis(const ls_profile *p, int bottom, ls_text *out) {
    const double step = tick_step(p->strip_seconds);
    for (int i = 0; (double)i * step <= p->strip_seconds * (1 + 1e-9); i++) {
        const double x = to_x(p, (double)i * step);
        ls_text_append(out,
                       "<path class=\"grid\" d=\"M%.1f 4 V%d\"/><text class=\"tick\" x=\"%.1f\" "
                       "y=\"%d\" text-anchor=\"%s\">",
                       x, bottom, x, bottom + 15, x > WIDTH - RIGHT - 24 ? "end" : "middle");
        ls_profile_quantity((double)i * step, "s", out);
        ls_text_append(out, "</text>\n");
    }
}

static void draw_rect(const ls_profile *p, double begin, double end, double y, int height,
                      const char *class, ls_text *out) {
    ls_text_append(out, "<rect class=\"%s\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%d\"",
                   class, to_x(p, begin), y, fmax(0.05, to_x(p, end) - to_x(p, begin)), height);
}

static void draw_phases(const ls_profile *p, const ls_profile_strip *s, double y, ls_text *out) {
    for (int i = 0; i < s->n_phases; i++) {
        const ls_profile_phase_piece *piece = &s->phases[i];
        const double width = to_x(p, piece->end) - to_x(p, piece->begin);
        draw_rect(p, piece->begin, piece->end, y, PHASE_HEIGHT, "phase", out);
        ls_text_append(out, "><title>");
        ls_markup_append(out, piece->name);
        ls_text_append(out, ", ");
        ls_profile_quantity(piece->end - piece->begin, "s", out);
        ls_text_append(out, "</title></rect>\n");
        if (width < (double)(LETTER * (int)strlen(piece->name) + 6)) continue;
        ls_text_append(out,
                       "<text class=\"phasetext\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">",
                       to_x(p, piece->begin) + width / 2, y + 13);
        ls_markup_append(out, piece->name);
        ls_text_append(out, "</text>\n");
    }
}

static void draw_strip(const ls_profile *p, const ls_profile_strip *s, double y, ls_text *out) {
    ls_text_append(out, "<text x=\"4\" y=\"%.1f\">rank %d<title>", y + PHASE_HEIGHT + 14, s->rank);
    ls_markup_append(out, s->host);
    ls_text_append(out, "</title></text>\n");
    draw_phases(p, s, y, out);
    for (int i = 0; i < s->n_pieces; i++) {
        char class[16];
        (void)snprintf(class, sizeof class, "f%d", s->pieces[i].family);
        draw_rect(p, s->pieces[i].begin, s->pieces[i].end, y + PHASE_HEIGHT + 2, WORK_HEIGHT, class,
                  out);
        ls_text_append(out, "/>\n");
    }
}

void ls_profile_draw_timeline(const ls_profile *p, ls_text *out) {
    const int n = p->n_strips < MOST_ROWS ? p->n_strips : MOST_ROWS, bottom = 8 + ROW * n;
    if (n == 0 || !(p->strip_seconds > 0)) {
        ls_text_append(out, "<p>No step was recorded whole.</p>\n");
        return;
    }
    ls_text_append(out,
                   "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 %d "
                   "%d\" role=\"img\" aria-label=\"Timeline\">\n",
                   WIDTH, bottom + 24);
    draw_axis(p, bottom, out);
    for (int i = 0; i < n; i++) draw_strip(p, &p->strips[i], 8 + ROW * i, out);
    ls_text_append(out, "</svg>\n");
    if (p->n_strips > n)
        ls_text_append(out, "<p>The first %d of %d ranks are shown.</p>\n", n, p->n_strips);
}
