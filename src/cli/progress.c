#include "cli/progress.h"
#include "base/clock.h"
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

static const double live_seconds = 0.1, plain_seconds = 5, mark_seconds = 1;

static double read_clock(const ls_progress *progress) {
    return progress->options.clock ? progress->options.clock() : ls_clock_seconds();
}

void ls_progress_init(ls_progress *progress, const ls_progress_options *options) {
    *progress = (ls_progress){.options = *options};
    ls_progress_options *own = &progress->options;
    if (!own->stream) own->stream = stderr;
    if (own->live < 0) own->live = isatty(fileno(own->stream));
    if (own->every_seconds <= 0) own->every_seconds = plain_seconds;
    progress->started = progress->printed = read_clock(progress);
    progress->marks[0].at = progress->started;
    progress->n_marks = 1;
}

/* The oldest mark still in the ring: the start of the window the rate is taken over. */
static int oldest_mark(const ls_progress *progress) {
    return progress->n_marks > LS_PROGRESS_MARKS ? progress->n_marks % LS_PROGRESS_MARKS : 0;
}

static double rate_at(const ls_progress *progress, double now) {
    const int oldest = oldest_mark(progress);
    const double seconds = now - progress->marks[oldest].at;
    if (seconds <= 0) return 0;
    return (double)(progress->n_units - progress->marks[oldest].n_units) / seconds;
}

double ls_progress_rate(const ls_progress *progress) {
    return rate_at(progress, read_clock(progress));
}

static void add_mark(ls_progress *progress, double now) {
    const int last = (progress->n_marks - 1) % LS_PROGRESS_MARKS;
    if (now - progress->marks[last].at < mark_seconds) return;
    const int next = progress->n_marks % LS_PROGRESS_MARKS;
    progress->marks[next].at = now;
    progress->marks[next].n_units = progress->n_units;
    progress->n_marks++;
    if (progress->n_marks >= 3 * LS_PROGRESS_MARKS) progress->n_marks -= LS_PROGRESS_MARKS;
}

static void append(char *line, size_t bytes, const char *fmt, ...) LS_PRINTF(3, 4);

static void append(char *line, size_t bytes, const char *fmt, ...) {
    const size_t used = strlen(line);
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(line + used, bytes - used, fmt, args);
    va_end(args);
}

static void append_rate(char *line, size_t bytes, double rate, const char *unit) {
    static const char *const prefixes[] = {"", "k ", "M ", "G "};
    int i = 0;
    for (; rate >= 1000 && i < 3; i++) rate /= 1000;
    append(line, bytes, "  %.*f %s%s/s", rate < 100 && i ? 1 : 0, rate, prefixes[i], unit);
}

static void append_time(char *line, size_t bytes, const char *label, double seconds) {
    const long whole = seconds < 359999 ? (long)(seconds + 0.5) : 359999;
    if (whole >= 3600)
        append(line, bytes, "  %s %ld:%02ld:%02ld", label, whole / 3600, whole / 60 % 60,
               whole % 60);
    else
        append(line, bytes, "  %s %ld:%02ld", label, whole / 60, whole % 60);
}

static void make_line(const ls_progress *progress, double now, char *line, size_t bytes) {
    const ls_progress_options *options = &progress->options;
    const double elapsed = now - progress->started;
    const int64_t done = progress->n_done, total = options->n_total;
    line[0] = '\0';
    append(line, bytes, "%s  %lld", options->label, (long long)done);
    if (total > 0)
        append(line, bytes, "/%lld  %.0f %%", (long long)total, 100 * (double)done / (double)total);
    if (progress->detail[0]) append(line, bytes, "  %s", progress->detail);
    if (options->unit) append_rate(line, bytes, rate_at(progress, now), options->unit);
    if (total > 0 && done > 0 && done < total)
        append_time(line, bytes, "ETA", elapsed / (double)done * (double)(total - done));
    else
        append_time(line, bytes, "after", elapsed);
}

static void print_line(ls_progress *progress, double now) {
    char line[400];
    make_line(progress, now, line, sizeof line);
    progress->printed = now;
    /* \033[K clears what a longer line left behind. */
    if (progress->options.live)
        (void)fprintf(progress->options.stream, "\r%s\033[K", line);
    else
        (void)fprintf(progress->options.stream, "%s\n", line);
    (void)fflush(progress->options.stream);
    progress->is_open = progress->options.live;
}

void ls_progress_update(ls_progress *progress, int64_t n_done, int64_t n_units, const char *fmt,
                        ...) {
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(progress->detail, sizeof progress->detail, fmt, args);
    va_end(args);
    progress->n_done = n_done;
    progress->n_units = n_units;
    const double now = read_clock(progress);
    const double every = progress->options.live ? live_seconds : progress->options.every_seconds;
    if (!progress->options.quiet && now - progress->printed >= every) print_line(progress, now);
    add_mark(progress, now);
}

void ls_progress_end(ls_progress *progress) {
    if (progress->options.quiet || progress->n_done == 0) return;
    print_line(progress, read_clock(progress));
    if (progress->is_open) (void)fputc('\n', progress->options.stream);
    (void)fflush(progress->options.stream);
    progress->is_open = 0;
    progress->n_done = 0; /* a second end prints nothing */
}
