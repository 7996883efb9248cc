#include "train/saving.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"

enum { PATH_BYTES = 1024 };

static int saves_behind(const ls_train_config *c) {
    return c->save_every > 0 && c->save_mode == LS_SAVE_BACKGROUND;
}

int64_t ls_saving_bytes(const ls_train_config *config, const ls_plan *plan, int rank) {
    return saves_behind(config) ? ls_ckpt_snapshot_bytes(plan, rank) : 0;
}

ls_status ls_saving_init(ls_saving *saving, ls_session *session, const struct ls_config *values) {
    *saving = (ls_saving){.session = session, .values = values, .under_way = -1};
    ls_status status = ls_bound_init(&saving->bound, session);
    if (status == LS_OK && saves_behind(&session->config)) {
        status = ls_ckpt_saver_create(session->train, &saving->saver);
        if (status == LS_OK)
            ls_device_count(session->device, ls_saving_bytes(&session->config, session->train_plan,
                                                             ls_comm_rank(session->comm)));
    }
    return ls_comm_agree(session->comm, "make room for a checkpoint's copy", status);
}

void ls_saving_deinit(ls_saving *saving) {
    if (saving->saver)
        ls_device_count(saving->session->device,
                        -ls_saving_bytes(&saving->session->config, saving->session->train_plan,
                                         ls_comm_rank(saving->session->comm)));
    ls_ckpt_saver_destroy(saving->saver);
    saving->saver = NULL;
}

/* --- going on --- */

/* What is part of the result: changed between two runs, the bits are another run's. */
static void tell_changes(const ls_ckpt *ckpt, const ls_session *s, const ls_train_state *state) {
    const ls_train_config *c = &s->config;
    const struct {
        const char *key;
        int64_t now;
    } keys[] = {{"lanes", c->lanes}, {"batch", c->batch}, {"seed", c->seed}};
    if (state->data && state->data != ls_source_hash(s->source))
        ls_log(
            LS_LOG_WARN,
            "the training data is not that of the run that wrote '%s': the run goes on, on other "
            "data",
            ls_ckpt_dir(ckpt));
    json_t *stored = NULL;
    const char *text = ls_ckpt_config(ckpt);
    if (ls_json_parse(text, strlen(text), "the checkpoint's configuration", &stored) != LS_OK) {
        ls_error_clear();
        return;
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *value = json_object_get(stored, keys[i].key);
        if (json_is_integer(value) && json_integer_value(value) != keys[i].now)
            ls_log(
                LS_LOG_WARN,
                "%s was %lld in the run that wrote '%s' and is %lld now: the run goes on, but its "
                "bits are not those of the run with %s = %lld",
                keys[i].key, (long long)json_integer_value(value), ls_ckpt_dir(ckpt),
                (long long)keys[i].now, keys[i].key, (long long)json_integer_value(value));
    }
    json_decref(stored);
}

/* `state` is as before when it fails; the program then holds some of both. */
static ls_status load_checkpoint(ls_session *s, const char *dir, ls_train_state *state) {
    static const char what[] = "the checkpoint's trainer state";
    ls_ckpt *ckpt = NULL;
    ls_train_state loaded = *state;
    LS_TRY(ls_ckpt_open(dir, &ckpt));
    ls_status status = ls_ckpt_load(ckpt, s->train, 0);
    if (status == LS_OK) status = ls_train_state_parse(ls_ckpt_trainer(ckpt), what, &loaded);
    loaded.step = ls_ckpt_step(ckpt);
    if (status == LS_OK) *state = loaded;
    if (status == LS_OK && ls_comm_rank(s->comm) == 0) tell_changes(ckpt, s, state);
    ls_ckpt_close(ckpt);
    return status;
}

/* Step of a checkpoint that opens and that this run wrote, -1 of any other: a folder may hold what another run left. */
static int64_t own_step(const char *dir, const char *run) {
    ls_ckpt *ckpt = NULL;
    ls_train_state state = {0};
    int64_t step = -1;
    if (ls_ckpt_open(dir, &ckpt) == LS_OK &&
        ls_train_state_parse(ls_ckpt_trainer(ckpt), "trainer state", &state) == LS_OK &&
        strcmp(state.run, run) == 0)
        step = ls_ckpt_step(ckpt);
    ls_ckpt_close(ckpt);
    ls_error_clear();
    return step;
}

