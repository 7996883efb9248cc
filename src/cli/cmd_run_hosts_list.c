/* Whom the file names, and who of them is there. */
#include "cli/cmd_run_hosts_list.h"
#include "base/clock.h"
#include "base/fs.h"
#include "keep/keeper.h"
#include <string.h>

static const double look_seconds = 0.5, ask_seconds = 2.0;

static ls_run_host *find_host(const ls_hosts_list *list, const char *name) {
    for (int i = 0; i < list->n; i++)
        if (strcmp(list->hosts[i]->line.name, name) == 0) return list->hosts[i];
    return NULL;
}

/* --- the file --- */

/* The file's hosts in its order, the old ones as they are; then those that it no longer names. */
static ls_status merge(ls_hosts_list *list, const ls_host_line *lines, int n) {
    int used = 0;
    ls_run_host **hosts = ls_alloc((size_t)(n + list->n + 1) * sizeof(ls_run_host *));
    if (!hosts) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < n; i++) {
        hosts[used] = find_host(list, lines[i].name);
        if (!hosts[used] && ls_run_host_create(&lines[i], &hosts[used]) != LS_OK) goto failed;
        used++;
    }
    for (int i = 0; i < list->n; i++) list->hosts[i]->is_wanted *= -1;
    for (int i = 0; i < n; i++) {
        if (hosts[i]->is_wanted == 0) hosts[i]->since = ls_clock_seconds(); /* it came back */
        hosts[i]->is_wanted = 1;
        hosts[i]->line.slots = lines[i].slots;
        hosts[i]->next_try = 0; /* whoever wrote the file may know that it is there again */
    }
    for (int i = 0; i < list->n; i++)
        if (list->hosts[i]->is_wanted <= 0) {
            list->hosts[i]->is_wanted = 0;
            hosts[used++] = list->hosts[i];
        }
    ls_free(list->hosts);
    list->hosts = hosts;
    list->n = used;
    return LS_OK;
failed:
    for (int i = 0; i < used; i++)
        if (!find_host(list, hosts[i]->line.name)) ls_run_host_destroy(hosts[i]);
    ls_free(hosts);
    return LS_ERR_NO_MEMORY;
}

static ls_status read_file(ls_hosts_list *list) {
    char *text = NULL;
    size_t bytes = 0;
    ls_host_line *lines = NULL;
    int n = 0;
    LS_TRY(ls_file_read(list->path, &text, &bytes));
    ls_status status = strlen(text) == bytes
                           ? ls_hosts_parse(text, list->path, &lines, &n)
                           : LS_FAIL(LS_ERR_FORMAT, "%s: no text: it holds a NUL", list->path);
    if (status == LS_OK) status = merge(list, lines, n);
    ls_free(lines);
    ls_free(text);
    return status;
}

static int has_changed(ls_hosts_list *list) {
    struct stat now;
    if (stat(list->path, &now) != 0) return 0; /* perhaps it is being replaced */
    const int same = now.st_ino == list->stamp.st_ino && now.st_size == list->stamp.st_size &&
                     now.st_mtim.tv_sec == list->stamp.st_mtim.tv_sec &&
                     now.st_mtim.tv_nsec == list->stamp.st_mtim.tv_nsec;
    list->stamp = now;
    return !same;
}

ls_status ls_hosts_list_open(ls_hosts_list *list, const char *path, const ls_run_keepers *keepers) {
    *list = (ls_hosts_list){.path = path, .keepers = *keepers};
    (void)has_changed(list);
    return read_file(list);
}

void ls_hosts_list_close(ls_hosts_list *list) {
    /* All pipes first: the keepers end at the same time. */
    for (int i = 0; i < list->n; i++) ls_run_host_release(list->hosts[i]);
    for (int i = 0; i < list->n; i++) ls_run_host_destroy(list->hosts[i]);
    ls_free(list->hosts);
    list->hosts = NULL;
    list->n = 0;
}

/* --- looking after them --- */

static void tell_reason(ls_run_host *host, int was_up) {
    if (strcmp(host->reason, host->said) == 0) return;
    (void)fprintf(stderr, "lockstep: %s %s (%s)\n", host->line.name,
                  was_up ? "is lost" : "cannot be used", host->reason);
    (void)snprintf(host->said, sizeof host->said, "%s", host->reason);
}

