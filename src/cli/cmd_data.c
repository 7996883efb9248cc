/* lockstep data: texts to tokenizers and token shards, and what is in them. */
#include "cli/cmd_data.h"
#include "base/clock.h"
#include "base/fs.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "lockstep/data.h"
#include <stddef.h>
#include <string.h>

typedef struct data_options {
    const char *out, *tokenizer, *text_field, *part;
    int64_t vocab_size, min_count, n_tokens;
    int raw, no_eot;
} data_options;

#define OPTION(long_name, letter, type, member, value, help, min, max) \
    { long_name, letter, type, offsetof(data_options, member), value, help, min, max }
#define TEXT_FIELD_OPTION                                        \
    OPTION("text-field", 'f', LS_CLI_STRING, text_field, "NAME", \
           "JSON Lines: the member that holds the text (default text)", 0, 0)
#define RAW_OPTION \
    OPTION("raw", 0, LS_CLI_FLAG, raw, NULL, "plain text may hold any bytes, not only UTF-8", 0, 0)
#define PART_OPTION                                                                   \
    OPTION("part", 'p', LS_CLI_STRING, part, "PART",                                  \
           "part of the text by position: all, train (first 90 %), stop (next 5 %), " \
           "held (last 5 %)",                                                         \
           0, 0)
#define LAST_OPTION \
    { NULL, 0, LS_CLI_FLAG, 0, NULL, NULL, 0, 0 }

/* --- what the actions share ------------------------------------------------------------------------------------- */

static ls_status set_part(const char *part, ls_dataset_options *options) {
    static const char *const names[] = {"all", "train", "stop", "held"};
    for (int i = 0; i < 4; i++)
        if (strcmp(part, names[i]) == 0) {
            ls_split_range((ls_split)i, &options->begin, &options->end);
            return LS_OK;
        }
    return LS_FAIL(LS_ERR_INVALID, "part %s asked for; there are all, train, stop and held", part);
}

static ls_status open_text(const ls_cmd_call *call, ls_dataset **out) {
    const data_options *o = call->options;
    ls_dataset_options options = {.text_field = o->text_field, .raw_bytes = o->raw};
    LS_TRY(set_part(o->part, &options));
    return ls_dataset_open(call->args[0], &options, out);
}

static ls_status open_tokenizer(const char *path, ls_tokenizer **out) {
    if (strcmp(path, "bytes") == 0) return ls_tokenizer_create_bytes(1, out);
    return ls_tokenizer_open(path, out);
}

static void show_progress(void *user, const char *what, int64_t done, int64_t total, double rate) {
    (void)total;
    (void)rate;
    ls_progress_update(user, done, done, "%s", what);
}

static ls_status need_option(const char *value, const char *name) {
    if (value != NULL) return LS_OK;
    return LS_FAIL(LS_ERR_INVALID, "option --%s is needed", name);
}

/* --- train-tokenizer -------------------------------------------------------------------------------------------- */

static ls_status report_training(const ls_cmd_call *call, const ls_tokenizer *tokenizer,
                                 double seconds) {
    const data_options *o = call->options;
    const int32_t n_tokens = ls_tokenizer_vocab_size(tokenizer);
    const int64_t n_merges = ls_tokenizer_merge_count(tokenizer);
    const char *fingerprint = ls_tokenizer_fingerprint(tokenizer);
    if (call->json)
        return ls_cli_print_json(call,
                                 json_pack("{s:s, s:i, s:I, s:i, s:s, s:f}", "tokenizer", o->out,
                                           "vocab_size", n_tokens, "merges", (json_int_t)n_merges,
                                           "eot", ls_tokenizer_eot(tokenizer), "fingerprint",
                                           fingerprint, "seconds", seconds));
    (void)fprintf(call->out, "%s: %d tokens, %lld merges, fingerprint %.16s, %.2f s\n", o->out,
                  n_tokens, (long long)n_merges, fingerprint, seconds);
    return LS_OK;
}

static ls_status train(const ls_cmd_call *call, ls_dataset *dataset, ls_tokenizer **out) {
    const data_options *o = call->options;
    ls_progress progress;
    ls_progress_init(&progress, &(ls_progress_options){.label = "train-tokenizer",
                                                       .n_total = o->vocab_size - 257,
                                                       .unit = "merges",
                                                       .quiet = call->quiet,
                                                       .live = -1});
    const ls_tokenizer_train_options options = {.vocab_size = (int32_t)o->vocab_size,
                                                .min_count = o->min_count,
                                                .progress = show_progress,
                                                .progress_user = &progress};
    const ls_status status = ls_tokenizer_train(dataset, &options, out);
    ls_progress_end(&progress);
    return status;
}

