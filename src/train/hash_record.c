/* Hash records as text, and what can be told from one alone. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "train/step_hash.h"

const char *const ls_hash_names[] = {"begin", "weights", "gifts", "totals", "state", NULL};

/* --- JSON ------------------------------------------------------------------------------------------------------------ */

void ls_hash_print(const ls_hash_record *record, ls_text *out) {
    ls_text_append(out, "\"ranks\":%d,\"hosts\":%d,\"zero\":%d,\"logical\":\"%016" PRIx64 "\"",
                   record->size, record->hosts, record->zero, record->logical);
    for (int k = 0; k < LS_HASH_COUNT; k++) {
        ls_text_append(out, ",\"%s\":[", ls_hash_names[k]);
        for (int r = 0; r < record->size; r++)
            ls_text_append(out, "%s\"%016" PRIx64 "\"", r ? "," : "", record->ranks[r].of[k]);
        ls_text_append(out, "]");
    }
}

static ls_status parse_hex(const json_t *value, const char *what, const char *key, uint64_t *out) {
    const char *text = json_string_value(value);
    if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        return LS_FAIL(LS_ERR_FORMAT, "%s: '%s' must hold hashes of 16 hexadecimal digits", what,
                       key);
    *out = strtoull(text, NULL, 16);
    return LS_OK;
}

static ls_status parse_ranks(const json_t *object, const char *what, ls_hash_record *out) {
    for (int k = 0; k < LS_HASH_COUNT; k++) {
        json_t *list;
        LS_TRY(ls_json_get_array(object, what, ls_hash_names[k], &list));
        if ((int64_t)json_array_size(list) != out->size)
            return LS_FAIL(LS_ERR_FORMAT, "%s: '%s' has %zu hashes, but there were %d ranks", what,
                           ls_hash_names[k], json_array_size(list), out->size);
        for (int r = 0; r < out->size; r++)
            LS_TRY(parse_hex(json_array_get(list, (size_t)r), what, ls_hash_names[k],
                             &out->ranks[r].of[k]));
    }
    return parse_hex(json_object_get(object, "logical"), what, "logical", &out->logical);
}

ls_status ls_hash_parse(const json_t *object, const char *what, ls_hash_record *out) {
    enum { MOST_RANKS = 1 << 20 };
    int64_t size, hosts, zero;
    ls_hash_record record = {0};
    LS_TRY(ls_json_get_int(object, what, "step", &record.step));
    LS_TRY(ls_json_get_int(object, what, "ranks", &size));
    LS_TRY(ls_json_get_int(object, what, "hosts", &hosts));
    LS_TRY(ls_json_get_int(object, what, "zero", &zero));
    if (record.step < 1 || size < 1 || size > MOST_RANKS || hosts < 1 || hosts > size || zero < 0 ||
        zero > 3)
        return LS_FAIL(LS_ERR_FORMAT,
                       "%s: no hash record has step %lld, ranks %lld, hosts %lld, zero %lld", what,
                       (long long)record.step, (long long)size, (long long)hosts, (long long)zero);
    record.size = (int)size;
    record.hosts = (int)hosts;
    record.zero = (int)zero;
    record.ranks = ls_alloc(sizeof *record.ranks * (size_t)size);
    if (!record.ranks) return LS_ERR_NO_MEMORY;
    const ls_status status = parse_ranks(object, what, &record);
    if (status != LS_OK) {
        ls_free(record.ranks);
        return status;
    }
    *out = record;
    return LS_OK;
}

/* --- at once, in the run --------------------------------------------------------------------------------------------- */

/* How many ranks hold what rank r holds alike. */
static int n_alike(const ls_hash_record *record, int r) {
    int n = 0;
    for (int q = 0; q < record->size; q++) n += record->ranks[q].shared == record->ranks[r].shared;
    return n;
}

static void append_rank(ls_text *out, const ls_comm *comm, int r, uint64_t hash) {
    ls_text_append(out, "%srank %d on host %s (%016" PRIx64 ")", out->size ? ", " : "", r,
                   ls_comm_host(comm, r), hash);
}

static ls_status fail_with(const ls_hash_record *record, const ls_text *ranks, int most) {
    const long long step = (long long)record->step;
    if (ranks->status != LS_OK) return ranks->status;
    if (2 * most > record->size)
        return LS_FAIL(LS_ERR_NUMERIC,
                       "step %lld: %s: not the state that the other %d of %d ranks hold; memory or "
                       "arithmetic there is not to be trusted; go on from an earlier checkpoint "
                       "without that machine",
                       step, ranks->data, most, record->size);
    return LS_FAIL(LS_ERR_NUMERIC,
                   "step %lld: ranks that must hold the same state do not, and no state has a "
                   "majority: %s; `lockstep replay OUT --step %lld` computes which is right",
                   step, ranks->data, step);
}

/* What all members hold must be the same: the whole state at zero 0. */
static ls_status check_alike(const ls_hash_record *record, const ls_comm *comm) {
    int best = 0;
    for (int r = 1; r < record->size; r++)
        if (n_alike(record, r) > n_alike(record, best)) best = r;
    const int most = n_alike(record, best);
    if (most == record->size) return LS_OK;
    ls_text ranks = {0};
    for (int r = 0; r < record->size; r++)
        if (2 * most <= record->size || record->ranks[r].shared != record->ranks[best].shared)
            append_rank(&ranks, comm, r, record->ranks[r].shared);
    const ls_status status = fail_with(record, &ranks, most);
    ls_text_deinit(&ranks);
    return status;
}

ls_status ls_hash_check(const ls_hash_record *record, const ls_comm *comm) {
    for (int r = 0; r < record->size; r++) {
        const ls_hash_of_rank *rank = &record->ranks[r];
        if (!rank->has_before || rank->before == rank->of[LS_HASH_BEGIN]) continue;
        return LS_FAIL(LS_ERR_NUMERIC,
                       "step %lld: the memory of rank %d on host %s changed by itself: it ended "
                       "step %lld with state %016" PRIx64 " and began this one with %016" PRIx64
                       "; go on from an earlier checkpoint without that machine",
                       (long long)record->step, r, ls_comm_host(comm, r),
                       (long long)record->step - 1, rank->before, rank->of[LS_HASH_BEGIN]);
    }
    return check_alike(record, comm);
}
