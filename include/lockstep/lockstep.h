/* Everything. In the data's order: dataset, tokenizer, tokens, loader; graph, model, optim; comm, plan, program; checkpoint, train. */
#ifndef LOCKSTEP_LOCKSTEP_H
#define LOCKSTEP_LOCKSTEP_H
#include "lockstep/checkpoint.h"
#include "lockstep/comm.h"
#include "lockstep/data.h"
#include "lockstep/graph.h"
#include "lockstep/memory.h"
#include "lockstep/model.h"
#include "lockstep/optim.h"
#include "lockstep/plan.h"
#include "lockstep/program.h"
#include "lockstep/safetensors.h"
#include "lockstep/status.h"
#include "lockstep/tensor.h"
#include "lockstep/train.h"

#endif
