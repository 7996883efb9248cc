#!/bin/sh
# tools/check_layers sees each kind of include that breaks the layers.
. tests/lint/lint.sh
lint() { tools/check_layers "$tree"; }

put include/lockstep/status.h </dev/null
printf '#include "lockstep/status.h"\n#include <stdio.h>\n' | put include/lockstep/graph.h
printf '#include "tensor/dtype.h"\n#include "lockstep/graph.h"\n#include "graph/node.h"\n' | put src/graph/node.c
printf '#include "base/log.h"\n' | put src/tensor/dtype.c
printf '#include "data/loader.h"\n#include "observe/metrics.h"\n' | put src/train/trainer.c
printf '#include "tensor/dtype.h"\n' | put src/data/loader.c
passes "a clean tree" lint

plant() { # NAME FILE INCLUDE WORDS
    printf '/* one */\n#include "%s"\n' "$3" | put "$2"
    catches "$1" "$4" lint
    rm "$tree/$2"
}
plant "up" src/tensor/bad.c graph/node.h \
    "src/tensor/bad.c:2: room 'tensor' includes \"graph/node.h\" of room 'graph', which is not below it"
plant "up through a public header" src/base/bad.c lockstep/graph.h "room 'base' includes \"lockstep/graph.h\" of room 'graph'"
plant "sideways" src/train/bad.c serve/server.h "of room 'serve', which is not below it"
plant "data into graph" src/data/bad.c graph/node.h "room 'data' includes \"graph/node.h\""
plant "graph into data" src/graph/bad.c data/loader.h "room 'graph' includes \"data/loader.h\""
plant "model into data" src/model/bad.h lockstep/tokens.h "room 'model' includes \"lockstep/tokens.h\" of room 'data'"
plant "observe above base" src/observe/bad.c tensor/dtype.h "room 'observe' includes"
plant "no room named" src/op/bad.c matmul.h 'names no room: write "op/matmul.h"'
plant "by dots" src/op/bad.c ../graph/node.h "names no room"
plant "an unknown room" src/graph/bad.c attic/old.h "is of no known room"
plant "a room without a place" src/attic/bad.c base/log.h "room 'attic' has no place in the layers"
plant "a public header with an inner include" include/lockstep/tensor.h tensor/dtype.h "can be installed"
plant "a public header that includes upwards" include/lockstep/tensor.h lockstep/plan.h "of room 'plan'"
plant "a public header of no room" include/lockstep/misc.h lockstep/status.h "public header of no known room"
passes "the tree is clean again" lint
done_well
