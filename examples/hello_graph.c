/* A model is a graph, and so is its gradient: builds a small MLP, differentiates its loss, prints the graph as text.
 * usage: hello_graph [FILE.svg]   (the picture of the graph goes to FILE.svg) */
#include "lockstep/graph.h"
#include "lockstep/memory.h"
#include "lockstep/model.h"
#include <stdio.h>

/* Parameters of the MLP with one hidden layer, under torch.nn.Sequential's names. */
static const char *const param_names[] = {"layers.0.weight", "layers.0.bias", "head.weight",
                                          "head.bias"};
enum { N_PARAMS = sizeof param_names / sizeof param_names[0] };

/* The forward pass of one lane: images in, loss out. */
static ls_status build_model(ls_graph *graph) {
    ls_model_options model = ls_model_default();
    model.kind = LS_MODEL_MLP;
    model.layers = 1;
    model.width = 16;
    model.classes = 3;
    model.image = 4;
    const ls_model_batch batch = {
        .batch = 2, .lanes = 1, .grad_scale = 0.5, .training = 1, .with_loss = 1};
    return ls_model_build(&model, &batch, graph);
}

/* Appends the gradient of the loss and names each parameter's part of it. */
static ls_status append_gradient(ls_graph *graph) {
    const ls_value loss = ls_graph_find(graph, "loss"), seed = LS_VALUE_NONE;
    ls_value params[N_PARAMS];
    for (int i = 0; i < N_PARAMS; i++) {
        params[i] = ls_graph_find(graph, param_names[i]);
        if (params[i] == LS_VALUE_NONE)
            return LS_FAIL(LS_ERR_NOT_FOUND, "the model has no parameter '%s'", param_names[i]);
    }
    ls_grad_parts gradient;
    LS_TRY(ls_graph_differentiate(graph, &loss, &seed, 1, params, N_PARAMS, &gradient));
    for (int i = 0; i < gradient.n_parts; i++) {
        char name[64];
        const ls_grad_part *part = &gradient.parts[i];
        snprintf(name, sizeof name, "grad/%s", ls_graph_name(graph, part->wrt));
        LS_TRY(ls_graph_output(graph, name, part->grad));
    }
    return ls_graph_verify(graph);
}

static ls_status write_picture(const ls_graph *graph, const char *path) {
    char *svg = NULL;
    LS_TRY(ls_graph_print_svg(graph, &svg));
    FILE *file = fopen(path, "w");
    const int failed = !file || fputs(svg, file) == EOF;
    ls_free(svg);
    if ((file && fclose(file) == EOF) || failed)
        return LS_FAIL(LS_ERR_IO, "cannot write '%s'", path);
    return LS_OK;
}

static ls_status show(const ls_graph *graph, const char *picture) {
    char *text = NULL;
    uint64_t hash;
    LS_TRY(ls_graph_print(graph, &text));
    fputs(text, stdout);
    ls_free(text);
    LS_TRY(ls_graph_hash(graph, &hash));
    printf("structural hash %016llx\n", (unsigned long long)hash);
    return picture ? write_picture(graph, picture) : LS_OK;
}

int main(int argc, char **argv) {
    ls_graph *graph = NULL;
    ls_status status = ls_graph_create(&graph);
    if (status == LS_OK) status = build_model(graph);
    if (status == LS_OK) status = append_gradient(graph);
    if (status == LS_OK) status = show(graph, argc > 1 ? argv[1] : NULL);
    ls_graph_destroy(graph);
    if (status != LS_OK) fprintf(stderr, "hello_graph: %s\n", ls_error_message());
    return ls_status_exit_code(status);
}
