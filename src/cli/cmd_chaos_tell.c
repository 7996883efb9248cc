/* What the campaigns of lockstep chaos share. */
#include "cli/cmd_chaos_tell.h"
#include "base/alloc.h"
#include "base/config.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char hash_start[] = "weights sha256:";

/* --- kinds --- */

static int count_names(const char *const *names) {
    int n = 0;
    while (names[n]) n++;
    return n;
}

static ls_status fail_kind(const char *name, const char *const *names) {
    ls_text text = {0};
    const char *near = ls_nearest_name(name, names, count_names(names));
    for (int i = 0; names[i]; i++) ls_text_append(&text, "%s%s", i ? ", " : "", names[i]);
    const ls_status status =
        LS_FAIL(LS_ERR_INVALID, "chaos: --kinds '%s'%s%s%s; here there are %s", name,
                near ? ": did you mean '" : " is not known", near ? near : "", near ? "'" : "",
                text.size ? text.data : "none");
    ls_text_deinit(&text);
    return status;
}

ls_status ls_chaos_kinds_parse(const char *text, const char *const *names, uint32_t *out) {
    const int n_names = count_names(names);
    uint32_t bits = text ? 0 : (1u << n_names) - 1;
    for (const char *at = text ? text : ""; *at;) {
        char name[32];
        int kind = 0;
        const size_t n = strcspn(at, ",");
        (void)snprintf(name, sizeof name, "%.*s", (int)n, at);
        while (kind < n_names && strcmp(name, names[kind]) != 0) kind++;
        if (kind == n_names) return fail_kind(name, names);
        bits |= 1u << kind;
        at += n + (at[n] == ',');
    }
    if (bits == 0) return fail_kind("", names);
    *out = bits;
    return LS_OK;
}

/* --- what a run printed --- */

ls_status ls_chaos_output_open(int *fd_out) {
    const int fd = memfd_create("lockstep-chaos", MFD_CLOEXEC);
    if (fd < 0)
        return LS_FAIL(LS_ERR_NO_MEMORY, "chaos: no memory for output: %s", strerror(errno));
    *fd_out = fd;
    return LS_OK;
}

ls_status ls_chaos_output_clear(int fd) {
    if (ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0) return LS_OK;
    return LS_FAIL(LS_ERR_IO, "chaos: what a run prints cannot be kept: %s", strerror(errno));
}

ls_status ls_chaos_output_hash(int fd, char hash_out[LS_CHAOS_HASH]) {
    char text[8192];
    const ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    const char *at = strstr(text, hash_start);
    if (!at || strstr(at + 1, hash_start))
        return LS_FAIL(LS_ERR_COMM, "chaos: the run printed %s hash", at ? "more than one" : "no");
    (void)snprintf(hash_out, LS_CHAOS_HASH, "%.64s", at + sizeof hash_start - 1);
    return LS_OK;
}

/* --- pauses --- */

ls_status ls_chaos_pauses_add(ls_chaos_pauses *pauses, double seconds) {
    LS_TRY(ls_array_reserve((void **)&pauses->seconds, &pauses->capacity, pauses->n + 1,
                            sizeof *pauses->seconds));
    pauses->seconds[pauses->n++] = seconds;
    return LS_OK;
}

static int compare_doubles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void ls_chaos_pauses_sum_up(ls_chaos_pauses *pauses, double *median_out, double *slowest_out) {
    *median_out = *slowest_out = 0;
    if (pauses->n == 0) return;
    qsort(pauses->seconds, (size_t)pauses->n, sizeof *pauses->seconds, compare_doubles);
    *median_out = pauses->seconds[pauses->n / 2];
    *slowest_out = pauses->seconds[pauses->n - 1];
}

void ls_chaos_pauses_deinit(ls_chaos_pauses *pauses) {
    ls_free(pauses->seconds);
    *pauses = (ls_chaos_pauses){0};
}

/* --- the table --- */

void ls_chaos_table_print(const ls_chaos_table *table, FILE *out) {
    const int n_kinds = count_names(table->kinds);
    (void)fprintf(out, "%-8s", "during");
    for (int k = 0; k < n_kinds; k++) (void)fprintf(out, "%7s", table->kinds[k]);
    (void)fprintf(out, "%7s\n", table->sum);
    for (int i = 0; table->instants[i]; i++) {
        const int64_t *row = table->counts + i * n_kinds;
        int64_t sum = 0;
        (void)fprintf(out, "%-8s", table->instants[i]);
        for (int k = 0; k < n_kinds; k++) {
            (void)fprintf(out, "%7lld", (long long)row[k]);
            if (table->counted >> k & 1) sum += row[k];
        }
        (void)fprintf(out, "%7lld\n", (long long)sum);
    }
}

json_t *ls_chaos_table_json(const ls_chaos_table *table) {
    const int n_kinds = count_names(table->kinds);
    json_t *all = json_object();
    for (int i = 0; table->instants[i]; i++) {
        json_t *row = json_object();
        for (int k = 0; k < n_kinds; k++)
            (void)json_object_set_new(row, table->kinds[k],
                                      json_integer(table->counts[i * n_kinds + k]));
        (void)json_object_set_new(all, table->instants[i], row);
    }
    return all;
}