static ls_status run_train_tokenizer(const ls_cmd_call *call) {
    const data_options *o = call->options;
    const double start = ls_clock_seconds();
    ls_dataset *dataset = NULL;
    ls_tokenizer *tokenizer = NULL;
    ls_status status;
    LS_TRY(need_option(o->out, "out"));
    LS_TRY(open_text(call, &dataset));
    LS_TRY_GOTO(train(call, dataset, &tokenizer), out);
    LS_TRY_GOTO(ls_tokenizer_save(tokenizer, o->out), out);
    LS_TRY_GOTO(report_training(call, tokenizer, ls_clock_seconds() - start), out);
out:
    ls_tokenizer_destroy(tokenizer);
    ls_dataset_close(dataset);
    return status;
}

/* --- tokenize --------------------------------------------------------------------------------------------------- */

static json_t *pack_info(const char *path, const ls_tokens_info *info) {
    return json_pack("{s:s, s:I, s:I, s:I, s:i, s:i, s:i, s:i, s:s}", "shard", path, "tokens",
                     (json_int_t)info->n_tokens, "documents", (json_int_t)info->n_documents,
                     "text_bytes", (json_int_t)info->n_text_bytes, "vocab_size", info->vocab_size,
                     "max_token", info->max_token, "eot", info->eot, "token_bytes",
                     info->token_bytes, "fingerprint", info->fingerprint);
}

static void print_info(FILE *out, const char *path, const ls_tokens_info *info) {
    (void)fprintf(out,
                  "%s: %lld tokens in %lld document%s, %lld bytes of text, %.3f bytes a token; "
                  "vocabulary %d, largest id %d, tokenizer %.16s\n",
                  path, (long long)info->n_tokens, (long long)info->n_documents,
                  info->n_documents == 1 ? "" : "s", (long long)info->n_text_bytes,
                  (double)info->n_text_bytes / (double)info->n_tokens, info->vocab_size,
                  info->max_token, info->fingerprint[0] != '\0' ? info->fingerprint : "not known");
}

static ls_status report_info(const ls_cmd_call *call, const char *path, const ls_tokens_info *info,
                             double seconds) {
    if (!call->json) {
        print_info(call->out, path, info);
        return LS_OK;
    }
    json_t *object = pack_info(path, info);
    if (object != NULL && seconds > 0)
        (void)json_object_set_new(object, "seconds", json_real(seconds));
    return ls_cli_print_json(call, object);
}

static ls_status tokenize(const ls_cmd_call *call, ls_dataset *dataset,
                          const ls_tokenizer *tokenizer, ls_tokens_info *info_out) {
    const data_options *o = call->options;
    ls_progress progress;
    ls_progress_init(&progress,
                     &(ls_progress_options){
                         .label = "tokenize", .unit = "bytes", .quiet = call->quiet, .live = -1});
    const ls_tokens_options options = {.append_eot = !o->no_eot && ls_tokenizer_eot(tokenizer) >= 0,
                                       .progress = show_progress,
                                       .progress_user = &progress};
    const ls_status status = ls_tokens_encode_file(dataset, tokenizer, &options, o->out, info_out);
    ls_progress_end(&progress);
    return status;
}

static ls_status run_tokenize(const ls_cmd_call *call) {
    const data_options *o = call->options;
    const double start = ls_clock_seconds();
    ls_dataset *dataset = NULL;
    ls_tokenizer *tokenizer = NULL;
    ls_tokens_info info;
    ls_status status;
    LS_TRY(need_option(o->out, "out"));
    LS_TRY(need_option(o->tokenizer, "tokenizer"));
    LS_TRY(open_tokenizer(o->tokenizer, &tokenizer));
    LS_TRY_GOTO(open_text(call, &dataset), out);
    LS_TRY_GOTO(tokenize(call, dataset, tokenizer, &info), out);
    LS_TRY_GOTO(report_info(call, o->out, &info, ls_clock_seconds() - start), out);
out:
    ls_dataset_close(dataset);
    ls_tokenizer_destroy(tokenizer);
    return status;
}

/* --- verify ----------------------------------------------------------------------------------------------------- */

static ls_status verify_file(const char *path, ls_tokens_info *info_out) {
    ls_tokens *tokens = NULL;
    LS_TRY(ls_tokens_open(path, &tokens));
    *info_out = ls_tokens_get_info(tokens);
    const ls_status status = ls_tokens_verify(tokens);
    ls_tokens_close(tokens);
    return status;
}

static ls_status run_verify(const ls_cmd_call *call) {
    json_t *list = call->json ? json_array() : NULL;
    for (int i = 0; i < call->n_args; i++) {
        ls_tokens_info info;
        const ls_status status = verify_file(call->args[i], &info);
        if (status != LS_OK) {
            json_decref(list);
            return status;
        }
        if (call->json)
            (void)json_array_append_new(list, pack_info(call->args[i], &info));
        else
            (void)fprintf(call->out, "%s: every byte checked, %lld tokens good\n", call->args[i],
                          (long long)info.n_tokens);
    }
    return call->json ? ls_cli_print_json(call, list) : LS_OK;
}

