/* Folders of checkpoints: paths, taking a name's place in one step, what killed saves left. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ckpt/ckpt.h"

ls_status ls_ckpt_path(const char *dir, const char *name, char out[LS_CKPT_PATH]) {
    if (snprintf(out, LS_CKPT_PATH, "%s/%s", dir, name) < LS_CKPT_PATH) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "the path '%s/%s' is too long", dir, name);
}

ls_status ls_ckpt_split(const char *dir, char root[LS_CKPT_PATH], const char **name_out) {
    if (snprintf(root, LS_CKPT_PATH, "%s", dir) >= LS_CKPT_PATH - 64)
        return LS_FAIL(LS_ERR_INVALID, "checkpoint '%s': the path is too long", dir);
    const char *slash = strrchr(dir, '/');
    if (!*dir || (slash && !slash[1]))
        return LS_FAIL(LS_ERR_INVALID, "checkpoint '%s': give the name of a folder", dir);
    *name_out = slash ? slash + 1 : dir;
    if (!slash)
        (void)snprintf(root, LS_CKPT_PATH, ".");
    else
        root[slash == dir ? 1 : slash - dir] = '\0';
    return LS_OK;
}

int ls_ckpt_is_step_name(const char *name) {
    return strncmp(name, "step-", 5) == 0 && name[5] &&
           strspn(name + 5, "0123456789") == strlen(name + 5);
}

void ls_ckpt_discard(const char *dir) {
    char kept[2048];
    snprintf(kept, sizeof kept, "%s", ls_error_message());
    if (ls_path_exists(dir) && ls_dir_remove(dir) != LS_OK) ls_error_clear();
    LS_FAIL(LS_ERR_IO, "%s", kept);
}

/* rename(2) replaces no full folder: old and new are swapped in one step. Where the file system cannot, the old one steps
 * aside first and goes once the new one stands. */
ls_status ls_ckpt_swap_in(const char *temporary, const char *dir) {
    char aside[LS_CKPT_PATH];
    if (!ls_path_exists(dir)) return ls_path_rename(temporary, dir);
    const ls_status swapped = ls_path_exchange(temporary, dir);
    if (swapped == LS_OK) return ls_dir_remove(temporary);
    if (swapped != LS_ERR_UNSUPPORTED) return swapped;
    if (snprintf(aside, sizeof aside, "%s.old.%ld", dir, (long)getpid()) >= (int)sizeof aside)
        return LS_FAIL(LS_ERR_INVALID, "checkpoint '%s': the path is too long", dir);
    LS_TRY(ls_path_rename(dir, aside));
    const ls_status status = ls_path_rename(temporary, dir);
    if (status != LS_OK) {
        (void)!rename(aside, dir);
        return status;
    }
    return ls_dir_remove(aside);
}

/* Starts like what a run writes in its folder? */
static int is_run_file(const char *name) {
    static const char *const starts[] = {"step-", "latest.", "metrics.jsonl.", "loss.svg."};
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
        if (strncmp(name, starts[i], strlen(starts[i])) == 0) return 1;
    return 0;
}

/* "step-000000012.tmp.345": a name that only a save that was cut short leaves behind. ".old." counts once its successor
 * stands: until then it is the checkpoint. */
static int is_leftover(const char *root, const char *name) {
    const char *mark = strstr(name, ".tmp.");
    const int is_old = mark == NULL;
    if (is_old) mark = strstr(name, ".old.");
    if (!is_run_file(name) || !mark || !mark[5] ||
        strspn(mark + 5, "0123456789") != strlen(mark + 5))
        return 0;
    char path[LS_CKPT_PATH];
    if (!is_old) return 1;
    const int n = snprintf(path, sizeof path, "%s/%.*s", root, (int)(mark - name), name);
    return n < (int)sizeof path && ls_path_exists(path);
}

ls_status ls_ckpt_sweep(const char *root) {
    char **names = NULL, path[LS_CKPT_PATH];
    int n = 0;
    LS_TRY(ls_dir_list(root, &names, &n));
    ls_status status = LS_OK;
    for (int i = 0; i < n; i++) {
        if (status == LS_OK && is_leftover(root, names[i])) {
            status = ls_ckpt_path(root, names[i], path);
            if (status == LS_OK && ls_path_is_dir(path))
                status = ls_dir_remove(path);
            else if (status == LS_OK)
                (void)unlink(path); /* a file that stays does no harm */
        }
        ls_free(names[i]);
    }
    ls_free(names);
    return status;
}
