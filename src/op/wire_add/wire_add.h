/* wire_add: a, or a + b, rounded to a wire format (op/wire.h): a node of the lane tree. Local. */
#ifndef LS_OP_WIRE_ADD_H
#define LS_OP_WIRE_ADD_H
#include "graph/node.h"

typedef struct ls_wire_add_attr {
    int wire; /* ls_wire */
} ls_wire_add_attr;

/* a, b: f32, one shape; b may be LS_VALUE_NONE. Leaves of the tree are rounded before they come here. */
LS_API ls_value ls_wire_add(ls_graph *graph, ls_value a, ls_value b, ls_wire wire);

#endif
