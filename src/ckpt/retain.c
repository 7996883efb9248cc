/* A run's folder: which checkpoint is the newest, which ones stay. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ckpt/ckpt.h"

/* The checkpoints of a folder in the order of their steps. Folder names have a fixed width; longer steps sort by number. */
typedef struct step_list {
    char **names; /* of dir_list; those that are checkpoints come first */
    int n, n_all;
} step_list;

static int compare_steps(const void *a, const void *b) {
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    const int is_x = ls_ckpt_is_step_name(x), is_y = ls_ckpt_is_step_name(y);
    if (is_x != is_y) return is_y - is_x;
    const long long m = is_x ? strtoll(x + 5, NULL, 10) : 0,
                    n = is_y ? strtoll(y + 5, NULL, 10) : 0;
    return m != n ? (m > n) - (m < n) : strcmp(x, y);
}

static ls_status list_steps(const char *root, step_list *out) {
    *out = (step_list){0};
    LS_TRY(ls_dir_list(root, &out->names, &out->n_all));
    if (out->n_all > 1) qsort(out->names, (size_t)out->n_all, sizeof *out->names, compare_steps);
    while (out->n < out->n_all && ls_ckpt_is_step_name(out->names[out->n])) out->n++;
    return LS_OK;
}

static void free_steps(step_list *list) {
    for (int i = 0; i < list->n_all; i++) ls_free(list->names[i]);
    ls_free(list->names);
}

static int64_t step_of(const char *name) {
    return strtoll(name + 5, NULL, 10);
}

/* Opens it, for its score or to see that it can be. Only want of memory is an error. */
static ls_status try_open(const char *root, const char *name, int *opens, double *score) {
    char path[LS_CKPT_PATH];
    ls_ckpt *ckpt = NULL;
    *opens = 0;
    LS_TRY(ls_ckpt_path(root, name, path));
    const ls_status status = ls_ckpt_open_alone(path, &ckpt);
    if (status == LS_ERR_NO_MEMORY) return status;
    if (status == LS_OK) *score = ckpt->score;
    *opens = status == LS_OK;
    ls_ckpt_close(ckpt);
    return LS_OK;
}

/* The least score among those up to `step`; the first when several have it. -1: none has one. */
static ls_status find_best(const char *root, const step_list *list, int64_t step, int *best_out) {
    double best = INFINITY;
    *best_out = -1;
    for (int i = 0; i < list->n && step_of(list->names[i]) <= step; i++) {
        double score = NAN;
        int opens;
        LS_TRY(try_open(root, list->names[i], &opens, &score));
        if (!opens || !(score < best)) continue;
        best = score;
        *best_out = i;
    }
    return LS_OK;
}

static ls_status remove_old(const char *root, const step_list *list, int64_t step,
                            const ls_ckpt_retention *keep) {
    int best = -1, n_ours = 0;
    while (n_ours < list->n && step_of(list->names[n_ours]) <= step) n_ours++;
    if (keep->best) LS_TRY(find_best(root, list, step, &best));
    const int64_t last = keep->last > 1 ? keep->last : 1;
    for (int i = 0; i < n_ours - last; i++) {
        const int stays =
            i == best || (keep->every > 0 && step_of(list->names[i]) % keep->every == 0);
        char path[LS_CKPT_PATH];
        if (stays) continue;
        LS_TRY(ls_ckpt_path(root, list->names[i], path));
        LS_TRY(ls_dir_remove(path));
    }
    return LS_OK;
}

ls_status ls_ckpt_retain(const char *root, int64_t step, const ls_ckpt_retention *retention) {
    step_list list;
    LS_TRY(list_steps(root, &list));
    const ls_status status = remove_old(root, &list, step, retention);
    free_steps(&list);
    return status;
}

/* The newest that opens, other than `except`; "" when there is none. */
static ls_status find_newest(const char *root, const char *except, char name_out[256]) {
    step_list list;
    name_out[0] = '\0';
    LS_TRY(list_steps(root, &list));
    ls_status status = LS_OK;
    for (int i = list.n - 1; status == LS_OK && i >= 0; i--) {
        int opens;
        double score;
        if (except && strcmp(list.names[i], except) == 0) continue;
        status = try_open(root, list.names[i], &opens, &score);
        if (status != LS_OK || !opens) continue;
        (void)snprintf(name_out, 256, "%s", list.names[i]);
        break;
    }
    free_steps(&list);
    return status;
}

