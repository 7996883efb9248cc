/* The roofline: FLOP/s over FLOP/byte, both logarithmic. A roof of bandwidth rises with slope one, a roof of arithmetic is level; a
 * dot is a class of ops, its area its share of the step. After Williams, Waterman, Patterson, CACM 52(4), 2009. */
#include "observe/profile.h"

#include <math.h>

enum { WIDTH = 960, HEIGHT = 520, LEFT = 78, RIGHT = 24, TOP = 18, BOTTOM = 54, TEXT_HEIGHT = 15 };

typedef struct plot {
    double x0, x1, y0, y1; /* log10 */
} plot;

typedef struct box {
    double x, y, w, h;
} box;

static int is_shown(const ls_profile_class *c) {
    /* What waits for other ranks says nothing of this one's arithmetic. */
    return !c->waits && c->flops > 0 && c->bytes > 0 && c->flops_per_second > 0 &&
           isfinite(c->flops_per_second);
}

static void widen(double value, double *low, double *high) {
    if (!(value > 0) || !isfinite(value)) return;
    if (log10(value) < *low) *low = log10(value);
    if (log10(value) > *high) *high = log10(value);
}

static plot find_plot(const ls_profile *p) {
    plot a = {INFINITY, -INFINITY, INFINITY, -INFINITY};
    double most = 0;
    for (int i = 0; i < p->n_classes; i++) {
        const ls_profile_class *c = &p->classes[i];
        if (!is_shown(c)) continue;
        widen(c->flops / c->bytes, &a.x0, &a.x1);
        widen(c->flops_per_second, &a.y0, &a.y1);
    }
    for (int i = 0; i < p->n_roofs; i++)
        if (!p->roofs[i].is_bandwidth) {
            widen(p->roofs[i].per_second, &a.y0, &a.y1);
            if (p->roofs[i].per_second > most) most = p->roofs[i].per_second;
        }
    /* The ridges are in sight. */
    for (int i = 0; i < p->n_roofs; i++)
        if (p->roofs[i].is_bandwidth && most > 0)
            widen(most / p->roofs[i].per_second, &a.x0, &a.x1);
    if (!(a.x0 <= a.x1)) a = (plot){-1, 3, 8, 12};
    if (!(a.y0 <= a.y1)) a.y0 = 8, a.y1 = 12;
    a.x0 -= 0.3, a.x1 += 0.3, a.y0 -= 0.3, a.y1 += 0.3;
    return a;
}

static double to_x(const plot *a, double log_x) {
    return LEFT + (log_x - a->x0) / (a->x1 - a->x0) * (WIDTH - LEFT - RIGHT);
}
static double to_y(const plot *a, double log_y) {
    return HEIGHT - BOTTOM - (log_y - a->y0) / (a->y1 - a->y0) * (HEIGHT - TOP - BOTTOM);
}

