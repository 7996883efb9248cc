/* lockstep chaos: runs with one fault each, and whether every rank named it. */
#include "cli/cmd_chaos.h"
#include "base/fs.h"
#include "base/rng.h"
#include "cli/cmd_chaos_hosts.h"
#include "cli/cmd_chaos_recover.h"
#include "cli/cmd_run.h"
#include "cli/run_options.h"
#include <string.h>
#include <unistd.h>

typedef struct chaos_options {
    int64_t ranks, faults, seed, kills;
    int recover;
    const char *kinds;
    double within;
    const char *hosts, *agent, *launcher, *launcher_args; /* across hosts */
    double wait_seconds, launch_seconds, missing_seconds, longest;
    ls_chaos_link link;
} chaos_options;

static const char table_kinds[] = "die,stop,skip,extra,shape,dtype,op,step,slow,nan,disk,torn";

enum {
    USUAL_RANKS = 8,
    LEAST_RANKS = 3,
    LEAST_RANKS_TO_RECOVER = 2,
    LEAST_STEPS = 5,
    MOST_WORDS_ADDED = 4,
    TEXT_BYTES = 512
};
static const double grace_seconds = 5;
/* For slow: what the run is told, and how long the rank sleeps before each call. */
static const double late_seconds = 1, slow_seconds = 2.5;

typedef struct chaos {
    const ls_cmd_call *call;
    int size, n_kinds;
    ls_fault_kind kinds[LS_FAULT_COUNT];
    char out[240];                   /* folder of everything; leaves room for a name in it */
    ls_ranks_words words;            /* of a rank, with room for more */
    int64_t n_steps, calls_per_step; /* of the run without a fault; about */
    int64_t zero;
    ls_chaos_voice *voices; /* [size] of the run at hand */
    json_t *rows;           /* with --json */
    int n_right, n_named, n_left;
    double slowest;
} chaos;

static const chaos_options *chaos_of(const chaos *self) {
    return self->call->options;
}

/* --- one run --- */

/* Runs the words with more of them at the end. */
static ls_status run_once(chaos *self, const char *const *more, int n_more, const char *fault,
                          ls_ranks_result **out) {
    const int n = self->words.n_words;
    for (int i = 0; i < n_more; i++) self->words.words[n + i] = more[i];
    for (int rank = 0; rank < self->size; rank++)
        self->voices[rank] = (ls_chaos_voice){.named = -1};
    const ls_ranks_options options = {.size = self->size,
                                      .name = "chaos",
                                      .words = self->words.words,
                                      .n_words = n + n_more,
                                      .fault = fault,
                                      .grace_seconds = grace_seconds,
                                      .output = -1,
                                      .line = ls_chaos_listen,
                                      .user = self->voices};
    return ls_ranks_supervise(&options, out);
}

/* The run must be well without a fault; how many steps and calls it has tells where faults can go. */
static ls_status run_clean(chaos *self) {
    char out[TEXT_BYTES + 16];
    (void)snprintf(out, sizeof out, "out=%s/clean", self->out);
    const char *const more[] = {out};
    ls_ranks_result *result = NULL;
    LS_TRY(run_once(self, more, 1, "", &result));
    const int culprit = result->culprit;
    const int64_t n_calls = (int64_t)result->ends[0].report.n_calls;
    if (culprit >= 0) *self->call->exit_status = ls_ranks_exit_status(result);
    ls_free(result);
    if (culprit >= 0)
        return LS_FAIL(LS_ERR_COMM, "chaos: the run fails without any fault: rank %d: %s", culprit,
                       self->voices[culprit].line);
    self->calls_per_step = n_calls / self->n_steps;
    if (self->calls_per_step < 1)
        return LS_FAIL(LS_ERR_INVALID,
                       "chaos: %lld collectives in %lld steps: nowhere to put a fault",
                       (long long)n_calls, (long long)self->n_steps);
    return LS_OK;
}

/* --- one fault --- */

