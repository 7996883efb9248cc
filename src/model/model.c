#include "lockstep/model.h"

#include "model/model_parts.h"

static ls_status check_batch(const ls_model_options *o, const ls_model_batch *b) {
    if (b->batch < 1)
        return LS_FAIL(LS_ERR_INVALID, "model: a lane needs at least one sample, got batch %lld",
                       (long long)b->batch);
    if (b->training && b->lanes < 1)
        return LS_FAIL(LS_ERR_INVALID, "model: a step has at least one lane, got %d", b->lanes);
    if (b->training && !b->with_loss)
        return LS_FAIL(LS_ERR_INVALID, "model: training needs a loss; set with_loss");
    if (b->training && !(b->grad_scale > 0))
        return LS_FAIL(LS_ERR_INVALID,
                       "model: grad_scale must be 1 / targets of the global batch, got %g",
                       b->grad_scale);
    if (!ls_model_reads_tokens(o->kind)) return LS_OK;
    if (b->tokens < 1 || b->tokens > o->context)
        return LS_FAIL(LS_ERR_CONFIG,
                       "a sequence of %lld tokens does not fit model.context = %lld; use 1 to "
                       "model.context tokens",
                       (long long)b->tokens, (long long)o->context);
    if (o->vocab < 1)
        return LS_FAIL(LS_ERR_CONFIG,
                       "model.vocab is %lld; set it, or give a tokenizer that sets it",
                       (long long)o->vocab);
    return LS_OK;
}

ls_status ls_model_build(const ls_model_options *options, const ls_model_batch *batch,
                         ls_graph *graph) {
    static ls_status (*const builders[])(ls_model_work *) = {
        [LS_MODEL_GPT2] = ls_model_build_gpt2,
        [LS_MODEL_LLAMA] = ls_model_build_llama,
        [LS_MODEL_MLP] = ls_model_build_mlp,
        [LS_MODEL_RESNET] = ls_model_build_resnet,
    };
    LS_TRY(ls_graph_status(graph));
    LS_TRY(ls_model_check(options));
    LS_TRY(check_batch(options, batch));
    ls_model_work work = {options, batch, graph, ""};
    ls_graph_set_phase(graph, LS_PHASE_FORWARD);
    const ls_status status = builders[options->kind](&work);
    ls_graph_set_unit(graph, -1);
    ls_graph_set_scope(graph, "");
    return status;
}