/* --- inspect ---------------------------------------------------------------------------------------------------- */

/* Prints the first tokens, each as [text], what is not printable as \xNN. */
static ls_status print_tokens(const ls_cmd_call *call, const ls_tokens *tokens,
                              const ls_tokenizer *tokenizer) {
    const data_options *o = call->options;
    const int64_t n_all = ls_tokens_get_info(tokens).n_tokens;
    for (int64_t i = 0; i < (o->n_tokens < n_all ? o->n_tokens : n_all); i++) {
        int32_t id = 0;
        size_t bytes = 0;
        LS_TRY(ls_tokens_read(tokens, i, 1, &id));
        const unsigned char *text =
            tokenizer != NULL ? ls_tokenizer_token(tokenizer, id, &bytes) : NULL;
        (void)fprintf(call->out, "%lld %d", (long long)i, id);
        if (text != NULL) (void)fputs(" [", call->out);
        for (size_t j = 0; text != NULL && j < bytes; j++)
            (void)fprintf(call->out, text[j] >= ' ' && text[j] < 127 ? "%c" : "\\x%02x", text[j]);
        (void)fputs(text != NULL ? "]\n" : "\n", call->out);
    }
    return LS_OK;
}

static ls_status inspect_shard(const ls_cmd_call *call, const char *path) {
    const data_options *o = call->options;
    ls_tokens *tokens = NULL;
    ls_tokenizer *tokenizer = NULL;
    ls_status status;
    LS_TRY(ls_tokens_open(path, &tokens));
    if (o->tokenizer != NULL) LS_TRY_GOTO(open_tokenizer(o->tokenizer, &tokenizer), out);
    const ls_tokens_info info = ls_tokens_get_info(tokens);
    LS_TRY_GOTO(report_info(call, path, &info, 0), out);
    if (!call->json) LS_TRY_GOTO(print_tokens(call, tokens, tokenizer), out);
out:
    ls_tokenizer_destroy(tokenizer);
    ls_tokens_close(tokens);
    return status;
}

static ls_status inspect_tokenizer(const ls_cmd_call *call, const char *path) {
    ls_tokenizer *tokenizer = NULL;
    LS_TRY(ls_tokenizer_open(path, &tokenizer));
    const int32_t n_tokens = ls_tokenizer_vocab_size(tokenizer), eot = ls_tokenizer_eot(tokenizer);
    const int64_t n_merges = ls_tokenizer_merge_count(tokenizer);
    const char *fingerprint = ls_tokenizer_fingerprint(tokenizer);
    ls_status status = LS_OK;
    if (call->json)
        status = ls_cli_print_json(call,
                                   json_pack("{s:s, s:i, s:I, s:i, s:s}", "tokenizer", path,
                                             "vocab_size", n_tokens, "merges", (json_int_t)n_merges,
                                             "eot", eot, "fingerprint", fingerprint));
    else
        (void)fprintf(call->out, "%s: tokenizer of %d tokens, %lld merges, end of text %d, %.16s\n",
                      path, n_tokens, (long long)n_merges, eot, fingerprint);
    ls_tokenizer_destroy(tokenizer);
    return status;
}

static ls_status inspect_text(const ls_cmd_call *call, const char *path) {
    const data_options *o = call->options;
    const ls_dataset_options options = {.text_field = o->text_field, .raw_bytes = o->raw};
    ls_dataset *dataset = NULL;
    int64_t n_documents = 0, n_bytes = 0;
    LS_TRY(ls_dataset_open(path, &options, &dataset));
    const int n_files = ls_dataset_file_count(dataset);
    const ls_status status = ls_dataset_size(dataset, &n_documents, &n_bytes);
    ls_dataset_close(dataset);
    LS_TRY(status);
    if (call->json)
        return ls_cli_print_json(call, json_pack("{s:s, s:i, s:I, s:I}", "text", path, "files",
                                                 n_files, "documents", (json_int_t)n_documents,
                                                 "bytes", (json_int_t)n_bytes));
    (void)fprintf(call->out, "%s: %d file%s, %lld document%s, %lld bytes of text\n", path, n_files,
                  n_files == 1 ? "" : "s", (long long)n_documents, n_documents == 1 ? "" : "s",
                  (long long)n_bytes);
    return LS_OK;
}

static ls_status begins_with(const char *path, const char *magic, int *out) {
    ls_map map = {0};
    LS_TRY(ls_map_open(path, &map));
    const size_t n = strlen(magic);
    *out = map.bytes >= n && memcmp(map.data, magic, n) == 0;
    ls_map_close(&map);
    return LS_OK;
}