static void draw_fault(const chaos *self, int64_t index, ls_fault *out) {
    const chaos_options *o = self->call->options;
    const ls_rng_key key = {(uint64_t)o->seed, (uint64_t)index, 0};
    /* Kinds in turn, so that each is there as often as the others. */
    *out = (ls_fault){.kind = self->kinds[index % self->n_kinds], .seconds = slow_seconds};
    out->rank = (int)ls_rng_below(key, 0, (uint64_t)self->size);
    /* Neither the first step nor the last two: there are others before and after. */
    out->step = 1 + ls_rng_below(key, 1, (uint64_t)self->n_steps - 3);
    out->call = (int64_t)ls_rng_below(key, 2, (uint64_t)self->calls_per_step);
    (void)snprintf(out->stamp, sizeof out->stamp, "%s/stamp", self->out);
}

static ls_status run_fault(chaos *self, ls_chaos_case *c) {
    char out[TEXT_BYTES + 16], late[48], fault[TEXT_BYTES];
    const ls_fault *f = &c->fault;
    (void)snprintf(out, sizeof out, "out=%s/run", self->out);
    (void)snprintf(late, sizeof late, "late_seconds=%g", late_seconds);
    (void)snprintf(fault, sizeof fault, "kind=%s,rank=%d,step=%llu,call=%lld,seconds=%g,stamp=%s",
                   ls_fault_names[f->kind], f->rank, (unsigned long long)f->step,
                   (long long)f->call, f->seconds, f->stamp);
    const char *more[MOST_WORDS_ADDED] = {out};
    int n_more = 1;
    if (f->kind == LS_FAULT_SLOW) more[n_more++] = late;
    if (f->kind == LS_FAULT_DISK || f->kind == LS_FAULT_TORN) {
        more[n_more++] = "save_every=1";
        more[n_more++] = "on_save_error=stop";
    }
    if (f->kind >= LS_FAULT_LOUD_END) more[n_more++] = "hash_every=1";
    (void)unlink(f->stamp);
    if (ls_path_exists(out + 4)) LS_TRY(ls_dir_remove(out + 4));
    ls_ranks_result *result = NULL;
    LS_TRY(run_once(self, more, n_more, fault, &result));
    const int interrupted = result->interrupted;
    ls_status status = LS_OK;
    if (f->kind == LS_FAULT_FLIP || f->kind == LS_FAULT_FLIP_SHARE)
        status = ls_chaos_judge_silent(c, result, out + 4, self->n_steps);
    else
        ls_chaos_judge(c, result, self->size);
    c->ended = NULL;
    ls_free(result);
    LS_TRY(status);
    return interrupted ? LS_FAIL(LS_ERR_INTERRUPTED, "chaos: interrupted") : LS_OK;
}

/* --- telling --- */

static json_t *case_json(const chaos *self, const ls_chaos_case *c) {
    json_t *lines = json_array();
    for (int rank = 0; lines && rank < self->size; rank++)
        (void)json_array_append_new(lines, json_string(self->voices[rank].line));
    return json_pack("{s:s,s:i,s:I,s:I,s:f,s:i,s:b,s:b,s:s,s:o}", "kind",
                     ls_fault_names[c->fault.kind], "rank", c->fault.rank, "step",
                     (json_int_t)c->fault.step, "call", (json_int_t)c->fault.call, "seconds",
                     c->seconds, "exit", c->exit_status, "named_right", c->named_right,
                     "left_behind", c->left_behind, "why", c->why, "lines", lines);
}

/* A row for each fault; what the ranks said only where it was not right. */
static ls_status tell_case(chaos *self, int64_t index, const ls_chaos_case *c) {
    if (self->call->json) {
        json_t *row = case_json(self, c);
        if (!row || json_array_append_new(self->rows, row) != 0)
            return LS_FAIL(LS_ERR_NO_MEMORY, "out of memory while building the JSON answer");
        return LS_OK;
    }
    FILE *out = self->call->out;
    (void)fprintf(out, "%4lld  %-5s  %4d  %5llu  %4lld  %6.2f s  %4d  %s\n", (long long)index + 1,
                  ls_fault_names[c->fault.kind], c->fault.rank, (unsigned long long)c->fault.step,
                  (long long)c->fault.call, c->seconds, c->exit_status,
                  c->why[0] ? c->why : "right");
    for (int rank = 0; c->why[0] && rank < self->size; rank++)
        (void)fprintf(out, "        rank %d: %s\n", rank,
                      self->voices[rank].line[0] ? self->voices[rank].line : "(nothing)");
    (void)fflush(out);
    return LS_OK;
}