/* Path of the newest checkpoint before step `below` that an earlier attempt of this run left in `out`; "" when there is none. */
static void look_for_own(const char *out, const char *run, int64_t below,
                         char path_out[PATH_BYTES]) {
    char **names = NULL, path[PATH_BYTES];
    int n = 0;
    int64_t newest = -1;
    if (ls_dir_list(out, &names, &n) != LS_OK) ls_error_clear();
    for (int i = 0; i < n; i++) {
        const int fits = snprintf(path, sizeof path, "%s/%s", out, names[i]) < PATH_BYTES;
        const int64_t step = fits && strncmp(names[i], "step-", 5) == 0 ? own_step(path, run) : -1;
        ls_free(names[i]);
        if (step <= newest || step >= below) continue;
        newest = step;
        memcpy(path_out, path, sizeof path);
    }
    ls_free(names);
}

/* The first rank looks for all. */
static ls_status find_own_checkpoint(ls_session *s, const char *run, int64_t below,
                                     char path_out[PATH_BYTES]) {
    char mine[PATH_BYTES] = "";
    if (ls_comm_rank(s->comm) == 0 && *run) look_for_own(s->config.out, run, below, mine);
    char *all = ls_alloc(sizeof mine * (size_t)ls_comm_size(s->comm));
    if (!all) return LS_ERR_NO_MEMORY;
    const ls_status status =
        ls_comm_exchange(s->comm, "where to go on from", mine, sizeof mine, all);
    if (status == LS_OK) memcpy(path_out, all, sizeof mine);
    ls_free(all);
    return status;
}

/* What the disk damaged costs the steps since the checkpoint before it, not the run. *found_out 0: there is none that is whole. */
static ls_status restore_own_checkpoint(ls_session *s, const char *run, ls_train_state *state,
                                        int *found_out) {
    for (int64_t below = INT64_MAX;;) {
        char path[PATH_BYTES] = "";
        LS_TRY(find_own_checkpoint(s, run, below, path));
        *found_out = *path != '\0';
        if (!*path) return LS_OK;
        const ls_status status =
            ls_comm_agree(s->comm, "load the checkpoint", load_checkpoint(s, path, state));
        if (status != LS_ERR_FORMAT) return status;
        if (ls_comm_rank(s->comm) == 0)
            ls_log(LS_LOG_WARN, "going on from an older checkpoint: %s", ls_error_message());
        ls_error_clear();
        below = strtoll(strrchr(path, '-') + 1, NULL, 10);
    }
}

static ls_status restore_memory(ls_session *s, ls_train_state *state, int *found_out) {
    char blob[LS_KEEP_BLOB] = "";
    int64_t step = -1;
    int current = 0;
    LS_TRY(ls_keep_restore(s->keep, &step, &current, blob));
    *found_out = step >= 0;
    if (step < 0) return LS_OK;
    ls_program_set_current(s->train, current);
    blob[LS_KEEP_BLOB - 1] = '\0';
    LS_TRY(ls_train_state_parse(blob, "the state kept in memory", state));
    state->step = step;
    return LS_OK;
}

ls_status ls_saving_restore(ls_saving *saving, const char *resume, ls_train_state *state,
                            ls_origin *origin_out) {
    ls_session *s = saving->session;
    const char *attempt = ls_config_env("LOCKSTEP_ATTEMPT"), *run = ls_config_env("LOCKSTEP_RUN");
    const int again = attempt && strtol(attempt, NULL, 10) > 0;
    int in_memory = 0, on_disk = 0;
    if (s->keep) LS_TRY(restore_memory(s, state, &in_memory));
    if (!in_memory && again) LS_TRY(restore_own_checkpoint(s, run ? run : "", state, &on_disk));
    if (!in_memory && !on_disk && resume)
        LS_TRY(ls_comm_agree(s->comm, "load the checkpoint", load_checkpoint(s, resume, state)));
    else if (!in_memory && !on_disk)
        LS_TRY(again || s->keep ? ls_program_init(s->train, (uint64_t)s->config.seed)
                                : ls_program_init_new(s->train, (uint64_t)s->config.seed));
    *origin_out = in_memory           ? LS_FROM_MEMORY
                  : on_disk || resume ? LS_FROM_CHECKPOINT
                                      : LS_FROM_START;
    state->data = ls_source_hash(s->source);
    snprintf(state->run, sizeof state->run, "%s", run ? run : "");
    if (!s->keep || in_memory) return LS_OK;
    return ls_comm_agree(s->comm, "commit the first state", ls_saving_commit(saving, state));
}