static ls_status run_inspect(const ls_cmd_call *call) {
    const char *path = call->args[0];
    int is_shard = 0;
    const char *end = strrchr(path, '.');
    if (!ls_path_is_dir(path)) LS_TRY(begins_with(path, "LSTOKENS", &is_shard));
    if (is_shard) return inspect_shard(call, path);
    if (end != NULL && strcmp(end, ".json") == 0) return inspect_tokenizer(call, path);
    return inspect_text(call, path);
}

/* --- tables ----------------------------------------------------------------------------------------------------- */

static const data_options defaults = {.part = "all", .vocab_size = 2048, .min_count = 2};

#define TEXT_ARGUMENT \
    { "TEXT", "a text or JSON Lines file, each perhaps compressed (.zst), or a folder of them" }

static const ls_cli_argument text_arguments[] = {TEXT_ARGUMENT, {NULL, NULL}};
static const ls_cli_argument shard_arguments[] = {{"SHARD", "a token shard"}, {NULL, NULL}};
static const ls_cli_argument any_arguments[] = {
    {"FILE", "a token shard, a tokenizer.json, or a text as for tokenize"}, {NULL, NULL}};

static const ls_cli_option train_options[] = {
    OPTION("out", 'o', LS_CLI_STRING, out, "FILE",
           "where the tokenizer is written (Hugging Face tokenizer.json)", 0, 0),
    OPTION("vocab-size", 'n', LS_CLI_INT, vocab_size, "N",
           "tokens: 256 bytes, merges and the end-of-text token (default 2048)", 257, 1 << 24),
    OPTION("min-count", 0, LS_CLI_INT, min_count, "N",
           "pairs seen less often are not merged (default 2)", 1, 1e15),
    TEXT_FIELD_OPTION,
    RAW_OPTION,
    PART_OPTION,
    LAST_OPTION};
static const ls_cmd train_tokenizer = {.name = "train-tokenizer",
                                       .help = "train a byte-level BPE tokenizer on a text",
                                       .usage = "TEXT -o FILE",
                                       .arguments = text_arguments,
                                       .min_args = 1,
                                       .max_args = 1,
                                       .has_json = 1,
                                       .options = train_options,
                                       .options_bytes = sizeof(data_options),
                                       .defaults = &defaults,
                                       .run = run_train_tokenizer};

static const ls_cli_option tokenize_options[] = {
    OPTION("out", 'o', LS_CLI_STRING, out, "FILE", "where the token shard is written", 0, 0),
    OPTION("tokenizer", 't', LS_CLI_STRING, tokenizer, "FILE",
           "a tokenizer.json, or the word bytes: 256 bytes and an end-of-text token", 0, 0),
    OPTION("no-eot", 0, LS_CLI_FLAG, no_eot, NULL, "no end-of-text token after each document", 0,
           0),
    TEXT_FIELD_OPTION,
    RAW_OPTION,
    PART_OPTION,
    LAST_OPTION};
static const ls_cmd tokenize_cmd = {.name = "tokenize",
                                    .help = "encode a text into a token shard",
                                    .usage = "TEXT -t TOKENIZER -o FILE",
                                    .arguments = text_arguments,
                                    .min_args = 1,
                                    .max_args = 1,
                                    .has_json = 1,
                                    .options = tokenize_options,
                                    .options_bytes = sizeof(data_options),
                                    .defaults = &defaults,
                                    .run = run_tokenize};

static const ls_cmd verify_cmd = {.name = "verify",
                                  .help = "read every byte of token shards and check it",
                                  .usage = "SHARD...",
                                  .arguments = shard_arguments,
                                  .min_args = 1,
                                  .max_args = -1,
                                  .has_json = 1,
                                  .run = run_verify};

static const ls_cli_option inspect_options[] = {
    OPTION("tokens", 'n', LS_CLI_INT, n_tokens, "N", "token shards: print the first N tokens", 0,
           1e15),
    OPTION("tokenizer", 't', LS_CLI_STRING, tokenizer, "FILE", "print the tokens as text, too", 0,
           0),
    TEXT_FIELD_OPTION, RAW_OPTION, LAST_OPTION};
static const ls_cmd inspect_cmd = {.name = "inspect",
                                   .help = "say what a token shard, tokenizer or text holds",
                                   .usage = "FILE",
                                   .arguments = any_arguments,
                                   .min_args = 1,
                                   .max_args = 1,
                                   .has_json = 1,
                                   .options = inspect_options,
                                   .options_bytes = sizeof(data_options),
                                   .defaults = &defaults,
                                   .run = run_inspect};

static const ls_cmd *const actions[] = {&ls_cmd_data_prepare, &train_tokenizer, &tokenize_cmd,
                                        &verify_cmd,          &inspect_cmd,     NULL};
const ls_cmd ls_cmd_data = {.actions = actions};
