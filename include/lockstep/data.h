/* The data room, in the data's order: dataset -> tokenizer -> tokens -> loader -> batch; and images. */
#ifndef LOCKSTEP_DATA_H
#define LOCKSTEP_DATA_H
#include "lockstep/dataset.h"
#include "lockstep/images.h"
#include "lockstep/loader.h"
#include "lockstep/tokenizer.h"
#include "lockstep/tokens.h"

#endif
