/* Shared by passes that rewrite: runs ls_graph_rewrite into a fresh graph and swaps it in. Local. */
#ifndef LS_PLAN_PASS_REPLACE_H
#define LS_PLAN_PASS_REPLACE_H
#include "graph/node.h"

ls_status ls_graph_replace(ls_graph **graph, ls_rewrite_fn rewrite, void *user);
/* Emits `node` into `to` with inputs map[in]; its results go to outs, or to map when outs is NULL. */
ls_status ls_node_emit(const ls_node *node, ls_graph *to, ls_value *map, ls_value *outs);

#endif
