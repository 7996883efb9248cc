/* lockstep replay: computes a step again and says which rank was wrong. */
#include "cli/cli.h"
#include "cli/replay_folder.h"
#include <inttypes.h>

typedef struct replay_options {
    int64_t step, ranks, from;
} replay_options;

enum { EXIT_DIFFERS = 1 };

static json_t *finding_json(const ls_replay_finding *f, int ranks, const char *sentence) {
    static const char *const logical = "logical";
    char recorded[17], replayed[17];
    json_t *wrong = json_array();
    for (int i = 0; wrong && i < f->n_wrong; i++)
        (void)json_array_append_new(wrong, json_integer(f->wrong[i]));
    (void)snprintf(recorded, sizeof recorded, "%016" PRIx64, f->recorded);
    (void)snprintf(replayed, sizeof replayed, "%016" PRIx64, f->replayed);
    const int right = f->what == LS_REPLAY_RIGHT;
    json_t *difference =
        right ? json_null()
              : json_pack("{s:I,s:s,s:O,s:s,s:s}", "step", (json_int_t)f->step, "what",
                          f->what == LS_REPLAY_LOGICAL ? logical : ls_hash_names[f->what], "ranks",
                          wrong, "recorded", recorded, "replayed", replayed);
    json_t *out =
        json_pack("{s:b,s:I,s:I,s:i,s:i,s:o,s:s}", "reproduced", right, "from", (json_int_t)f->from,
                  "step", (json_int_t)f->step, "ranks", ranks, "recorded_ranks", f->size,
                  "difference", difference, "sentence", sentence);
    json_decref(wrong);
    return out;
}

static ls_status tell(const ls_cmd_call *call, const ls_replay_finding *f, int ranks) {
    char *sentence = NULL;
    LS_TRY(ls_replay_describe(f, &sentence));
    ls_status status = LS_OK;
    if (call->json)
        status = ls_cli_print_json(call, finding_json(f, ranks, sentence));
    else
        fprintf(call->out, "replay: %s; computed from step %lld with %d rank%s\n", sentence,
                (long long)f->from, ranks, ranks == 1 ? "" : "s");
    ls_free(sentence);
    if (f->what != LS_REPLAY_RIGHT) *call->exit_status = EXIT_DIFFERS;
    return status;
}

static ls_status run_replay(const ls_cmd_call *call) {
    const replay_options *o = call->options;
    const ls_replay_request request = {.dir = call->args[0],
                                       .step = o->step,
                                       .ranks = o->ranks,
                                       .from = o->from,
                                       .assignments = call->assignments,
                                       .n_assignments = call->n_assignments,
                                       .quiet = call->quiet};
    ls_replay_finding finding;
    int ranks;
    if (o->step < 1)
        return LS_FAIL(LS_ERR_INVALID, "replay: --step N is missing: a step that metrics.jsonl has "
                                       "hashes of, counted from 1");
    LS_TRY(ls_replay_folder(&request, &finding, &ranks));
    const ls_status status = tell(call, &finding, ranks);
    ls_free(finding.wrong);
    return status;
}

static const ls_cli_option options[] = {
    {.name = "step",
     .letter = 's',
     .type = LS_CLI_INT,
     .offset = offsetof(replay_options, step),
     .value = "N",
     .help = "the step to compute again, as counted in metrics.jsonl",
     .min = 1,
     .max = 9e15},
    {.name = "ranks",
     .letter = 'n',
     .type = LS_CLI_INT,
     .offset = offsetof(replay_options, ranks),
     .value = "R",
     .help = "ranks (threads of this process) to compute with; default: as many as the run had",
     .min = 1,
     .max = 4096},
    {.name = "from",
     .letter = 'f',
     .type = LS_CLI_INT,
     .offset = offsetof(replay_options, from),
     .value = "M",
     .help = "begin with the newest checkpoint at or before step M; default: before --step",
     .min = 0,
     .max = 9e15},
    {0},
};
static const replay_options defaults = {.from = -1};

static const ls_cli_argument arguments[] = {
    {"DIR", "a run's folder, or a checkpoint in it; the run had hash_every=N"},
    {"KEY=VALUE", "overrides a stored key, e.g. data.path when the data was moved"},
    {0},
};

const ls_cmd ls_cmd_replay = {
    .usage = "DIR --step N [KEY=VALUE...]",
    .about = "Computes the steps after the newest checkpoint before step N again, up to N, and "
             "compares with the hashes in\n"
             "metrics.jsonl. With as many ranks as the run had it names the rank that lied at the "
             "first recorded step that\n"
             "differs: whether its memory changed, its gradient was wrong, its part of a sum, or "
             "its update. With another\n"
             "number of ranks it compares the state alone. What was wrong before the checkpoint it "
             "begins with cannot be\n"
             "seen: --from goes further back. Writes nothing. The exit status is 0 when all came "
             "out as recorded, 1 when\n"
             "not, above 1 when it could not be computed.",
    .arguments = arguments,
    .min_args = 1,
    .max_args = 1,
    .takes_config = 1,
    .has_json = 1,
    .options = options,
    .options_bytes = sizeof(replay_options),
    .defaults = &defaults,
    .run = run_replay,
};
