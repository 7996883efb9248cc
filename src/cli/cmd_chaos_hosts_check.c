/* Before a campaign over hosts: what it will do to links must be possible on each of them. */
#include "base/fs.h"
#include "cli/cmd_chaos_hosts.h"
#include "cli/cmd_chaos_hosts_strike.h"

/* `host` NULL: here. `what` names the kind. */
static ls_status check_command(const ls_chaos_link *link, const char *name, const char *host,
                               const char *text, const char *what) {
    ls_chaos_command command = {0};
    LS_TRY(ls_chaos_command_start(&command, link->agent, host, text));
    const int status = ls_chaos_command_await(&command);
    if (status == 0) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID,
                   "chaos: %s: `%s` ends with status %d; --device names the network's device, "
                   "--link-down and --link-up other commands, --kinds leaves %s out",
                   name, text, status, what);
}

static ls_status check_drop(const ls_chaos_link *link, const char *host) {
    char *text = NULL;
    LS_TRY(ls_chaos_link_check_drop_text(link, host, &text));
    const ls_status status = check_command(link, host, link->up ? NULL : host, text, "link");
    ls_free(text);
    return status;
}

static ls_status check_slow(const ls_chaos_link *link, const char *host) {
    char *text = NULL;
    LS_TRY(ls_chaos_link_check_slow_text(link, &text));
    const ls_status status = check_command(link, host, host, text, "slow");
    ls_free(text);
    return status;
}

static ls_status check_host(const ls_chaos_hosts_options *o, const char *host, uint32_t *kinds) {
    const uint32_t slow = 1u << LS_HOST_STRIKE_SLOW;
    if (*kinds >> LS_HOST_STRIKE_LINK & 1) LS_TRY(check_drop(o->link, host));
    const ls_status status = *kinds & slow ? check_slow(o->link, host) : LS_OK;
    if (status == LS_OK || o->kinds) return status;
    *kinds &= ~slow;
    (void)fprintf(stderr, "lockstep: no slow links: %s\n", ls_error_message());
    ls_error_clear();
    return LS_OK;
}

static ls_status check_hosts(const ls_chaos_hosts_options *o, const ls_host_line *lines, int n,
                             uint32_t *kinds) {
    int n_far = 0;
    for (int i = 0; i < n; i++) {
        if (ls_host_is_here(lines[i].name)) continue;
        n_far++;
        LS_TRY(check_host(o, lines[i].name, kinds));
    }
    if (n_far > 0) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID,
                   "chaos: %s names no host but this one, whose link must stay: add hosts, or use "
                   "`lockstep chaos --recover`",
                   o->hosts->file);
}

ls_status ls_chaos_hosts_check(const ls_chaos_hosts_options *options, uint32_t *kinds) {
    const char *path = options->hosts->file;
    char *text = NULL;
    size_t bytes = 0;
    ls_host_line *lines = NULL;
    int n = 0;
    LS_TRY(ls_file_read(path, &text, &bytes));
    ls_status status = ls_hosts_parse(text, path, &lines, &n);
    if (status == LS_OK) status = check_hosts(options, lines, n, kinds);
    ls_free(lines);
    ls_free(text);
    return status;
}
