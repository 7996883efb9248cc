/* Text from a checkpoint: the whole window is run for each token. A cache of keys and values belongs to serving. */
#include <math.h>
#include <string.h>

#include "base/fs.h"
#include "train/sample.h"
#include "train/session.h"

enum { MANY_RUNS = 1 << 20 };

typedef struct generator {
    ls_session session;
    const ls_generate_options *options;
    ls_ids ids;
    int64_t window, vocab;
    ls_tensor logits;
    ls_candidate *scratch;
} generator;

/* The last tokens that fit, from the left; what follows is never looked at (causal attention). */
static ls_status feed_tokens(void *user, const char *name, int64_t lane, ls_tensor *tensor) {
    const generator *g = user;
    (void)lane;
    if (strcmp(name, "tokens") != 0)
        return LS_FAIL(LS_ERR_INTERNAL, "generate: the model asks for input '%s'", name);
    const int64_t n = g->ids.count < g->window ? g->ids.count : g->window;
    int32_t *out = tensor->data;
    memset(out, 0, ls_tensor_bytes(tensor));
    memcpy(out, g->ids.data + (g->ids.count - n), (size_t)n * sizeof *out);
    return LS_OK;
}

static ls_status open_tokenizer(generator *g, const char *checkpoint) {
    char *path = ls_format("%s/tokenizer.json", checkpoint);
    if (!path) return LS_ERR_NO_MEMORY;
    const ls_status status =
        ls_path_exists(path)
            ? ls_tokenizer_open(path, &g->session.tokenizer)
            : LS_FAIL(LS_ERR_NOT_FOUND, "generate: '%s' has no tokenizer.json: it is no text model",
                      checkpoint);
    ls_free(path);
    return status;
}

static ls_status encode_prompt(generator *g) {
    const char *prompt = g->options->prompt;
    const int32_t eot = ls_tokenizer_eot(g->session.tokenizer);
    LS_TRY(ls_tokenizer_encode(g->session.tokenizer, prompt, strlen(prompt),
                               LS_ENCODE_SPECIAL_PARSE, &g->ids));
    if (g->ids.count) return LS_OK;
    const int32_t start = eot >= 0 ? eot : 0;
    return ls_ids_append(&g->ids, &start, 1);
}

static ls_status make_program(generator *g) {
    ls_train_config *c = &g->session.config;
    if (c->model.vocab == 0) c->model.vocab = ls_tokenizer_vocab_size(g->session.tokenizer);
    const int64_t most = g->ids.count + g->options->n_tokens;
    g->window = most < c->model.context ? most : c->model.context;
    g->vocab = c->model.vocab;
    const ls_model_batch batch = {.batch = 1, .tokens = g->window, .lanes = 1, .grad_scale = 1};
    const ls_plan_options plan = {
        .mode = LS_PLAN_FORWARD,
        .device = c->device,
        .threads = (int)c->threads,
        .lanes = 1,
        .precision = (ls_precision)c->precision,
        .pack = (ls_packing)c->pack,
        .repeats = g->options->n_tokens < MANY_RUNS ? (int)g->options->n_tokens : MANY_RUNS};
    const ls_mesh mesh = {1, 1, 1, 1, 1};
    ls_graph *graph = NULL;
    LS_TRY(ls_graph_create(&graph));
    ls_status status = ls_model_build(&c->model, &batch, graph);
    if (status == LS_OK) status = ls_plan_make(graph, &mesh, &plan, &g->session.eval_plan);
    ls_graph_destroy(graph);
    LS_TRY(status);
    LS_TRY(ls_session_open_device(&g->session));
    const ls_lower_options lower = {.device = g->session.device, .pool = g->session.pool};
    return ls_program_lower(g->session.eval_plan, 0, &lower, &g->session.eval);
}

static ls_status make_buffers(generator *g) {
    const ls_graph *graph = ls_plan_graph(g->session.eval_plan);
    const ls_value v = ls_graph_find(graph, "logits");
    if (v == LS_VALUE_NONE)
        return LS_FAIL(LS_ERR_UNSUPPORTED, "generate: this model makes no logits over tokens");
    g->logits = (ls_tensor){ls_graph_dtype(graph, v), ls_graph_shape(graph, v), NULL};
    g->logits.data = ls_alloc(ls_tensor_bytes(&g->logits));
    g->scratch = ls_alloc(sizeof *g->scratch * (size_t)g->vocab);
    return g->logits.data && g->scratch ? LS_OK : LS_ERR_NO_MEMORY;
}

static ls_status next_token(generator *g, int64_t index, int32_t *out) {
    const ls_run_options run = {.feed = feed_tokens, .user = g, .prepared = index > 0};
    LS_TRY(ls_program_run(g->session.eval, &run));
    LS_TRY(
        ls_program_fetch(g->session.eval, "logits", g->logits.data, ls_tensor_bytes(&g->logits)));
    const int64_t row = (g->ids.count < g->window ? g->ids.count : g->window) - 1;
    return ls_sample_token(&g->logits, row, g->options, index, g->scratch, out);
}

static ls_status generate_all(generator *g, const char *checkpoint, ls_generate_fn fn, void *user) {
    ls_ckpt *ckpt = NULL;
    LS_TRY(open_tokenizer(g, checkpoint));
    LS_TRY(encode_prompt(g));
    LS_TRY(make_program(g));
    LS_TRY(make_buffers(g));
    LS_TRY(ls_ckpt_open(checkpoint, &ckpt));
    const ls_status status = ls_ckpt_load(ckpt, g->session.eval, 1);
    ls_ckpt_close(ckpt);
    LS_TRY(status);
    for (int64_t i = 0; i < g->options->n_tokens; i++) {
        int32_t id = 0;
        LS_TRY(next_token(g, i, &id));
        if (id == ls_tokenizer_eot(g->session.tokenizer)) break;
        LS_TRY(ls_ids_append(&g->ids, &id, 1));
        size_t bytes = 0;
        const unsigned char *text = ls_tokenizer_token(g->session.tokenizer, id, &bytes);
        if (text) LS_TRY(fn(user, (const char *)text, bytes));
    }
    return LS_OK;
}

ls_status ls_generate(const ls_train_config *config, const char *checkpoint,
                      const ls_generate_options *options, ls_generate_fn fn, void *user) {
    generator *g = ls_alloc(sizeof *g);
    if (!g) return LS_ERR_NO_MEMORY;
    g->session.config = *config;
    g->options = options;
    const ls_status status = generate_all(g, checkpoint, fn, user);
    ls_ids_deinit(&g->ids);
    ls_free(g->logits.data);
    ls_free(g->scratch);
    ls_session_close(&g->session);
    ls_free(g);
    return status;
}
