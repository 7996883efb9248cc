/* lockstep data prepare: the tokenizer and token shards of a run, made ahead of it. */
#include "cli/cmd_data.h"
#include "cli/progress.h"
#include "cli/run_options.h"

typedef struct prepare_display {
    ls_progress progress;
    const char *what;
    int quiet, open;
} prepare_display;

/* One line per stage of the work (counting words, merging, encoding). */
static void show_stage(void *user, const char *what, int64_t done, int64_t total, double rate) {
    prepare_display *d = user;
    (void)rate;
    if (!d->open || d->what != what) {
        if (d->open) ls_progress_end(&d->progress);
        const ls_progress_options look = {
            .label = what, .n_total = total, .quiet = d->quiet, .live = -1};
        ls_progress_init(&d->progress, &look);
        d->what = what;
        d->open = 1;
    }
    ls_progress_update(&d->progress, done, done, "%s", "");
}

static ls_status run_prepare(const ls_cmd_call *call) {
    ls_train_config config;
    ls_config *values = NULL;
    LS_TRY(ls_cli_load_config(call, &config, &values));
    prepare_display d = {.quiet = call->quiet};
    const ls_status status = ls_train_prepare(&config, show_stage, &d);
    if (d.open) ls_progress_end(&d.progress);
    if (status == LS_OK && call->json)
        (void)ls_cli_print_json(call, json_pack("{s:b}", "ready", 1));
    else if (status == LS_OK)
        fprintf(call->out, "%s: tokenizer and token shards are ready in %s%s\n", config.data.path,
                config.data.cache ? config.data.cache : config.out,
                config.data.cache ? "" : "/data");
    ls_config_destroy(values);
    return status;
}

const ls_cmd ls_cmd_data_prepare = {
    .name = "prepare",
    .help = "make the tokenizer and token shards of a run ahead of it",
    .usage = "CONFIG [KEY=VALUE...]",
    .about = "`train` does this itself when it finds them missing; done ahead, a run starts in "
             "milliseconds.",
    .min_args = 1,
    .max_args = 1,
    .takes_config = 1,
    .has_json = 1,
    .run = run_prepare,
};