static void draw_grid(const plot *a, ls_text *out) {
    for (int k = (int)ceil(a->x0); k <= (int)floor(a->x1); k++) {
        const double x = to_x(a, k);
        ls_text_append(out,
                       "<path class=\"grid\" d=\"M%.1f %d V%d\"/><text class=\"tick\" x=\"%.1f\" "
                       "y=\"%d\" text-anchor=\"middle\">%g</text>\n",
                       x, TOP, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 18, pow(10, k));
    }
    for (int k = (int)ceil(a->y0); k <= (int)floor(a->y1); k++) {
        const double y = to_y(a, k);
        ls_text_append(out,
                       "<path class=\"grid\" d=\"M%d %.1f H%d\"/><text class=\"tick\" x=\"%d\" "
                       "y=\"%.1f\" text-anchor=\"end\">",
                       LEFT, y, WIDTH - RIGHT, LEFT - 8, y + 4);
        ls_text_append(out, "%g %s</text>\n",
                       pow(10, k >= 12  ? k - 12
                               : k >= 9 ? k - 9
                                        : k - 6),
                       k >= 12  ? "T"
                       : k >= 9 ? "G"
                                : "M");
    }
    ls_text_append(out,
                   "<rect class=\"frame\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n<text "
                   "x=\"%d\" y=\"%d\" text-anchor=\"middle\">FLOP per byte</text>\n<text "
                   "transform=\"translate(16 %d) rotate(-90)\" "
                   "text-anchor=\"middle\">FLOP/s</text>\n",
                   LEFT, TOP, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM,
                   (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, (TOP + HEIGHT - BOTTOM) / 2);
}

static double highest_arithmetic(const ls_profile *p) {
    double most = 0;
    for (int i = 0; i < p->n_roofs; i++)
        if (!p->roofs[i].is_bandwidth && p->roofs[i].per_second > most)
            most = p->roofs[i].per_second;
    return most;
}

static void put_roof_label(const ls_profile_roof *roof, ls_text *out) {
    ls_markup_append(out, roof->name);
    ls_text_append(out, ", ");
    ls_profile_quantity(roof->per_second, roof->is_bandwidth ? "B/s" : "FLOP/s", out);
    ls_text_append(out, "</text>\n");
}

/* Where the labels of roofs of bandwidth stand: of two lines that lie close, one's label is below it. */
typedef struct bandwidth_label {
    int order;
    double last_y; /* of the last line, at the frame's left edge */
} bandwidth_label;

/* A line of slope one from the frame's edge to the highest roof of arithmetic. */
static void draw_bandwidth(const plot *a, const ls_profile_roof *roof, double top,
                           bandwidth_label *label, int labels, ls_text *out) {
    const double b = log10(roof->per_second);
    const double high = fmin(top > 0 ? log10(top) : a->y1, a->y1);
    const double x0 = fmax(a->x0, a->y0 - b), x1 = fmin(a->x1, high - b);
    if (!(x0 < x1)) return;
    const double px0 = to_x(a, x0), py0 = to_y(a, x0 + b), px1 = to_x(a, x1), py1 = to_y(a, x1 + b);
    const double angle = atan2(py1 - py0, px1 - px0);
    /* Along the line; the next label a little further, so that parallel ones do not meet. */
    const double room = hypot(px1 - px0, py1 - py0);
    const double along = fmin(14 + 26 * label->order++, fmax(4, room - 190));
    const double edge_y = to_y(a, a->x0 + b);
    const int below = fabs(edge_y - label->last_y) < 2 * TEXT_HEIGHT;
    const double away = below ? -14 : 6;
    label->last_y = edge_y;
    const double x = px0 + along * cos(angle) + away * sin(angle);
    const double y = py0 + along * sin(angle) - away * cos(angle);
    if (!labels) {
        ls_text_append(out, "<path class=\"roof\" d=\"M%.1f %.1f L%.1f %.1f\"/>\n", px0, py0, px1,
                       py1);
        return;
    }
    ls_text_append(out, "<text class=\"rooftext\" transform=\"translate(%.1f %.1f) rotate(%.1f)\">",
                   x, y, angle * 180 / 3.14159265358979);
    put_roof_label(roof, out);
}

/* A level line from where the fastest bandwidth meets it. */
static void draw_arithmetic(const plot *a, const ls_profile *p, const ls_profile_roof *roof,
                            double *last_y, int labels, ls_text *out) {
    const double level = log10(roof->per_second), y = to_y(a, level);
    double x = INFINITY;
    for (int i = 0; i < p->n_roofs; i++)
        if (p->roofs[i].is_bandwidth) x = fmin(x, level - log10(p->roofs[i].per_second));
    x = isfinite(x) ? fmax(a->x0, fmin(x, a->x1)) : a->x0;
    const int below = fabs(*last_y - y) < TEXT_HEIGHT + 4;
    *last_y = y;
    if (!labels) {
        ls_text_append(out, "<path class=\"roof\" d=\"M%.1f %.1f H%d\"/>\n", to_x(a, x), y,
                       WIDTH - RIGHT);
        return;
    }
    ls_text_append(out, "<text class=\"rooftext\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">",
                   WIDTH - RIGHT - 8, below ? y + 15 : y - 6);
    put_roof_label(roof, out);
}

/* Lines lie under the dots, their labels above them. */
static void draw_roofs(const plot *a, const ls_profile *p, int labels, ls_text *out) {
    const double top = highest_arithmetic(p);
    double last_y = -1000;
    bandwidth_label label = {0, -1000};
    for (int i = 0; i < p->n_roofs; i++) {
        if (!(p->roofs[i].per_second > 0)) continue;
        if (p->roofs[i].is_bandwidth)
            draw_bandwidth(a, &p->roofs[i], top, &label, labels, out);
        else
            draw_arithmetic(a, p, &p->roofs[i], &last_y, labels, out);
    }
}

static box dot_box(const plot *a, const ls_profile_class *c) {
    const double r = 3.5 + 26 * sqrt(fmin(1, fmax(0, c->share)));
    const double x = to_x(a, log10(c->flops / c->bytes)), y = to_y(a, log10(c->flops_per_second));
    return (box){x - r, y - r, 2 * r, 2 * r};
}

static void draw_dots(const plot *a, const ls_profile *p, ls_text *out) {
    for (int i = 0; i < p->n_classes; i++) {
        const ls_profile_class *c = &p->classes[i];
        if (!is_shown(c)) continue;
        const box b = dot_box(a, c);
        ls_text_append(out, "<circle class=\"dot f%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"><title>",
                       ls_profile_family(c->op), b.x + b.w / 2, b.y + b.h / 2, b.w / 2);
        ls_text line = {0};
        ls_profile_sentence(p, i, &line);
        if (line.status != LS_OK) out->status = line.status;
        ls_markup_append(out, line.data ? line.data : "");
        ls_text_deinit(&line);
        ls_text_append(out, "</title></circle>\n");
    }
}

static int overlaps(const box *a, const box *b) {
    return a->x < b->x + b->w && b->x < a->x + a->w && a->y < b->y + b->h && b->y < a->y + a->h;
}

/* The nearest free place for a number around its dot: not on a number, not on the dot of another one, within the frame. */
static box place_number(const box *dot, const box *dots, int n_dots, const box *taken, int n) {
    enum { SIDE = 18, TRIES = 64 };
    const double cx = dot->x + dot->w / 2, cy = dot->y + dot->h / 2;
    box b = {cx - SIDE / 2.0, cy - SIDE / 2.0, SIDE, SIDE};
    for (int t = 0; t < TRIES; t++) {
        const double angle = 0.785398 * (double)(t % 8) - 0.785398;
        const double r = dot->w / 2 + 14 + 12 * (double)(t / 8);
        b.x = cx + r * cos(angle) - SIDE / 2.0;
        b.y = cy + r * sin(angle) - SIDE / 2.0;
        int free = b.x > LEFT + 2 && b.y > TOP + 2 && b.x + SIDE < WIDTH - RIGHT - 2 &&
                   b.y + SIDE < HEIGHT - BOTTOM - 2;
        for (int i = 0; free && i < n; i++) free = !overlaps(&b, &taken[i]);
        for (int i = 0; free && i < n_dots; i++) free = !overlaps(&b, &dots[i]);
        if (free) return b;
    }
    return b;
}

/* Labels of the level roofs, at the frame's right. */
static int find_labels(const plot *a, const ls_profile *p, box *out) {
    int n = 0;
    for (int i = 0; i < p->n_roofs && n < LS_PROFILE_MAX_ROOFS; i++) {
        if (p->roofs[i].is_bandwidth || !(p->roofs[i].per_second > 0)) continue;
        const double y = to_y(a, log10(p->roofs[i].per_second));
        out[n++] = (box){WIDTH - RIGHT - 200, y - 20, 200, 40};
    }
    return n;
}

static void draw_numbers(const plot *a, const ls_profile *p, ls_text *out) {
    int indices[LS_PROFILE_ATTENTION];
    box dots[LS_PROFILE_ATTENTION], taken[LS_PROFILE_ATTENTION + LS_PROFILE_MAX_ROOFS];
    int n_dots = 0, n_taken = find_labels(a, p, taken);
    const int n = ls_profile_find_attention(p, indices);
    for (int i = 0; i < n; i++)
        if (is_shown(&p->classes[indices[i]])) dots[n_dots++] = dot_box(a, &p->classes[indices[i]]);
    for (int i = 0; i < n; i++) {
        if (!is_shown(&p->classes[indices[i]])) continue;
        const box dot = dot_box(a, &p->classes[indices[i]]);
        const box b = place_number(&dot, dots, n_dots, taken, n_taken);
        taken[n_taken++] = b;
        ls_text_append(out,
                       "<path class=\"lead\" d=\"M%.1f %.1f L%.1f %.1f\"/><circle class=\"badge\" "
                       "cx=\"%.1f\" cy=\"%.1f\" r=\"9\"/><text class=\"badgetext\" x=\"%.1f\" "
                       "y=\"%.1f\" text-anchor=\"middle\">%d</text>\n",
                       dot.x + dot.w / 2, dot.y + dot.h / 2, b.x + b.w / 2, b.y + b.h / 2,
                       b.x + b.w / 2, b.y + b.h / 2, b.x + b.w / 2, b.y + b.h / 2 + 4, i + 1);
    }
}

void ls_profile_draw_roofline(const ls_profile *p, ls_text *out) {
    const plot a = find_plot(p);
    ls_text_append(out,
                   "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 %d "
                   "%d\" role=\"img\" aria-label=\"Roofline\">\n",
                   WIDTH, HEIGHT);
    draw_grid(&a, out);
    draw_roofs(&a, p, 0, out);
    draw_dots(&a, p, out);
    draw_roofs(&a, p, 1, out);
    draw_numbers(&a, p, out);
    ls_text_append(out, "</svg>\n");
}
