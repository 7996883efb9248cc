/* What the models share: parameters, scopes, projections, the loss. Failures stick to the graph. Local. */
#ifndef LS_MODEL_MODEL_PARTS_H
#define LS_MODEL_MODEL_PARTS_H
#include "graph/node.h"
#include "lockstep/model.h"
#include "op/matmul/matmul.h"

typedef struct ls_model_work {
    const ls_model_options *options;
    const ls_model_batch *batch;
    ls_graph *graph;
    const char *prefix; /* of parameter names: "transformer.h.3." */
} ls_model_work;

/* Text in graph memory; "" after a failure. */
const char *ls_model_format(const ls_model_work *work, const char *fmt, ...) LS_PRINTF(2, 3);
/* Unit and scope of what is built next. */
void ls_model_enter(const ls_model_work *work, int unit, const char *scope);

/* Parameter "<prefix><name>", f32. */
ls_value ls_model_param(const ls_model_work *work, const char *name, int n_dims,
                        const int64_t *dims, ls_init init);
ls_value ls_model_vector(const ls_model_work *work, const char *name, int64_t n, double value);
ls_value ls_model_matrix(const ls_model_work *work, const char *name, int64_t rows, int64_t columns,
                         double std);
/* Standard deviation of a projection back into the residual stream of 2 * layers additions (GPT-2). */
double ls_model_residual_std(const ls_model_work *work);
/* Result `i` of the node that made `value`. */
ls_value ls_model_result(const ls_graph *graph, ls_value value, int i);

/* residual + dropout(x w + bias); fused when nothing is dropped. */
ls_value ls_model_project(const ls_model_work *work, const char *scope, ls_value x, ls_value w,
                          int w_is_NK, ls_value bias_or_none, ls_value residual);
/* Dropout while training; the stream is named "<scope>.dropout". */
ls_value ls_model_dropout(const ls_model_work *work, ls_value x, const char *scope);
/* Input "tokens". */
ls_value ls_model_tokens(const ls_model_work *work);
/* ls_graph_output whose failure sticks to the graph like a builder's. */
void ls_model_output(const ls_model_work *work, const char *name, ls_value value);
/* Names the logits and, with_loss, adds targets (input `name`), loss and count. Returns the targets. */
ls_value ls_model_finish(const ls_model_work *work, ls_value logits, const char *name);

ls_status ls_model_build_gpt2(ls_model_work *work);
ls_status ls_model_build_llama(ls_model_work *work);
ls_status ls_model_build_mlp(ls_model_work *work);
ls_status ls_model_build_resnet(ls_model_work *work);

#endif