static ls_status tell_all(const chaos *self, int64_t n) {
    char summary[160];
    const int all_right = self->n_right == n;
    (void)snprintf(summary, sizeof summary,
                   "chaos: %lld faults, %d named right, slowest %.2f s, %d processes left",
                   (long long)n, self->n_named, self->slowest, self->n_left);
    if (!self->call->json)
        (void)fprintf(self->call->out, "%s\n", summary);
    else if (all_right)
        LS_TRY(ls_cli_print_json(self->call,
                                 json_pack("{s:I,s:i,s:i,s:f,s:i,s:O}", "faults", (json_int_t)n,
                                           "named_right", self->n_named, "right", self->n_right,
                                           "slowest_seconds", self->slowest, "left_behind",
                                           self->n_left, "rows", self->rows)));
    if (all_right) return LS_OK;
    return LS_FAIL(LS_ERR_COMM, "chaos: %lld of %lld faults were not found as they should be",
                   (long long)n - self->n_right, (long long)n);
}

static ls_status run_faults(chaos *self) {
    const chaos_options *o = self->call->options;
    if (!self->call->json)
        (void)fprintf(self->call->out, "%4s  %-5s  %4s  %5s  %4s  %8s  %4s  %s\n", "#", "fault",
                      "rank", "step", "call", "found in", "exit", "verdict");
    for (int64_t i = 0; i < o->faults; i++) {
        ls_chaos_case c = {.limit = o->within, .voices = self->voices};
        draw_fault(self, i, &c.fault);
        if (c.fault.kind == LS_FAULT_SLOW) c.limit += late_seconds;
        LS_TRY(run_fault(self, &c));
        self->n_right += !c.why[0];
        self->n_named += c.named_right;
        self->n_left += c.left_behind;
        const double seconds = c.fault.kind == LS_FAULT_SLOW ? c.seconds - late_seconds : c.seconds;
        /* A replay takes as long as the run. */
        const int replayed = c.fault.kind == LS_FAULT_FLIP || c.fault.kind == LS_FAULT_FLIP_SHARE;
        if (!replayed && seconds > self->slowest) self->slowest = seconds;
        LS_TRY(tell_case(self, i, &c));
    }
    return tell_all(self, o->faults);
}

/* --- what was asked --- */

static ls_status read_kinds(chaos *self, const char *text) {
    for (const char *at = text; *at;) {
        char name[16];
        int kind = LS_FAULT_COUNT;
        const size_t n = strcspn(at, ",");
        (void)snprintf(name, sizeof name, "%.*s", (int)n, at);
        for (int i = LS_FAULT_DIE; i < LS_FAULT_COUNT; i++)
            if (strcmp(name, ls_fault_names[i]) == 0) kind = i;
        if (kind == LS_FAULT_COUNT || self->n_kinds == LS_FAULT_COUNT)
            return LS_FAIL(LS_ERR_INVALID,
                           "chaos: --kinds '%s': there are die, stop, skip, extra, shape, dtype, "
                           "op, step, slow, nan, disk, torn, flip, flip_share and flip_state",
                           name);
        self->kinds[self->n_kinds++] = (ls_fault_kind)kind;
        at += n + (at[n] == ',');
    }
    return LS_OK;
}

