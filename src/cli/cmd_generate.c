/* lockstep generate: text from a checkpoint. */
#include <string.h>

#include "cli/run_options.h"

typedef struct generate_options {
    const char *prompt;
    int64_t n_tokens, top_k, seed;
    double temperature, top_p;
} generate_options;

typedef struct sink {
    const ls_cmd_call *call;
    ls_text text; /* --json: everything */
    int64_t n_tokens;
} sink;

static ls_status take_text(void *user, const char *text, size_t bytes) {
    sink *s = user;
    s->n_tokens++;
    if (s->call->json) {
        ls_text_append_bytes(&s->text, text, bytes);
        return s->text.status;
    }
    fwrite(text, 1, bytes, s->call->out);
    fflush(s->call->out);
    return LS_OK;
}

/* A cut character at the end (or model noise) is no UTF-8: JSON gets U+FFFD in its place. */
static json_t *text_json(const ls_text *text) {
    json_t *whole = json_stringn(text->data ? text->data : "", text->size);
    if (whole) return whole;
    ls_text clean = {0};
    for (size_t i = 0; i < text->size;) {
        size_t n = 1;
        while (n < 4 && i + n < text->size && ((unsigned char)text->data[i + n] & 0xc0) == 0x80)
            n++;
        json_t *probe = json_stringn(text->data + i, n);
        if (probe)
            ls_text_append_bytes(&clean, text->data + i, n);
        else
            ls_text_append_bytes(&clean, "\xef\xbf\xbd", 3);
        json_decref(probe);
        i += n;
    }
    whole = json_stringn(clean.data ? clean.data : "", clean.size);
    ls_text_deinit(&clean);
    return whole;
}

static ls_status run_generate(const ls_cmd_call *call) {
    const generate_options *o = call->options;
    ls_cli_checkpoint checkpoint;
    LS_TRY(ls_cli_open_checkpoint(call->args[0], call, &checkpoint));
    const ls_generate_options options = {o->prompt, o->n_tokens, o->temperature,
                                         o->top_k,  o->top_p,    (uint64_t)o->seed};
    sink s = {.call = call};
    if (!call->json) fputs(o->prompt, call->out);
    ls_status status = ls_generate(&checkpoint.config, checkpoint.path, &options, take_text, &s);
    if (!call->json) fputc('\n', call->out);
    if (status == LS_OK && call->json)
        status = ls_cli_print_json(
            call, json_pack("{s:s,s:s,s:o,s:I,s:I}", "checkpoint", checkpoint.path, "prompt",
                            o->prompt, "text", text_json(&s.text), "tokens", (json_int_t)s.n_tokens,
                            "seed", (json_int_t)o->seed));
    ls_text_deinit(&s.text);
    ls_cli_close_checkpoint(&checkpoint);
    return status;
}

#define OPTION(member, text, short_name, form, low, high, what, words)                          \
    {                                                                                           \
        .name = text, .letter = short_name, .type = LS_CLI_##form,                              \
        .offset = offsetof(generate_options, member), .value = what, .help = words, .min = low, \
        .max = high                                                                             \
    }
static const ls_cli_option options[] = {
    OPTION(prompt, "prompt", 'p', STRING, 0, 0, "TEXT",
           "text to go on from (default: the start of a document)"),
    OPTION(n_tokens, "tokens", 'n', INT, 1, 1e9, "N", "tokens to make (default 100)"),
    OPTION(temperature, "temperature", 't', FLOAT, 0, 100, "X",
           "0 = always the likeliest token (default 0.8)"),
    OPTION(top_k, "top-k", 'k', INT, 0, 1e9, "N",
           "choose among the N likeliest tokens; 0 = all (default 0)"),
    OPTION(top_p, "top-p", 0, FLOAT, 0, 1, "X",
           "choose among the likeliest tokens that make up this probability (default 1)"),
    OPTION(seed, "seed", 's', INT, 0, 9e18, "N", "the same seed gives the same text (default 1)"),
    {0},
};
static const generate_options defaults = {
    .prompt = "", .n_tokens = 100, .seed = 1, .temperature = 0.8, .top_p = 1};

const ls_cmd ls_cmd_generate = {
    .usage = "DIR [-p TEXT] [KEY=VALUE...]",
    .about = "Text from a trained checkpoint. Deterministic: the same checkpoint, options and seed "
             "give the same text.",
    .min_args = 1,
    .max_args = 1,
    .takes_config = 1,
    .has_json = 1,
    .options = options,
    .options_bytes = sizeof(generate_options),
    .defaults = &defaults,
    .run = run_generate,
};
