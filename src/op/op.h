/* The table of ops and the choice of kernels. Read-only: thread-safe, Local. */
#ifndef LS_OP_OP_H
#define LS_OP_OP_H
#include "graph/node.h"
#include "graph/op.h"

#define LS_OP(name) extern const ls_op ls_op_##name;
#include "op/op.def"
#undef LS_OP

LS_API int ls_op_count(void);
LS_API const ls_op *ls_op_at(int i);
LS_API const ls_op *ls_op_find(const char *name); /* NULL when unknown */

/* First kernel of the list that runs on `device` at level `isa` and accepts. LS_ERR_UNSUPPORTED names op and types. */
LS_API ls_status ls_kernel_choose(const ls_sig *sig, ls_device_kind device, ls_isa isa,
                                  const ls_kernel **out);
/* The reference kernel (last of the list). */
LS_API const ls_kernel *ls_kernel_reference(const ls_op *op);
/* "chosen NAME; refused NAME: reason; ..." for plan --explain. */
LS_API ls_status ls_kernel_explain(const ls_sig *sig, ls_device_kind device, ls_isa isa,
                                   ls_text *out);

#endif
