#include "observe/chart.h"

#include <math.h>

enum { WIDTH = 860, HEIGHT = 440, LEFT = 70, RIGHT = 20, TOP = 44, BOTTOM = 52, COLUMNS = 770 };

static const char *const colors[] = {"#1f77b4", "#d62728", "#2ca02c",
                                     "#9467bd", "#ff7f0e", "#17becf"};

typedef struct axes {
    double x0, x1, y0, y1;
} axes;

static void widen(double value, double *low, double *high) {
    if (!isfinite(value)) return;
    if (value < *low) *low = value;
    if (value > *high) *high = value;
}

static axes find_axes(const ls_chart *c) {
    axes a = {INFINITY, -INFINITY, INFINITY, -INFINITY};
    for (int s = 0; s < c->n_series; s++)
        for (int64_t i = 0; i < c->series[s].n; i++) {
            widen(c->series[s].x[i], &a.x0, &a.x1);
            widen(c->series[s].y[i], &a.y0, &a.y1);
        }
    for (int i = 0; i < c->n_lines; i++) widen(c->lines[i].y, &a.y0, &a.y1);
    if (!(a.x0 < a.x1))
        a = (axes){isfinite(a.x0) ? a.x0 : 0, (isfinite(a.x0) ? a.x0 : 0) + 1, a.y0, a.y1};
    if (!isfinite(a.y0)) a.y0 = a.y1 = 0;
    /* Never so small that the two ends are one number. */
    const double least = fmax(0.5e-6, 1e-6 * fmax(fabs(a.y0), fabs(a.y1)));
    const double margin = a.y1 - a.y0 > least ? 0.05 * (a.y1 - a.y0) : fmax(0.5, 1e6 * least);
    a.y0 -= margin;
    a.y1 += margin;
    return a;
}

static double to_x(const axes *a, double x) {
    return LEFT + (x - a->x0) / (a->x1 - a->x0) * (WIDTH - LEFT - RIGHT);
}
static double to_y(const axes *a, double y) {
    return HEIGHT - BOTTOM - (y - a->y0) / (a->y1 - a->y0) * (HEIGHT - TOP - BOTTOM);
}

/* A round step that gives about six ticks. */
static double tick_step(double range) {
    const double raw = range / 6, power = pow(10, floor(log10(raw))), f = raw / power;
    return power * (f < 1.5 ? 1 : f < 3.5 ? 2 : f < 7.5 ? 5 : 10);
}

/* Text content: the three characters that XML gives a meaning. */
static void put_text(ls_text *out, const char *text) {
    for (; *text; text++)
        ls_text_append(out,
                       *text == '<'   ? "&lt;"
                       : *text == '>' ? "&gt;"
                       : *text == '&' ? "&amp;"
                                      : "%c",
                       *text);
    ls_text_append(out, "</text>\n");
}

static void draw_frame(const ls_chart *c, const axes *a, ls_text *out) {
    ls_text_append(out, "<text x=\"%d\" y=\"24\" font-size=\"15\">", LEFT);
    put_text(out, c->title);
    const double sx = tick_step(a->x1 - a->x0), sy = tick_step(a->y1 - a->y0);
    for (double x = ceil(a->x0 / sx) * sx; x <= a->x1 + sx * 1e-9; x += sx)
        ls_text_append(out,
                       "<path d=\"M%.1f %d V%d\" class=\"grid\"/><text x=\"%.1f\" y=\"%d\" "
                       "text-anchor=\"middle\">%g</text>\n",
                       to_x(a, x), TOP, HEIGHT - BOTTOM, to_x(a, x), HEIGHT - BOTTOM + 18,
                       fabs(x) < sx * 1e-9 ? 0 : x);
    for (double y = ceil(a->y0 / sy) * sy; y <= a->y1 + sy * 1e-9; y += sy)
        ls_text_append(out,
                       "<path d=\"M%d %.1f H%d\" class=\"grid\"/><text x=\"%d\" y=\"%.1f\" "
                       "text-anchor=\"end\">%g</text>\n",
                       LEFT, to_y(a, y), WIDTH - RIGHT, LEFT - 6, to_y(a, y) + 4,
                       fabs(y) < sy * 1e-9 ? 0 : y);
    ls_text_append(
        out, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"#888\"/>\n",
        LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    ls_text_append(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">",
                   (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12);
    put_text(out, c->x_label);
    ls_text_append(out, "<text transform=\"translate(16 %d) rotate(-90)\" text-anchor=\"middle\">",
                   (TOP + HEIGHT - BOTTOM) / 2);
    put_text(out, c->y_label);
}

/* One polyline; of the points that share a pixel column, the lowest and the highest. */
static void draw_series(const ls_series *s, const axes *a, const char *color, ls_text *out) {
    const int64_t per = s->n > 2 * COLUMNS ? (s->n + COLUMNS - 1) / COLUMNS : 1;
    int open = 0;
    ls_text_append(out, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" d=\"", color);
    for (int64_t i = 0; i < s->n; i += per) {
        int64_t low = i, high = i;
        for (int64_t k = i; k < i + per && k < s->n; k++) {
            if (s->y[k] < s->y[low]) low = k;
            if (s->y[k] > s->y[high]) high = k;
        }
        const int64_t picks[2] = {low < high ? low : high, low < high ? high : low};
        for (int p = 0; p < (per > 1 ? 2 : 1); p++) {
            const int64_t k = picks[p];
            if (!isfinite(s->y[k])) {
                open = 0;
                continue;
            }
            ls_text_append(out, "%s%.1f %.1f", open ? "L" : "M", to_x(a, s->x[k]),
                           to_y(a, s->y[k]));
            open = 1;
        }
    }
    ls_text_append(out, "\"/>\n");
    for (int64_t i = 0; s->markers && i < s->n; i++)
        if (isfinite(s->y[i]))
            ls_text_append(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n",
                           to_x(a, s->x[i]), to_y(a, s->y[i]), color);
}

ls_status ls_chart_print(const ls_chart *c, ls_text *out) {
    const axes a = find_axes(c);
    ls_text_append(out,
                   "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
                   "height=\"%d\" font-family=\"sans-serif\" "
                   "font-size=\"12\">\n<style>.grid{stroke:#e4e4e4;fill:none}</style>\n<rect "
                   "width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
                   WIDTH, HEIGHT, WIDTH, HEIGHT);
    draw_frame(c, &a, out);
    for (int i = 0; i < c->n_lines; i++) {
        ls_text_append(out,
                       "<path d=\"M%d %.1f H%d\" stroke=\"#555\" stroke-dasharray=\"6 4\"/><text "
                       "x=\"%d\" y=\"%.1f\" text-anchor=\"end\" "
                       "fill=\"#555\">",
                       LEFT, to_y(&a, c->lines[i].y), WIDTH - RIGHT, WIDTH - RIGHT - 6,
                       to_y(&a, c->lines[i].y) - 5);
        put_text(out, c->lines[i].name);
    }
    for (int s = 0; s < c->n_series; s++) {
        const char *color = colors[s % (int)(sizeof colors / sizeof colors[0])];
        draw_series(&c->series[s], &a, color, out);
        ls_text_append(out,
                       "<rect x=\"%d\" y=\"%d\" width=\"14\" height=\"4\" fill=\"%s\"/><text "
                       "x=\"%d\" y=\"%d\">",
                       WIDTH - 190, TOP + 14 + 18 * s, color, WIDTH - 170, TOP + 20 + 18 * s);
        put_text(out, c->series[s].name);
    }
    ls_text_append(out, "</svg>\n");
    return out->status;
}
