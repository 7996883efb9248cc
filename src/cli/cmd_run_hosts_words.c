/* Command lines: of both MPIs' mpirun, and of the agent. */
#include "base/config.h"
#include "cli/cmd_run_hosts.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- lists of words --- */

static void take_word(ls_words *list, char *word) {
    if (list->status == LS_OK && !word) list->status = LS_ERR_NO_MEMORY;
    if (list->status == LS_OK)
        list->status = ls_array_reserve((void **)&list->words, &list->capacity, list->n + 2,
                                        sizeof *list->words);
    if (list->status != LS_OK) {
        ls_free(word);
        return;
    }
    list->words[list->n++] = word;
    list->words[list->n] = NULL;
}

void ls_words_add(ls_words *list, const char *fmt, ...) {
    char one[512];
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(one, sizeof one, fmt, args);
    va_end(args);
    if (n >= 0 && n < (int)sizeof one) {
        take_word(list, ls_strdup(one));
        return;
    }
    char *more = ls_alloc((size_t)n + 1);
    va_start(args, fmt);
    if (more) (void)vsnprintf(more, (size_t)n + 1, fmt, args);
    va_end(args);
    take_word(list, more);
}

void ls_words_split(ls_words *list, const char *text) {
    for (text += strspn(text, " \t"); *text; text += strspn(text, " \t")) {
        const size_t n = strcspn(text, " \t");
        ls_words_add(list, "%.*s", (int)n, text);
        text += n;
    }
}

void ls_words_deinit(ls_words *list) {
    for (int64_t i = 0; i < list->n; i++) ls_free(list->words[i]);
    ls_free(list->words);
    *list = (ls_words){0};
}

static void add_pair(ls_words *list, const char *name, const char *value) {
    ls_words_add(list, "%s", name);
    ls_words_add(list, "%s", value);
}

/* --- mpirun --- */

static void add_hosts(const ls_launch *launch, const char *option, ls_words *out) {
    ls_text text = {0};
    for (int i = 0; i < launch->world.n_hosts; i++)
        ls_text_append(&text, "%s%s:%d", i ? "," : "", launch->hosts[i], launch->world.each);
    ls_words_add(out, "-n");
    ls_words_add(out, "%d", launch->world.ranks);
    if (text.status != LS_OK)
        out->status = text.status;
    else
        add_pair(out, option, text.data);
    ls_text_deinit(&text);
}

/* Keepalive: mpirun gives up a host that has vanished after seconds, not minutes. No tree: this host alone must reach the others. */
static void add_openmpi(const ls_launch *launch, ls_words *out) {
    static const char *const settings[][2] = {
        {"plm_rsh_no_tree_spawn", "1"},
        {"oob_tcp_keepalive_time", "2"},
        {"oob_tcp_keepalive_intvl", "1"},
        {"oob_tcp_keepalive_probes", "3"},
    };
    add_hosts(launch, "--host", out);
    add_pair(out, "--bind-to", "none");
    if (launch->as_root) ls_words_add(out, "--allow-run-as-root");
    if (launch->agent) {
        ls_words_add(out, "--mca");
        add_pair(out, "plm_rsh_agent", launch->agent);
    }
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        ls_words_add(out, "--mca");
        add_pair(out, settings[i][0], settings[i][1]);
    }
    for (const char *const *name = launch->variables; *name; name++) add_pair(out, "-x", *name);
}

/* Its environment goes to the ranks as it is. Without -disable-auto-cleanup the ranks of a host die before they have said why. */
static void add_mpich(const ls_launch *launch, ls_words *out) {
    const char *agent = launch->agent ? launch->agent : "ssh", *base = strrchr(agent, '/');
    add_hosts(launch, "-hosts", out);
    add_pair(out, "-launcher", strcmp(base ? base + 1 : agent, "ssh") == 0 ? "ssh" : "rsh");
    if (launch->agent) add_pair(out, "-launcher-exec", launch->agent);
    ls_words_add(out, "-disable-auto-cleanup");
}

