/* The controller's lines. */
#include "cli/keep_pipe.h"
#include "base/alloc.h"
#include <stdlib.h>
#include <string.h>

/* The next word as a number within the range. */
static ls_status take_number(const char *what, char **rest, int64_t most, int64_t *out) {
    char *end = NULL;
    const char *word = strtok_r(NULL, " ", rest);
    const long long n = word ? strtoll(word, &end, 10) : -1;
    if (!word || end == word || *end || n < 0 || n > most)
        return LS_FAIL(LS_ERR_INVALID, "%s: '%s' is no number from 0 to %lld", what,
                       word ? word : "", (long long)most);
    *out = n;
    return LS_OK;
}

static ls_status set_peers(ls_keeper *keeper, char **rest, json_t **answer) {
    int64_t mine, copies;
    LS_TRY(take_number("peers", rest, 1 << 20, &mine));
    LS_TRY(take_number("peers", rest, 2, &copies));
    LS_TRY(ls_keeper_set_peers(keeper, *rest ? *rest : "", (int)mine, (int)copies));
    *answer = json_pack("{s:b}", "done", 1);
    return LS_OK;
}

static ls_status begin_job(ls_keeper *keeper, char **rest, json_t **answer) {
    int64_t number, ranks;
    LS_TRY(take_number("job", rest, INT64_MAX, &number));
    LS_TRY(take_number("job", rest, 1 << 24, &ranks));
    LS_TRY(ls_keeper_begin_job(keeper, number, (int)ranks));
    *answer = json_pack("{s:b}", "done", 1);
    return LS_OK;
}

static ls_status signal_ranks(char **rest, json_t **answer) {
    int64_t number;
    const char *id = strtok_r(NULL, " ", rest);
    ls_rank_processes found;
    LS_TRY(take_number("signal", rest, 64, &number));
    LS_TRY(ls_rank_processes_signal(id ? id : "", (int)number, &found));
    *answer = json_pack("{s:i,s:i}", "ranks", found.n_ranks, "sent", found.n_sent);
    return LS_OK;
}

static ls_status obey(ls_keeper *keeper, char *line, json_t **answer) {
    char *rest = line;
    const char *verb = strtok_r(line, " ", &rest);
    if (verb && strcmp(verb, "peers") == 0) return set_peers(keeper, &rest, answer);
    if (verb && strcmp(verb, "job") == 0) return begin_job(keeper, &rest, answer);
    if (verb && strcmp(verb, "signal") == 0) return signal_ranks(&rest, answer);
    if (verb && strcmp(verb, "ping") == 0) {
        *answer = json_pack("{s:b}", "done", 1);
        return LS_OK;
    }
    return LS_FAIL(LS_ERR_INVALID, "a keeper knows peers, job, signal and ping, not '%s'",
                   verb ? verb : "");
}

ls_status ls_keep_pipe_obey(ls_keeper *keeper, char *line, FILE *out) {
    json_t *answer = NULL;
    char *text = NULL;
    line[strcspn(line, "\r\n")] = '\0';
    if (obey(keeper, line, &answer) != LS_OK)
        answer = json_pack("{s:s}", "error", ls_error_message());
    if (!answer) return LS_FAIL(LS_ERR_NO_MEMORY, "out of memory while answering");
    const ls_status status = ls_json_dump(answer, JSON_COMPACT, &text, NULL);
    json_decref(answer);
    LS_TRY(status);
    const int failed = fprintf(out, "%s\n", text) < 0 || fflush(out) != 0;
    ls_free(text);
    return failed ? LS_FAIL(LS_ERR_IO, "the controller does not listen any more") : LS_OK;
}