/* Folders from the configuration: all runs share the tokens that the first one makes. */
static ls_status make_words(chaos *self, const ls_cli_parsed *parsed, const ls_cli_path *path,
                            char cache[TEXT_BYTES + 32]) {
    ls_train_config config;
    ls_config *values = NULL;
    LS_TRY(ls_cli_load_config(&parsed->call, &config, &values));
    (void)snprintf(self->out, sizeof self->out, "%s", config.out);
    (void)snprintf(cache, TEXT_BYTES + 32, "data.cache=%s%s",
                   config.data.cache ? config.data.cache : config.out,
                   config.data.cache ? "" : "/data");
    self->n_steps = config.steps;
    self->zero = config.zero;
    ls_config_destroy(values);
    if (self->n_steps < LEAST_STEPS)
        return LS_FAIL(LS_ERR_CONFIG,
                       "chaos: steps = %lld: %d or more are needed to put a fault into",
                       (long long)self->n_steps, (int)LEAST_STEPS);
    if (strlen(self->out) > sizeof((ls_fault *)0)->stamp - 16)
        return LS_FAIL(LS_ERR_CONFIG, "chaos: out = '%s' is too long a path", self->out);
    ls_ranks_words words = {0};
    /* Of several hosts it is their CPUs that count; what is said of threads stands in the words. */
    LS_TRY(
        ls_ranks_make_words(self->call, path, chaos_of(self)->hosts ? 1 : self->size, 0, &words));
    const size_t n = (size_t)words.n_words + 1;
    self->words.words = ls_alloc((n + MOST_WORDS_ADDED) * sizeof *self->words.words);
    if (self->words.words) {
        memcpy(self->words.words, words.words, (n - 1) * sizeof *words.words);
        memcpy(self->words.threads, words.threads, sizeof words.threads);
        if (words.threads[0]) self->words.words[n - 2] = self->words.threads;
        self->words.words[n - 1] = cache;
        self->words.n_words = (int)n;
    }
    ls_free(words.words);
    return self->words.words ? LS_OK : LS_ERR_NO_MEMORY;
}

static ls_status prepare(chaos *self, char cache[TEXT_BYTES + 32]) {
    ls_cli_path path;
    ls_cli_parsed parsed;
    const ls_cmd_call *call = self->call;
    LS_TRY(ls_ranks_check_words("chaos", call->args, call->n_args, &path, &parsed));
    ls_status status = LS_OK;
    if (strcmp(path.name, "train") != 0)
        status = LS_FAIL(LS_ERR_INVALID, "chaos: the verb must be train, found '%s'", path.name);
    if (status == LS_OK) status = make_words(self, &parsed, &path, cache);
    ls_cli_parsed_deinit(&parsed);
    LS_TRY(status);
    self->voices = ls_alloc((size_t)self->size * sizeof *self->voices);
    if (!self->voices) return LS_ERR_NO_MEMORY;
    if (call->json && !(self->rows = json_array()))
        return LS_FAIL(LS_ERR_NO_MEMORY, "out of memory while building the JSON answer");
    return ls_dir_make(self->out);
}

static ls_status run_recover(const chaos *self) {
    const chaos_options *o = self->call->options;
    const ls_chaos_recover_options options = {.call = self->call,
                                              .size = self->size,
                                              .n_kills = o->kills,
                                              .seed = o->seed,
                                              .n_steps = self->n_steps,
                                              .kinds = o->kinds,
                                              .out = self->out,
                                              .words = &self->words};
    return ls_chaos_recover(&options);
}

static ls_status run_hosts(const chaos *self) {
    const chaos_options *o = self->call->options;
    ls_chaos_link link = o->link;
    link.agent = o->agent;
    const ls_hosts_options hosts = {.file = o->hosts,
                                    .agent = o->agent,
                                    .launcher = o->launcher,
                                    .launcher_args = o->launcher_args,
                                    .most = o->ranks,
                                    .wait_seconds = o->wait_seconds,
                                    .launch_seconds = o->launch_seconds,
                                    .missing_seconds = o->missing_seconds};
    const ls_chaos_hosts_options options = {.call = self->call,
                                            .hosts = &hosts,
                                            .link = &link,
                                            .longest = o->longest,
                                            .n_kills = o->kills,
                                            .seed = o->seed,
                                            .zero = self->zero,
                                            .kinds = o->kinds,
                                            .out = self->out,
                                            .words = &self->words};
    return ls_chaos_hosts(&options);
}

static ls_status check_options(const chaos_options *o) {
    if (!o->link.down != !o->link.up)
        return LS_FAIL(LS_ERR_INVALID,
                       "chaos: --link-down and --link-up go together: what goes down must come up");
    if (o->link.device[strspn(o->link.device, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                              "0123456789_.:@-")])
        return LS_FAIL(LS_ERR_INVALID, "chaos: --device '%s' is no name of a network device",
                       o->link.device);
    if (o->hosts) return LS_OK;
    const int64_t ranks = o->ranks ? o->ranks : USUAL_RANKS;
    if (o->recover && ranks < LEAST_RANKS_TO_RECOVER)
        return LS_FAIL(LS_ERR_INVALID, "chaos: --recover -n %lld: 2 ranks or more are needed",
                       (long long)ranks);
    if (!o->recover && ranks < LEAST_RANKS)
        return LS_FAIL(LS_ERR_INVALID,
                       "chaos: -n %lld: who did something else is told by majority, which takes %d "
                       "ranks or more",
                       (long long)ranks, (int)LEAST_RANKS);
    return LS_OK;
}

