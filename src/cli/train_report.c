/* The run of `train` and `resume`: progress while it lasts, a report at its end. */
#include <math.h>
#include <signal.h>
#include <string.h>

#include "base/config.h"
#include "cli/progress.h"
#include "cli/run_options.h"

static volatile int interrupted;

/* EX_TEMPFAIL of sysexits.h: whoever sent SIGTERM (a spot notice, Slurm, Kubernetes) may start the run again, and it goes on. */
enum { EXIT_AGAIN = 75 };
/* After SIGUSR1, with which `lockstep run --hosts` asks for the hosts' places: the step is committed in memory, nothing was saved. */
enum { EXIT_MOVED = 76 };

static void note_signal(int number) {
    if (number > interrupted) interrupted = number; /* SIGUSR1 does not undo SIGTERM */
}

/* SIGINT and SIGTERM finish the step, save and leave; a second one ends the program the usual way. The trainer hands the number back
 * in result.interrupted, the largest of all ranks. */
static void catch_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = note_signal;
    action.sa_flags = (int)SA_RESETHAND;
    sigaction(SIGINT, &action, NULL);
    /* Whoever signals every process of a group, as systemd does, reaches a rank twice: also through `lockstep run`. */
    if (ls_config_env("LOCKSTEP_RUN_RANK")) action.sa_flags = 0;
    sigaction(SIGTERM, &action, NULL);
    /* Open MPI's daemon starts ranks with SIGUSR1 blocked. */
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    (void)sigprocmask(SIG_UNBLOCK, &mask, NULL);
    action.sa_flags = 0; /* asked for again and again until the rank has gone */
    sigaction(SIGUSR1, &action, NULL);
}

typedef struct display {
    ls_progress progress;
    int images;
    double items_per_step;
    int64_t first_step;
} display;

static void show_progress(void *user, const ls_train_progress *p) {
    display *d = user;
    char held[40] = "", share[40] = "", skipped[40] = "";
    if (isfinite(p->held_loss)) snprintf(held, sizeof held, "  held %.3f", p->held_loss);
    if (p->peak_flops_per_second > 0)
        snprintf(share, sizeof share, "  %.0f %% of peak",
                 100 * p->flops_per_second / p->peak_flops_per_second);
    if (p->n_skipped) snprintf(skipped, sizeof skipped, "  %lld skipped", (long long)p->n_skipped);
    if (d->first_step < 0) d->first_step = p->step - 1;
    ls_progress_update(&d->progress, p->step,
                       (int64_t)((double)(p->step - d->first_step) * d->items_per_step),
                       "loss %.3f%s%s%s", p->loss, held, share, skipped);
}

const ls_cli_option ls_cli_train_option_table[] = {
    {"profile", 0, LS_CLI_OPTIONAL, offsetof(ls_cli_train_options, profile), "DIR",
     "record a few steps; leave profile.html and trace.json there (OUT/profile)", 0, 0},
    {0},
};

static json_t *report_json(const ls_train_result *r) {
    json_t *report = json_pack(
        "{s:I,s:i,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:b,s:b,s:s,s:s}", "steps",
        (json_int_t)r->steps, "ranks", r->ranks, "loss", ls_cli_json_real(r->loss), "held_loss",
        ls_cli_json_real(r->held_loss), "bits_per_byte", ls_cli_json_real(r->held_bits_per_byte),
        "accuracy", ls_cli_json_real(r->held_accuracy), "train_seconds",
        ls_cli_json_real(r->train_seconds), "items_per_second",
        ls_cli_json_real(r->items_per_second), "first_step_seconds",
        ls_cli_json_real(r->first_step_seconds), "parameters", (json_int_t)r->parameters,
        "planned_bytes", (json_int_t)r->planned_bytes, "allocated_bytes",
        (json_int_t)r->allocated_bytes, "run_allocations", (json_int_t)r->run_allocations,
        "skipped_steps", (json_int_t)r->n_skipped, "interrupted", r->interrupted, "stopped_early",
        r->stopped_early, "checkpoint", r->checkpoint, "weights_sha256", r->weights_sha256);
    const ls_start_times *s = &r->start;
    if (report)
        (void)json_object_set_new(report, "start",
                                  json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:I}", "launch_seconds",
                                            s->launch, "data_seconds", s->data, "plan_seconds",
                                            s->plan, "memory_seconds", s->memory, "weights_seconds",
                                            s->weights, "records_seconds", s->records,
                                            "first_step_seconds", s->first_step, "prepared_bytes",
                                            (json_int_t)s->prepared_bytes));
    if (report && *r->profile)
        (void)json_object_set_new(report, "profile", json_string(r->profile));
    return report;
}