/* --- to memory --- */

ls_status ls_saving_commit(ls_saving *saving, const ls_train_state *state) {
    ls_session *s = saving->session;
    char *text = NULL;
    if (!s->keep) return LS_OK;
    LS_TRY(ls_train_state_print(state, &text));
    const ls_status status =
        ls_keep_commit(s->keep, state->step, ls_program_current(s->train), text, strlen(text) + 1);
    ls_free(text);
    return status;
}

ls_status ls_saving_before_update(ls_session *session) {
    return session->keep ? ls_keep_begin(session->keep) : LS_OK;
}

/* --- to disk --- */

/* The texts of a checkpoint's files; freed by free_texts. */
typedef struct texts {
    char *config, *trainer, *model, *tokenizer;
    ls_ckpt_file files[2];
    ls_ckpt_content content;
} texts;

static void free_texts(texts *t) {
    ls_free(t->config);
    ls_free(t->trainer);
    ls_free(t->model);
    ls_free(t->tokenizer);
}

static ls_status print_values(const struct ls_config *run_values, char **out) {
    json_t *values = NULL;
    LS_TRY(ls_config_values(run_values, &values));
    (void)json_object_del(values, "recover.copies"); /* of the processes, not of the run */
    const ls_status status = ls_json_dump(values, JSON_INDENT(1), out, NULL);
    json_decref(values);
    return status;
}

static ls_status make_texts(const ls_saving *saving, const ls_train_state *state, texts *t) {
    const ls_session *s = saving->session;
    size_t bytes = 0;
    LS_TRY(print_values(saving->values, &t->config));
    LS_TRY(ls_train_state_print(state, &t->trainer));
    LS_TRY(ls_model_save_config(&s->config.model, &t->model));
    t->content = (ls_ckpt_content){.step = state->step,
                                   .seed = (uint64_t)s->config.seed,
                                   .config_json = t->config,
                                   .trainer_json = t->trainer,
                                   .files = t->files,
                                   .score = state->held_loss};
    t->files[t->content.n_files++] = (ls_ckpt_file){"config.json", t->model, strlen(t->model)};
    const ls_tokenizer *tokenizer = ls_source_tokenizer(s->source);
    if (!tokenizer) return LS_OK;
    LS_TRY(ls_tokenizer_to_text(tokenizer, &t->tokenizer, &bytes));
    t->files[t->content.n_files++] = (ls_ckpt_file){"tokenizer.json", t->tokenizer, bytes};
    return LS_OK;
}

static ls_status make_path(const ls_saving *saving, int64_t step, char path_out[PATH_BYTES]) {
    const char *out = saving->session->config.out;
    if (snprintf(path_out, PATH_BYTES, "%s/step-%09lld", out, (long long)step) < PATH_BYTES)
        return LS_OK;
    return LS_FAIL(LS_ERR_CONFIG, "out: the path '%s' is too long", out);
}

void ls_saving_time_step(ls_saving *saving, double seconds) {
    ls_bound_add_step(&saving->bound, seconds);
}

ls_status ls_saving_tell(ls_saving *saving, int64_t step, double *aside_seconds) {
    const double start = ls_clock_seconds();
    ls_bound_probe(&saving->bound, saving->session->config.out);
    const ls_status status = ls_bound_tell(&saving->bound, saving->recorder, step);
    *aside_seconds += ls_clock_seconds() - start;
    return status;
}

/* A save took so long, of which so much was written: the rest was linked. */
static ls_status time_save(ls_saving *saving, int64_t step, double share, double seconds) {
    ls_bound_add_save(&saving->bound, (int64_t)(share * (double)saving->bound.save_bytes), seconds);
    return saving->recorder ? ls_bound_tell(&saving->bound, saving->recorder, step) : LS_OK;
}

