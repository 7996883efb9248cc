/* The file that says which hosts there are. */
#include "cli/cmd_run_hosts.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct host_list {
    ls_host_line *lines;
    int64_t n, capacity;
    const char *what;
    int line; /* that is being read, from 1 */
} host_list;

static ls_status parse_slots(const host_list *list, const char *word, int *out) {
    char *end;
    if (strncmp(word, "slots=", 6) != 0)
        return LS_FAIL(LS_ERR_FORMAT,
                       "%s:%d: '%s' is not known; a line is HOST [slots=N], # begins a comment",
                       list->what, list->line, word);
    const long n = strtol(word + 6, &end, 10);
    if (end == word + 6 || *end || n < 1 || n > LS_HOST_SLOTS)
        return LS_FAIL(LS_ERR_FORMAT, "%s:%d: %s: the ranks that the host takes at most, 1 to %d",
                       list->what, list->line, word, LS_HOST_SLOTS);
    *out = (int)n;
    return LS_OK;
}

/* A name goes into command lines: letters, digits, dots, dashes and underscores, and no dash in front. */
static ls_status check_name(const host_list *list, const char *word) {
    size_t n = 0;
    while (isalnum((unsigned char)word[n]) || (word[n] && strchr("._-", word[n]))) n++;
    if (word[n] || word[0] == '-' || n >= LS_HOST_NAME)
        return LS_FAIL(
            LS_ERR_FORMAT,
            "%s:%d: '%.80s' is no name of a host; letters, digits, '.', '-' and '_' (ports "
            "and users belong into the agent's own configuration, slots into slots=N)",
            list->what, list->line, word);
    for (int64_t i = 0; i < list->n; i++)
        if (strcmp(list->lines[i].name, word) == 0)
            return LS_FAIL(LS_ERR_FORMAT, "%s:%d: host '%s' stands there twice; give it more slots",
                           list->what, list->line, word);
    return LS_OK;
}

static ls_status parse_line(host_list *list, char *line) {
    char *rest = line, *word = strtok_r(line, " \t\r", &rest);
    if (!word) return LS_OK;
    LS_TRY(check_name(list, word));
    if (list->n == LS_HOSTS_MOST)
        return LS_FAIL(LS_ERR_FORMAT, "%s:%d: more than %d hosts", list->what, list->line,
                       LS_HOSTS_MOST);
    LS_TRY(
        ls_array_reserve((void **)&list->lines, &list->capacity, list->n + 1, sizeof *list->lines));
    ls_host_line *host = &list->lines[list->n];
    *host = (ls_host_line){.slots = 1};
    (void)snprintf(host->name, sizeof host->name, "%s", word);
    while ((word = strtok_r(NULL, " \t\r", &rest)) != NULL)
        LS_TRY(parse_slots(list, word, &host->slots));
    list->n++;
    return LS_OK;
}

ls_status ls_hosts_parse(const char *text, const char *what, ls_host_line **out, int *n_out) {
    host_list list = {.what = what};
    char *copy = ls_strdup(text), *rest = copy, *line;
    if (!copy) return LS_ERR_NO_MEMORY;
    ls_status status = LS_OK;
    while (status == LS_OK && (line = strsep(&rest, "\n")) != NULL) {
        list.line++;
        line[strcspn(line, "#")] = '\0';
        status = parse_line(&list, line);
    }
    ls_free(copy);
    if (status != LS_OK) {
        ls_free(list.lines);
        return status;
    }
    *out = list.lines;
    *n_out = (int)list.n;
    return LS_OK;
}