static ls_status run_table(chaos *self) {
    LS_TRY(run_clean(self));
    return run_faults(self);
}

static ls_status run_chaos(const ls_cmd_call *call) {
    const chaos_options *o = call->options;
    LS_TRY(check_options(o));
    chaos self = {.call = call, .size = (int)(o->ranks ? o->ranks : USUAL_RANKS)};
    char cache[TEXT_BYTES + 32];
    const int is_table = !o->hosts && !o->recover;
    ls_status status = is_table ? read_kinds(&self, o->kinds ? o->kinds : table_kinds) : LS_OK;
    if (status == LS_OK) status = prepare(&self, cache);
    if (status == LS_OK)
        status = o->hosts ? run_hosts(&self) : o->recover ? run_recover(&self) : run_table(&self);
    json_decref(self.rows);
    ls_free(self.voices);
    ls_free(self.words.words);
    return status;
}

#define FIELD(member) offsetof(chaos_options, member)
static const ls_cli_option options[] = {
    {"ranks", 'n', LS_CLI_INT, FIELD(ranks), "R",
     "how many ranks each run has (8); with --hosts the most", 1, 4096},
    {"faults", 'f', LS_CLI_INT, FIELD(faults), "N", "how many runs, one fault in each", 1, 1e6},
    {"seed", 's', LS_CLI_INT, FIELD(seed), "S",
     "draws rank, step and call of each fault; kind, victim and instant of each blow", 0, 9e15},
    {"kinds", 'k', LS_CLI_STRING, FIELD(kinds), "A,B",
     "which faults or blows, in turn (all that the mode has; the silent flips of the table on "
     "demand)",
     0, 0},
    {"within", 0, LS_CLI_FLOAT, FIELD(within), "SECONDS",
     "the last survivor must have left so soon (2); slow has late_seconds=1 on top", 0.1, 3600},
    {"recover", 0, LS_CLI_FLAG, FIELD(recover), NULL,
     "strike ranks that are started again, and compare the weights of the end", 0, 0},
    {"kills", 0, LS_CLI_INT, FIELD(kills), "N", "with --recover, --hosts: how many (100)", 1, 1e6},
    {"hosts", 0, LS_CLI_STRING, FIELD(hosts), "FILE",
     "strike the hosts of an elastic run, as `lockstep run --hosts FILE` makes it", 0, 0},
    {"agent", 0, LS_CLI_STRING, FIELD(agent), "COMMAND",
     "with --hosts: starts a command on a host, as COMMAND HOST WORDS... (ssh)", 0, 0},
    {"launcher", 0, LS_CLI_STRING, FIELD(launcher), "MPI", "with --hosts: openmpi or mpich", 0, 0},
    {"launcher-args", 0, LS_CLI_STRING, FIELD(launcher_args), "WORDS",
     "with --hosts: more words for mpirun", 0, 0},
    {"wait", 0, LS_CLI_FLOAT, FIELD(wait_seconds), "SECONDS",
     "with --hosts: how long to wait while no host can be used (600)", 0, 1e9},
    {"launch-wait", 0, LS_CLI_FLOAT, FIELD(launch_seconds), "SECONDS",
     "with --hosts: an mpirun without any rank for so long is ended (180)", 0.1, 1e9},
    {"missing-wait", 0, LS_CLI_FLOAT, FIELD(missing_seconds), "SECONDS",
     "with --hosts: an mpirun with fewer ranks than it should have for so long is ended (30)", 0.1,
     1e9},
    {"device", 0, LS_CLI_STRING, FIELD(link.device), "DEV",
     "with --hosts: the hosts' network device, which goes down and up (eth0)", 0, 0},
    {"longest", 0, LS_CLI_FLOAT, FIELD(longest), "SECONDS",
     "with --hosts: a link is down, or slow, for so long at most (8)", 0.2, 3600},
    {"link-down", 0, LS_CLI_STRING, FIELD(link.down), "COMMAND",
     "with --hosts: run here instead of `ip link set DEV down` on the host; %h is its name", 0, 0},
    {"link-up", 0, LS_CLI_STRING, FIELD(link.up), "COMMAND",
     "with --link-down: run here instead of `ip link set DEV up` on the host", 0, 0},
    {0},
};
/* Options that are nothing by themselves. */
static const ls_cli_company company[] = {
    {"kills", "recover,hosts"}, {"agent", "hosts"},   {"launcher", "hosts"},
    {"launcher-args", "hosts"}, {"wait", "hosts"},    {"launch-wait", "hosts"},
    {"missing-wait", "hosts"},  {"device", "hosts"},  {"longest", "hosts"},
    {"link-down", "hosts"},     {"link-up", "hosts"}, {0},
};
static const chaos_options defaults = {.faults = 100,
                                       .kills = 100,
                                       .seed = 1,
                                       .within = 2,
                                       .wait_seconds = 600,
                                       .launch_seconds = LS_HOSTS_LAUNCH_SECONDS,
                                       .missing_seconds = LS_HOSTS_MISSING_SECONDS,
                                       .longest = 8,
                                       .link = {.device = "eth0"}};