static void print_report(FILE *out, const ls_train_result *r, int images) {
    fprintf(out, "%s after step %lld: %.1f s, %.0f %s/s, loss %.4f\n",
            r->interrupted     ? "interrupted, saved"
            : r->stopped_early ? "stopped early"
                               : "trained",
            (long long)r->steps, r->train_seconds, r->items_per_second,
            images ? "images" : "tokens", r->loss);
    if (isfinite(r->held_bits_per_byte))
        fprintf(out, "held out: loss %.4f, %.4f bits per byte\n", r->held_loss,
                r->held_bits_per_byte);
    if (isfinite(r->held_accuracy))
        fprintf(out, "test images: loss %.4f, accuracy %.2f %%\n", r->held_loss,
                100 * r->held_accuracy);
    if (r->n_skipped)
        fprintf(out, "steps skipped for overflowing gradients: %lld\n", (long long)r->n_skipped);
    fprintf(out, "memory: %lld bytes planned, %lld allocated%s\n", (long long)r->planned_bytes,
            (long long)r->allocated_bytes, r->ranks > 1 ? ", on each rank" : "");
    if (*r->profile)
        fprintf(out,
                "%sprofile: %s/profile.html; profile.json is for programs, trace.json for "
                "ui.perfetto.dev\n",
                r->profile_text, r->profile);
    if (*r->checkpoint) fprintf(out, "checkpoint: %s\n", r->checkpoint);
    fprintf(out, "weights sha256:%s\n", r->weights_sha256);
}

ls_status ls_cli_train_on(const ls_cmd_call *call, const ls_train_config *config,
                          const ls_config *values, const char *resume, ls_comm *comm) {
    const int first = ls_comm_rank(comm) == 0;
    const int images = !ls_model_reads_tokens(config->model.kind);
    display d = {.images = images,
                 .items_per_step = (double)config->batch * (images ? 1.0 : (double)config->window),
                 .first_step = -1};
    const ls_progress_options look = {.label = "train",
                                      .n_total = config->steps,
                                      .unit = images ? "images" : "tokens",
                                      .quiet = call->quiet || !first,
                                      .live = -1};
    ls_progress_init(&d.progress, &look);
    catch_signals();
    const ls_cli_train_options *o = call->options;
    const ls_train_options options = {.progress = first ? show_progress : NULL,
                                      .user = &d,
                                      .interrupt = &interrupted,
                                      .resume = resume,
                                      .profile = o->profile != NULL,
                                      .profile_dir = o->profile,
                                      .comm = comm};
    ls_train_result result;
    const ls_status status = ls_train(config, values, &options, &result);
    ls_progress_end(&d.progress);
    LS_TRY(status);
    /* Ranks that are threads share the status: the first sets it. */
    const int sets = first || strcmp(ls_comm_transport(comm), "threads") != 0;
    if (sets && result.interrupted == SIGTERM) *call->exit_status = EXIT_AGAIN;
    if (sets && result.interrupted == SIGUSR1) *call->exit_status = EXIT_MOVED;
    if (result.interrupted == SIGUSR1) return LS_OK;
    if (!first) return LS_OK;
    if (call->json) return ls_cli_print_json(call, report_json(&result));
    print_report(call->out, &result, images);
    return LS_OK;
}

ls_status ls_cli_train(const ls_cmd_call *call, const ls_train_config *config,
                       const ls_config *values, const char *resume) {
    ls_comm *comm = NULL;
    const ls_comm_options options = {.transport = (ls_transport)config->transport,
                                     .late_seconds = config->late_seconds,
                                     .quiet = call->quiet};
    LS_TRY(ls_comm_open(&options, &comm));
    const ls_status status = ls_cli_train_on(call, config, values, resume, comm);
    ls_comm_close(comm);
    return status;
}
