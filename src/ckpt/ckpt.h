/* The checkpoint room's inside. */
#ifndef LS_CKPT_CKPT_H
#define LS_CKPT_CKPT_H
#include "exec/program.h"
#include "lockstep/checkpoint.h"
#include "lockstep/safetensors.h"

enum { LS_CKPT_PATH = 4096 };

typedef struct ls_ckpt_value {
    ls_named_tensor named;
    ls_role role;
} ls_ckpt_value;

/* File a value of this role is in. */
const char *ls_ckpt_file_of(ls_role role);
/* dir/name; LS_ERR_INVALID when too long. */
ls_status ls_ckpt_path(const char *dir, const char *name, char out[LS_CKPT_PATH]);
/* Hash of the values with role WEIGHT; sorts a copy by name. */
ls_status ls_ckpt_hash_values(const ls_ckpt_value *values, int n, char hex_out[65]);
/* Removes a half-written folder, keeping the error record as it is. */
void ls_ckpt_discard(const char *dir);

#endif