static ls_status save_now(ls_saving *saving, const ls_train_state *state, int behind) {
    ls_session *s = saving->session;
    const ls_train_config *c = &s->config;
    const ls_ckpt_retention retention = {c->keep, c->keep_every, c->keep_best};
    const ls_ckpt_save_options options = {c->shard_bytes, &retention};
    const int64_t begun = ls_trace_now();
    char path[PATH_BYTES];
    LS_TRY(make_path(saving, state->step, path));
    texts t = {0};
    ls_status status = make_texts(saving, state, &t);
    status = ls_comm_agree(s->comm, "describe the checkpoint", status);
    if (status == LS_OK)
        status = behind ? ls_ckpt_saver_begin(saving->saver, &t.content, path, &options)
                        : ls_ckpt_save(s->train, &t.content, path, &options);
    free_texts(&t);
    LS_TRY(status);
    ls_trace_add_span(s->trace, LS_TRACE_SAVE, s->trace_step, begun);
    if (behind)
        saving->under_way = state->step;
    else
        snprintf(saving->path, sizeof saving->path, "%s", path);
    return LS_OK;
}

/* A save within the run may fail when the configuration allows it: said once, and the run goes on. What transports report is never
 * such a failure: the other ranks are gone. */
static ls_status judge(ls_saving *saving, int64_t step, ls_status status) {
    const ls_session *s = saving->session;
    if (status == LS_OK) {
        saving->n_saves++;
        return LS_OK;
    }
    if (status == LS_ERR_COMM || s->config.on_save_error == LS_SAVE_ERROR_STOP) return status;
    saving->n_failed++;
    if (ls_comm_rank(s->comm) == 0)
        ls_log(LS_LOG_WARN, "the checkpoint of step %lld failed and the run goes on%s%s: %s",
               (long long)step, *saving->path ? "; the newest is " : " without one", saving->path,
               ls_error_message());
    ls_error_clear();
    return LS_OK;
}

/* What the saver says when a save is over. */
static ls_status close_save(ls_saving *saving, ls_status status) {
    const int64_t step = saving->under_way;
    saving->under_way = -1;
    const ls_ckpt_save_times times = ls_ckpt_saver_times(saving->saver);
    if (status == LS_OK) LS_TRY(make_path(saving, step, saving->path));
    const double share =
        times.copy_bytes > 0 ? (double)times.written_bytes / (double)times.copy_bytes : 1;
    if (status == LS_OK)
        LS_TRY(time_save(saving, step, share, times.copy_seconds + times.write_seconds));
    return judge(saving, step, status);
}

ls_status ls_saving_begin(ls_saving *saving, const ls_train_state *state) {
    const double start = ls_clock_seconds();
    ls_status status = LS_OK;
    if (saving->under_way >= 0) status = close_save(saving, ls_ckpt_saver_wait(saving->saver));
    if (status == LS_OK) {
        const int behind = saving->saver != NULL;
        status = save_now(saving, state, behind);
        if (status == LS_OK && !behind)
            status = time_save(saving, state->step, 1, ls_clock_seconds() - start);
        if (status != LS_OK || !behind) status = judge(saving, state->step, status);
    }
    saving->stall_seconds += ls_clock_seconds() - start;
    return status;
}

int ls_saving_vote(const ls_saving *saving) {
    return saving->saver ? (int)ls_ckpt_saver_state(saving->saver) : (int)LS_SAVE_IDLE;
}

ls_status ls_saving_advance(ls_saving *saving, const int *votes, int size) {
    int done = 0;
    if (saving->under_way < 0) return LS_OK;
    const ls_status status = ls_ckpt_saver_advance(saving->saver, votes, size, &done);
    return done ? close_save(saving, status) : status;
}

ls_status ls_saving_finish(ls_saving *saving, const ls_train_state *state) {
    const double start = ls_clock_seconds();
    if (saving->under_way >= 0) LS_TRY(close_save(saving, ls_ckpt_saver_wait(saving->saver)));
    const ls_status status = save_now(saving, state, 0);
    saving->stall_seconds += ls_clock_seconds() - start;
    return status;
}
