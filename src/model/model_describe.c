#include <string.h>

#include "graph/node.h"
#include "lockstep/model.h"

/* Part of a parameter's name -> group; the first that fits. */
static const char *const group_rules[][2] = {
    {"wte", "embedding"},
    {"wpe", "embedding"},
    {"embed_tokens", "embedding"},
    {"attn.", "attention"},
    {"mlp.", "feed-forward"},
    {"ln_", "norms"},
    {"layernorm", "norms"},
    {"model.norm", "norms"},
    {"bn", "norms"},
    {"downsample.1", "norms"},
    {"conv", "convolutions"},
    {"downsample.0", "convolutions"},
    {"layers.", "hidden"},
    {"", "head"},
};
enum { N_RULES = sizeof group_rules / sizeof group_rules[0] };

static const char *group_of(const char *name) {
    for (int i = 0; i < N_RULES; i++)
        if (strstr(name, group_rules[i][0])) return group_rules[i][1];
    return "other";
}

/* The graph of one sample: parameters do not depend on the batch. */
static ls_status build_one(const ls_model_options *options, ls_graph **out) {
    ls_model_options o = *options;
    if (ls_model_reads_tokens(o.kind) && !o.vocab)
        return LS_FAIL(LS_ERR_CONFIG, "model.vocab is 0; set it to count parameters");
    const ls_model_batch batch = {.batch = 1, .tokens = 1, .lanes = 1};
    ls_graph *graph;
    LS_TRY(ls_graph_create(&graph));
    const ls_status status = ls_model_build(&o, &batch, graph);
    if (status != LS_OK) {
        ls_graph_destroy(graph);
        return status;
    }
    *out = graph;
    return LS_OK;
}

/* Parameters of a group; NULL: of all. */
static int64_t count_group(const ls_graph *graph, const char *group) {
    int64_t n = 0;
    for (int64_t v = 0; v < graph->n_values; v++) {
        const ls_value_info *info = &graph->values[v];
        if (info->kind != LS_VALUE_PARAM) continue;
        if (!group || strcmp(group_of(info->name), group) == 0) n += ls_type_count(&info->type);
    }
    return n;
}

ls_status ls_model_count_parameters(const ls_model_options *options, int64_t *out) {
    ls_graph *graph;
    LS_TRY(build_one(options, &graph));
    *out = count_group(graph, NULL);
    ls_graph_destroy(graph);
    return LS_OK;
}

/* 124439808 -> "124,439,808" */
static const char *print_count(int64_t n, char text[32]) {
    char *at = text + 31;
    *at = 0;
    for (int digits = 0; n || !digits; digits++, n /= 10) {
        if (digits && digits % 3 == 0) *--at = ',';
        *--at = (char)('0' + n % 10);
    }
    return at;
}

static void describe_shape(const ls_model_options *o, ls_text *text) {
    const char *kind = ls_model_kind_names[o->kind];
    const long long layers = o->layers, width = o->width, side = o->image;
    if (ls_model_reads_tokens(o->kind)) {
        ls_text_append(text, "%s: %lld layers, width %lld, %lld heads of %lld", kind, layers, width,
                       (long long)o->heads, width / (long long)o->heads);
        if (ls_model_kv_heads(o) != o->heads)
            ls_text_append(text, " (%lld for keys and values)", (long long)ls_model_kv_heads(o));
        ls_text_append(text, ", feed-forward %lld, vocabulary %lld, context %lld, %s head\n",
                       (long long)ls_model_hidden(o), (long long)o->vocab, (long long)o->context,
                       o->tied ? "tied" : "untied");
        return;
    }
    if (o->kind == LS_MODEL_MLP)
        ls_text_append(text, "%s: %lld hidden layers of %lld units", kind, layers, width);
    else
        ls_text_append(text, "%s: %lld stages of %lld blocks, %lld to %lld channels", kind,
                       (long long)o->stages, layers, width, width << (o->stages - 1));
    ls_text_append(text, ", images %lldx%lldx%lld, %lld classes\n", (long long)o->channels, side,
                   side, (long long)o->classes);
}

ls_status ls_model_describe(const ls_model_options *options, char **text_out) {
    ls_graph *graph;
    char number[32];
    LS_TRY(build_one(options, &graph));
    ls_text text = {0};
    describe_shape(options, &text);
    ls_text_append(&text, "parameters %s\n", print_count(count_group(graph, NULL), number));
    for (int i = 0; i < N_RULES; i++) {
        const char *group = group_rules[i][1];
        if (i && strcmp(group, group_rules[i - 1][1]) == 0) continue;
        const int64_t n = count_group(graph, group);
        int seen = 0;
        for (int j = 0; j < i; j++) seen |= strcmp(group, group_rules[j][1]) == 0;
        if (n && !seen) ls_text_append(&text, "  %-13s %s\n", group, print_count(n, number));
    }
    ls_graph_destroy(graph);
    if (text.status != LS_OK) {
        const ls_status status = text.status;
        ls_text_deinit(&text);
        return status;
    }
    *text_out = text.data;
    return LS_OK;
}