ls_status ls_launch_words(const ls_launch *launch, ls_words *out) {
    ls_words list = {0};
    ls_words_add(&list, "%s", launch->mpirun);
    if (launch->kind == LS_LAUNCHER_OPENMPI)
        add_openmpi(launch, &list);
    else
        add_mpich(launch, &list);
    if (launch->extra) ls_words_split(&list, launch->extra);
    ls_words_add(&list, "%s", launch->program);
    for (int i = 0; i < launch->n_words; i++) ls_words_add(&list, "%s", launch->words[i]);
    if (list.status != LS_OK) {
        const ls_status status = list.status;
        ls_words_deinit(&list);
        return status;
    }
    *out = list;
    return LS_OK;
}

/* --- the agent --- */

void ls_words_quote(ls_text *text, const char *word) {
    if (*word && strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                              "_-+=./:,@%") == strlen(word)) {
        ls_text_append(text, "%s", word);
        return;
    }
    ls_text_append(text, "'");
    for (; *word; word++)
        if (*word == '\'')
            ls_text_append(text, "'\\''");
        else
            ls_text_append(text, "%c", *word);
    ls_text_append(text, "'");
}

ls_status ls_agent_words(const char *agent, const char *host, const char *const *command, int n,
                         ls_words *out) {
    ls_words list = {0};
    ls_text text = {0};
    for (int i = 0; i < n; i++) {
        if (i) ls_text_append(&text, " ");
        ls_words_quote(&text, command[i]);
    }
    ls_words_split(&list, agent ? agent : "ssh");
    ls_words_add(&list, "%s", host);
    if (text.status == LS_OK) ls_words_add(&list, "%s", text.data);
    const ls_status status = text.status != LS_OK ? text.status : list.status;
    ls_text_deinit(&text);
    if (status != LS_OK) {
        ls_words_deinit(&list);
        return status;
    }
    *out = list;
    return LS_OK;
}

int ls_host_is_here(const char *host) {
    char name[LS_HOST_NAME] = "";
    (void)gethostname(name, sizeof name - 1);
    return strcmp(host, name) == 0 || strcmp(host, "localhost") == 0;
}

/* --- which mpirun --- */

/* The first folder of PATH with that program; NULL = none (or no memory). */
static char *find_program(const char *name) {
    const char *path = ls_config_env("PATH");
    for (path = path ? path : ""; *path; path += *path == ':') {
        const size_t n = strcspn(path, ":");
        char *found = ls_format("%.*s/%s", (int)n, path, name);
        if (!found || access(found, X_OK) == 0) return found;
        ls_free(found);
        path += n;
    }
    return NULL;
}

ls_status ls_launcher_find(const char *asked, ls_launcher_kind *kind_out, char **path_out) {
    static const struct {
        const char *mpi, *program;
        ls_launcher_kind kind;
    } known[] = {
        {"openmpi", "mpirun.openmpi", LS_LAUNCHER_OPENMPI},
        {"openmpi", "orterun", LS_LAUNCHER_OPENMPI},
        {"mpich", "mpirun.mpich", LS_LAUNCHER_MPICH},
        {"mpich", "mpiexec.hydra", LS_LAUNCHER_MPICH},
    };
    int is_known = !asked;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (asked && strcmp(asked, known[i].mpi) != 0) continue;
        is_known = 1;
        char *path = find_program(known[i].program);
        if (!path) continue;
        *kind_out = known[i].kind;
        *path_out = path;
        return LS_OK;
    }
    if (!is_known)
        return LS_FAIL(LS_ERR_INVALID, "run: --launcher '%s' is not known; openmpi and mpich are",
                       asked);
    return LS_FAIL(
        LS_ERR_UNSUPPORTED,
        "run: --hosts needs mpirun%s%s on PATH (%s); install the MPI on every host, or use "
        "`lockstep run -n R` on one",
        asked ? " of " : "", asked ? asked : "",
        asked && strcmp(asked, "mpich") == 0 ? "mpirun.mpich or mpiexec.hydra"
        : asked                              ? "mpirun.openmpi or orterun"
                : "mpirun.openmpi, orterun, mpirun.mpich or mpiexec.hydra");
}