static void tend_host(ls_hosts_list *list, ls_run_host *host) {
    const ls_host_state before = host->state;
    ls_run_host_check(host, &list->keepers);
    if (host->state == LS_HOST_DOWN && host->is_wanted && ls_clock_seconds() >= host->next_try &&
        before == LS_HOST_DOWN)
        ls_run_host_start(host, &list->keepers);
    if ((before == LS_HOST_UP) != (host->state == LS_HOST_UP)) list->n_changes++;
    if (before != LS_HOST_DOWN && host->state == LS_HOST_DOWN && !host->is_member)
        tell_reason(host, before == LS_HOST_UP);
}

void ls_hosts_list_tend(ls_hosts_list *list) {
    const double now = ls_clock_seconds();
    if (now >= list->next_look) {
        list->next_look = now + look_seconds;
        if (has_changed(list) && read_file(list) != LS_OK)
            (void)fprintf(stderr, "lockstep: warning: %s; the hosts stay as they are\n",
                          ls_error_message());
    }
    for (int i = 0; i < list->n; i++) tend_host(list, list->hosts[i]);
}

void ls_hosts_list_drop(ls_hosts_list *list) {
    int kept = 0;
    for (int i = 0; i < list->n; i++) {
        if (list->hosts[i]->is_wanted) {
            list->hosts[kept++] = list->hosts[i];
            continue;
        }
        if (list->hosts[i]->state == LS_HOST_UP) list->n_changes++;
        ls_run_host_destroy(list->hosts[i]);
    }
    list->n = kept;
}

/* --- looking at them --- */

int ls_hosts_list_up(const ls_hosts_list *list, int wanted, ls_run_host **out) {
    int n = 0;
    for (int i = 0; i < list->n; i++)
        if (list->hosts[i]->state == LS_HOST_UP && (list->hosts[i]->is_wanted || !wanted))
            out[n++] = list->hosts[i];
    return n;
}

int ls_hosts_list_is_settling(const ls_hosts_list *list, double seconds) {
    for (int i = 0; i < list->n; i++) {
        const ls_run_host *host = list->hosts[i];
        if (!host->is_wanted || host->state == LS_HOST_UP) continue;
        if (host->n_tries == 0) return 1; /* its first try is due */
        if (host->state == LS_HOST_STARTING && host->n_tries == 1 &&
            ls_clock_seconds() - host->since < seconds)
            return 1;
    }
    return 0;
}

ls_status ls_hosts_list_addresses(const ls_hosts_list *list, char **out) {
    ls_text text = {0};
    for (int i = 0; i < list->n; i++)
        if (list->hosts[i]->state == LS_HOST_UP)
            ls_text_append(&text, "%s%s", text.size ? " " : "", list->hosts[i]->address);
    if (!text.size) ls_text_append(&text, "%s", "");
    if (text.status != LS_OK) {
        ls_text_deinit(&text);
        return LS_ERR_NO_MEMORY;
    }
    *out = text.data;
    return LS_OK;
}

ls_status ls_hosts_list_best_step(const ls_hosts_list *list, const ls_run_host *without,
                                  int64_t *out) {
    const char *cookie = strchr(list->keepers.offer, ' ');
    json_t **inventories = ls_alloc((size_t)(list->n + 1) * sizeof *inventories);
    int n = 0;
    if (!inventories) return LS_ERR_NO_MEMORY;
    /* Who does not answer has nothing; that it is lost will show. */
    for (int i = 0; i < list->n; i++)
        if (list->hosts[i]->state == LS_HOST_UP && list->hosts[i] != without &&
            ls_keeper_ask(list->hosts[i]->address, cookie ? cookie + 1 : "", ask_seconds,
                          &inventories[n]) == LS_OK)
            n++;
    int64_t step = -1;
    const ls_status status = ls_keeper_best_step(inventories, n, &step);
    for (int i = 0; i < n; i++) json_decref(inventories[i]);
    ls_free(inventories);
    LS_TRY(status);
    *out = step;
    return LS_OK;
}
