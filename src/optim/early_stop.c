#include <math.h>

#include "lockstep/optim.h"

void ls_early_stop_init(ls_early_stop *stop, int64_t patience, double min_delta) {
    *stop = (ls_early_stop){patience, min_delta, INFINITY, INFINITY, -1, 0};
}

int ls_early_stop_update(ls_early_stop *stop, double loss, int64_t step) {
    const int progress = loss < stop->bar - stop->min_delta;
    const int best = loss < stop->best;
    stop->n_bad = progress ? 0 : stop->n_bad + 1;
    if (progress) stop->bar = loss;
    if (best) {
        stop->best = loss;
        stop->best_step = step;
    }
    return best;
}

int ls_early_stop_due(const ls_early_stop *stop) {
    return stop->patience > 0 && stop->n_bad >= stop->patience;
}