static const ls_cli_argument arguments[] = {
    {"CONFIG", "YAML file of a short run; its folder `out` gets all files"},
    {"KEY=VALUE", "overrides a key of the file"},
    {0},
};

const ls_cmd ls_cmd_chaos = {
    .usage = "[-n R] [--recover | --hosts FILE] -- train CONFIG [KEY=VALUE...]",
    .about =
        "Breaks runs in seeded ways and judges what became of them. What there is, and which mode "
        "draws it:\n"
        "  what          table           --recover               --hosts FILE\n"
        "  kill          die             one some all call file  ranks keeper both\n"
        "  stop          stop            stop term\n"
        "  slow          slow            slow                    slow\n"
        "  flip a bit    flip flip_share flip_state\n"
        "  drop a link                                           link\n"
        "  full disk     disk            full\n"
        "  torn write    torn            torn\n"
        "  wrong calls   skip extra shape dtype op step nan\n"
        "--kinds chooses among those of a mode.\n"
        "\n"
        "The table (without --recover and --hosts) runs `lockstep run -n R -- train CONFIG` again "
        "and again, each time with one fault\n"
        "at a rank, step and call that the seed draws. A fault is found right when every rank that "
        "can still speak ends with an\n"
        "error and exactly one line that names the culprit first, the last of the others has left "
        "within two seconds of the fault,\n"
        "and no process is left. A flip is silent: the run or its replay must name the rank "
        "(--kinds flip,flip_share,flip_state;\n"
        "hashes are kept for it).\n"
        "\n"
        "With --recover the run goes on after each blow, as `lockstep run` does, and runs are "
        "begun "
        "until N kills are done: of a rank\n"
        "(one), of some or of all, at an instant that the seed draws, while they start, load, "
        "compute, commit or save; by itself at a\n"
        "collective (call), in the middle of a file operation (file) or after half of a write "
        "(torn). Now and then a rank is stopped\n"
        "(stop), late (slow), finds its disk full for a while (full; the run must go on), or the "
        "whole gets SIGTERM, saves and is\n"
        "resumed (term).\n"
        "\n"
        "With --hosts the run is that of `lockstep run --hosts FILE`, and a blow falls on a host: "
        "its ranks are killed, its keeper, or\n"
        "both; its link goes down and comes up again by itself after a drawn time, or is slow for "
        "a while. A step may be lost only\n"
        "where no copy in memory covers the blow (recover.copies=1, or a second host before the "
        "copies were made anew): such steps\n"
        "are done again from a checkpoint and counted.\n"
        "\n"
        "Both exit with 0 only when every run went on to its end, no committed step was lost and "
        "all weights are those of a run that\n"
        "nobody disturbed. LOCKSTEP_FAULT=\"kind=skip,rank=3,step=5,call=2\" puts one fault into "
        "any run.",
    .arguments = arguments,
    .min_args = 2,
    .max_args = -1,
    .has_json = 1,
    .options = options,
    .company = company,
    .options_bytes = sizeof(chaos_options),
    .defaults = &defaults,
    .run = run_chaos,
};