ls_status ls_ckpt_hint_older(ls_status status, const char *dir) {
    char kept[2048], root[LS_CKPT_PATH], newest[256] = "";
    const char *name;
    if (status != LS_ERR_FORMAT && status != LS_ERR_NOT_FOUND) return status;
    (void)snprintf(kept, sizeof kept, "%s", ls_error_message());
    if (ls_ckpt_split(dir, root, &name) == LS_OK && ls_path_is_dir(root))
        (void)!find_newest(root, name, newest);
    if (newest[0]) return LS_FAIL(status, "%s; %s/%s opens", kept, root, newest);
    return LS_FAIL(status, "%s", kept);
}

ls_status ls_ckpt_find_base(const char *dir, char name_out[256]) {
    char root[LS_CKPT_PATH], path[LS_CKPT_PATH];
    const char *name;
    name_out[0] = '\0';
    LS_TRY(ls_ckpt_split(dir, root, &name));
    if (!ls_path_is_dir(root)) return LS_OK;
    LS_TRY(ls_ckpt_path(dir, LS_CKPT_MANIFEST, path));
    if (ls_path_exists(path) && strlen(name) < 256) {
        (void)snprintf(name_out, 256, "%s", name);
        return LS_OK;
    }
    return find_newest(root, NULL, name_out);
}

ls_status ls_ckpt_set_latest(const char *root, const char *name) {
    char path[LS_CKPT_PATH];
    LS_TRY(ls_ckpt_path(root, "latest", path));
    return ls_file_write_atomic(path, name, strlen(name));
}

/* Made by this program: letters, digits, punctuation. Nothing else is to reach a terminal in a message either. */
static int is_plain(const char *name) {
    while (*name > ' ' && *name < 0x7f) name++;
    return !*name;
}

/* The folder that `root`/latest names: there, with a whole manifest and files of the right sizes. */
static ls_status follow_latest(const char *root, const char *path, char **path_out) {
    char *name = NULL, *dir = NULL;
    size_t bytes;
    ls_ckpt *ckpt = NULL;
    LS_TRY(ls_file_read(path, &name, &bytes));
    ls_status status = LS_OK;
    if (!is_plain(name) || strlen(name) != bytes)
        status = LS_FAIL(LS_ERR_FORMAT,
                         "'%s' should name a folder beside it, found %zu bytes that are no name",
                         path, bytes);
    else if (!*name || *name == '.' || strchr(name, '/'))
        status = LS_FAIL(LS_ERR_FORMAT, "'%s' should name a folder beside it, found '%.100s'", path,
                         name);
    if (status == LS_OK && !(dir = ls_format("%s/%s", root, name))) status = LS_ERR_NO_MEMORY;
    ls_free(name);
    if (status == LS_OK) {
        status = ls_ckpt_open(dir, &ckpt);
        ls_ckpt_close(ckpt);
        if (status != LS_OK) ls_error_prefix(status, "'%s' names it, but", path);
    }
    if (status == LS_OK)
        *path_out = dir;
    else
        ls_free(dir);
    return status;
}

static ls_status fail_nothing_there(const char *root) {
    if (ls_path_is_dir(root))
        return LS_FAIL(LS_ERR_NOT_FOUND,
                       "'%s' holds no checkpoint: neither %s nor 'latest' is there", root,
                       LS_CKPT_MANIFEST);
    return LS_FAIL(LS_ERR_NOT_FOUND,
                   "'%s' holds no checkpoint: %s; name the folder of a run (its `out`) or of a "
                   "checkpoint",
                   root, ls_path_exists(root) ? "it is a file" : "there is no such folder");
}

ls_status ls_ckpt_find_latest(const char *root, char **path_out) {
    char path[LS_CKPT_PATH];
    LS_TRY(ls_ckpt_path(root, LS_CKPT_MANIFEST, path));
    if (ls_path_exists(path)) {
        *path_out = ls_strdup(root);
        return *path_out ? LS_OK : LS_ERR_NO_MEMORY;
    }
    LS_TRY(ls_ckpt_path(root, "latest", path));
    if (ls_path_exists(path)) return follow_latest(root, path, path_out);
    return fail_nothing_there(root);
}

ls_status ls_ckpt_find_newest(const char *root, char **path_out) {
    char newest[256] = "";
    LS_TRY(find_newest(root, NULL, newest));
    if (!newest[0]) return LS_FAIL(LS_ERR_NOT_FOUND, "'%s' holds no checkpoint that opens", root);
    *path_out = ls_format("%s/%s", root, newest);
    return *path_out ? LS_OK : LS_ERR_NO_MEMORY;
}
